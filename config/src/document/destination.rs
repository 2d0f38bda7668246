//! Where reports go: what is written alike of each program elsewhere that this one tells of itself.

use toml::de::DeValue;

use crate::diagnostic::Problems;
use crate::model::OtlpProtocol;
use crate::reader::{FilePath, HeaderValue, Input, Located, Read, Shape, Word, table};

/// Declares the table of such a program: `table!` with the keys that all of them have around its own. One that takes
/// OpenTelemetry's protocol says, in words, which path it has if none is written.
macro_rules! destination {
    (
        $(#[doc = $doc:literal])+
        $name:ident at $place:literal, example $example:literal, otlp path $path:literal {
            $($keys:tt)*
        }
    ) => {
        $crate::document::destination::destination! {
            $(#[doc = $doc])+
            $name at $place, example $example {
                /// OTLP over `http` or over `grpc`, for which the cluster needs `protocol = "http2"` or `"auto"`.
                protocol: $crate::reader::OneOf<$crate::model::OtlpProtocol>, default "\"http\"";
                /// Where its endpoints take reports.
                path: $crate::reader::UrlPath, optional $path;
                $($keys)*
            }
        }
    };
    (
        $(#[doc = $doc:literal])+
        $name:ident at $place:literal, example $example:literal {
            $($keys:tt)*
        }
    ) => {
        $crate::reader::table! {
            $(#[doc = $doc])+
            $name at $place, example $example {
                /// The cluster that takes the reports.
                cluster: $crate::reader::ClusterName, required;
                $($keys)*
                /// Value of `host` of the requests to it.
                host: $crate::reader::HostName, optional "the cluster's name";
                /// Headers of the requests to it, such as the key of an API (Envoy: request_headers_to_add, initial_metadata). A
                /// value stands here, or in a file: `{ "x-tenant" = "shop", authorization = { file = "/run/secrets/collector" } }`.
                /// What stands here is shown by `/config_dump`; what is in a file is not.
                headers: $crate::reader::Map<$crate::reader::HeaderName, $crate::document::HeaderSource>, optional "none";
                /// Time for one request.
                timeout: $crate::reader::Time<1>, default "\"5s\"";
            }
        }
    };
}
pub(super) use destination;

/// A header's value, or the file that has it.
#[derive(Clone, Debug)]
pub enum HeaderSource {
    Value(Located<HeaderValue>),
    File(HeaderFile),
}

table! {
    /// A file with the value of a header, for what is to be secret.
    HeaderFile at "listeners[].http.tracing.zipkin.headers", example "tracing-otlp.toml" {
        /// The value, with or without a line end behind it, of at most 16 KiB. The file is read when the configuration is loaded: a
        /// reload takes over what has changed. A relative path starts at the directory of the configuration file.
        file: FilePath, required;
    }
}

impl Read for HeaderSource {
    fn shape() -> Shape {
        Shape::Either(vec![<HeaderValue as Read>::shape(), HeaderFile::shape()])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::String(_) => {
                let value = HeaderValue::read(input, problems)?;
                Some(Self::Value(Located { value, origin: input.origin.clone() }))
            }
            DeValue::Table(_) => HeaderFile::read(input, problems).map(Self::File),
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}

impl Word for OtlpProtocol {
    const WORDS: &'static [(&'static str, Self)] = &[("http", Self::Http), ("grpc", Self::Grpc)];
    const LATER: &'static [&'static str] = &[];
}
