//! Where reports go.

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::HeaderSource;
use crate::model::{Destination, OtlpProtocol, Secret, UpstreamProtocol};
use crate::reader::{
    ClusterName, FilePath, FromText, HeaderName, HeaderValue, HostName, Located, Map, Slot, Time, UrlPath,
};

/// The longest value of a header from a file.
const VALUE_MAX: usize = 16 * 1024;

/// Headers that follow from what is sent, and what to write instead.
const OWN_FIELDS: &[(&str, &str)] = &[
    ("host", "write host = \"...\" next to `headers`"),
    ("content-type", "it says what the report is"),
    ("content-encoding", "it says what the report is"),
    ("user-agent", "it says who sends the report"),
    ("grpc-timeout", "write timeout = \"...\" next to `headers`"),
    ("grpc-encoding", "it says what the report is"),
    ("grpc-accept-encoding", "it says what the answer may be"),
];

/// The keys of a table that `destination!` declares.
pub(super) struct WrittenDestination<'d> {
    pub cluster: &'d Slot<ClusterName>,
    pub host: &'d Slot<HostName>,
    pub headers: &'d Slot<Map<HeaderName, HeaderSource>>,
    pub timeout: Time<1>,
}

/// Those of a table.
macro_rules! destination {
    ($table:expr) => {
        $crate::resolve::destination::WrittenDestination {
            cluster: &$table.cluster,
            host: &$table.host,
            headers: &$table.headers,
            timeout: $table.timeout.value,
        }
    };
}
pub(super) use destination;

impl<'d> Resolver<'d, '_, '_> {
    /// `needs_http2`: what does.
    pub(super) fn destination(
        &mut self,
        written: WrittenDestination<'d>,
        path: String,
        needs_http2: Option<&str>,
    ) -> Option<Destination> {
        let headers = self.destination_headers(written.headers);
        let cluster = written.cluster.given()?;
        self.cluster_named(cluster)?;
        if let Some(what_needs) = needs_http2 {
            self.check_speaks_http2(cluster, what_needs);
        }
        Some(Destination {
            cluster: cluster.0.clone(),
            host: written.host.value().unwrap_or_else(|| cluster.0.clone()),
            path,
            headers,
            timeout: written.timeout.0,
        })
    }

    /// `paths`: those that it has over HTTP and over gRPC if none is written.
    pub(super) fn otlp_destination(
        &mut self,
        written: WrittenDestination<'d>,
        protocol: OtlpProtocol,
        path: &Slot<UrlPath>,
        paths: [&str; 2],
    ) -> Option<Destination> {
        let (usual, needs_http2) = match protocol {
            OtlpProtocol::Http => (paths[0], None),
            OtlpProtocol::Grpc => (paths[1], Some("OTLP over gRPC needs")),
        };
        let path = path.value().unwrap_or_else(|| usual.into());
        self.destination(written, path, needs_http2)
    }

    fn check_speaks_http2(&mut self, cluster: &Located<ClusterName>, what_needs: &str) {
        if let Some((_, found)) = self.clusters.get(cluster.0.as_str())
            && found.protocol.0 == UpstreamProtocol::Http1
        {
            let message = format!("{what_needs} HTTP/2, and the cluster `{}` speaks HTTP/1", cluster.0);
            let hint = "add protocol = \"http2\" to the cluster";
            self.problems.push(Problem::at(&cluster.origin, message).hint(Some(hint)));
        }
    }

    fn destination_headers(&mut self, written: &'d Slot<Map<HeaderName, HeaderSource>>) -> Vec<(String, Secret)> {
        self.check_further_headers("a report", written, OWN_FIELDS);
        let mut headers = Vec::new();
        for (name, value) in written.given().iter().flat_map(|map| &map.entries) {
            let value = match &value.value {
                HeaderSource::Value(value) => Some(value.0.clone()),
                HeaderSource::File(table) => table.file.given().and_then(|file| self.header_of_file(file)),
            };
            headers.extend(value.map(|value| (name.0.clone(), Secret(value))));
        }
        headers
    }

    /// What is in the file is in no message.
    fn header_of_file(&mut self, file: &Located<FilePath>) -> Option<String> {
        let bytes = self.body_file(file)?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() && self.is_portable {
            return None;
        }
        let path = self.directory.join(&file.0);
        if value.len() > VALUE_MAX {
            let message = format!("{} is too long for a header's value", path.display());
            self.problems.push(Problem::at(&file.origin, message).allowed("at most 16 KiB"));
        } else if HeaderValue::from_text(value).is_err() {
            let message = format!("what is in {} cannot be a header's value", path.display());
            let allowed = <HeaderValue as FromText>::shape().allowed();
            self.problems.push(Problem::at(&file.origin, message).allowed(allowed));
        }
        Some(value.into())
    }
}
