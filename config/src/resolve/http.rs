//! The HTTP connection manager: its virtual hosts and options.

use std::collections::HashMap;
use std::time::Duration;

use super::Resolver;
use super::header::mutations;
use super::spelling::Spelling;
use crate::diagnostic::Problem;
use crate::document::{self, Http};
use crate::model::{
    CertificatePart, ClientCertDetails, ClientHalfClose, FilterOverrides, ForwardCert, Hcm, HeaderMutations,
    HeaderOptions, HttpLimits, HttpTimeouts, PathOptions, Trust, VirtualHost,
};
use crate::place::Origin;
use crate::reader::{Domain, FromText as _, List, Located, Slot};

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn http(&mut self, http: &'d Located<Http>) -> Hcm {
        let keys = [("routes", http.routes.origin()), ("virtual_hosts", http.virtual_hosts.origin())];
        self.exactly_one(&http.origin, http.has_unknown, &keys, "`http` has no routes");
        self.believes_schemes = http.believes_peers();
        self.spelling = Spelling {
            is_normal: http.normalize_path.value,
            is_merged: http.merge_slashes.value || http.merge_slashes_for_matching.value,
        };
        self.check_server_name(http);
        // Routes that say something of tracing look whether there is any.
        self.traces = false;
        let tracing = http.tracing.given().and_then(|tracing| self.tracing(tracing));
        let http_filters = self.http_filters(http);
        self.check_bridge(http);
        let virtual_hosts = match http.routes.given() {
            Some(routes) => vec![VirtualHost {
                place: self.problems.place(&routes.origin),
                name: "default".into(),
                domains: vec!["*".into()],
                routes: self.routes(&routes.items, None),
                headers: HeaderMutations::default(),
                filters: FilterOverrides::default(),
                include_request_attempt_count: false,
                include_attempt_count_in_response: false,
            }],
            None => self.virtual_hosts(&http.virtual_hosts),
        };
        Hcm {
            stat_prefix: http.stat_prefix.0.clone(),
            virtual_hosts,
            http_filters,
            mutations: self.mutations(mutations!(http)),
            paths: path_options(http),
            trust: self.trust(http),
            access_logs: http.access_log.items().iter().filter_map(|log| self.access_log(log)).collect(),
            local_replies: self.local_replies(&http.local_reply),
            timeouts: self.timeouts(http),
            limits: limits(http),
            fin_cancels: http.client_half_close.0 == ClientHalfClose::Cancel,
            headers: header_options(http),
            codec_type: http.codec_type.0,
            http2: self.client_http2(http),
            tracing,
        }
    }

    /// Warns of a domain in `server_name`, which nginx calls the domains of a server.
    fn check_server_name(&mut self, http: &'d Located<Http>) {
        let name = &http.server_name;
        let names: Option<Vec<_>> = name.0.split(' ').map(domain_of_nginx).collect();
        if let Some(names) = names {
            let message = "`server_name` is the value of the response header `server`, and chooses no requests";
            let hint = format!("domains belong in virtual_hosts = [{{ domains = [{}], ... }}]", names.join(", "));
            self.problems.warn(Problem::at(&name.origin, message).hint(Some(hint)));
        }
    }

    fn virtual_hosts(&mut self, written: &'d Slot<List<document::VirtualHost>>) -> Vec<VirtualHost> {
        let hint = "list at least one, or write routes = [...] instead";
        self.refuse_empty(written, "there is no virtual host: every request would get status 404", hint);
        let mut names = HashMap::new();
        let mut domains: HashMap<&str, (&Origin, &str)> = HashMap::new();
        let mut hosts = Vec::new();
        for host in written.items() {
            let name = host.name.given().map_or("", |name| name.0.as_str());
            if let Some(origin) = host.name.origin().filter(|_| !name.is_empty()) {
                self.unique(&mut names, name, origin, |name| format!("two virtual hosts have the name `{name}`"));
            }
            let hint = "for every host, write domains = [\"*\"]";
            self.refuse_empty(&host.domains, "the virtual host has no domain", hint);
            for domain in host.domains.items() {
                match domains.get(domain.0.as_str()) {
                    Some((earlier, owner)) => {
                        let owner = if *owner == name { "this virtual host".into() } else { format!("`{owner}`") };
                        let message = format!("the domain \"{}\" already belongs to {owner}", domain.0);
                        self.problems.push(Problem::at(&domain.origin, message).earlier(earlier));
                    }
                    None => drop(domains.insert(&domain.0, (&domain.origin, name))),
                }
            }
            let retry = host.retry_policy.given().map(|policy| self.retry_policy(policy));
            hosts.push(VirtualHost {
                place: self.problems.place(&host.origin),
                name: name.to_owned(),
                domains: host.domains.values(),
                routes: self.routes(host.routes.items(), retry.as_ref()),
                headers: self.mutations(mutations!(host)),
                filters: self.filter_overrides(&host.filters),
                include_request_attempt_count: host.include_request_attempt_count.value,
                include_attempt_count_in_response: host.include_attempt_count_in_response.value,
            });
        }
        hosts
    }

    fn timeouts(&mut self, http: &Located<Http>) -> HttpTimeouts {
        let shown = [
            ("stream_idle_timeout", Some(&http.stream_idle_timeout.origin)),
            ("max_stream_duration", Some(&http.max_stream_duration.origin)),
        ];
        HttpTimeouts {
            idle: http.idle_timeout.0,
            request_headers: http.request_headers_timeout.0,
            request: http.request_timeout.0,
            stream_idle: http.stream_idle_timeout.0,
            send: http.send_timeout.0,
            max_connection_duration: http.max_connection_duration.0,
            max_connection_duration_jitter: self.duration_jitter(http),
            max_stream_duration: http.max_stream_duration.0,
            texts: self.texts(Http::spec(), &http.origin, &shown),
        }
    }

    fn duration_jitter(&mut self, http: &Http) -> Duration {
        let Some(written) = http.max_connection_duration_jitter.given() else { return Duration::ZERO };
        let Some(duration) = http.max_connection_duration.0 else {
            let message = "`max_connection_duration_jitter` has no effect: connections may last as long as they like";
            let hint = "add max_connection_duration, such as \"30m\"";
            self.problems.warn(Problem::at_key(&written.origin, message).hint(Some(hint)));
            return Duration::ZERO;
        };
        duration.mul_f64(written.value.0 / 100.0)
    }

    fn client_cert_details(&mut self, http: &Http) -> ClientCertDetails {
        let forward = http.forward_client_cert_details.0;
        let sets = matches!(forward, ForwardCert::SanitizeSet | ForwardCert::AppendForward);
        let Some(written) = http.set_current_client_cert_details.given() else {
            return ClientCertDetails { forward, set: Vec::new() };
        };
        if !sets {
            let message = "`set_current_client_cert_details` has no effect: the header is not written";
            let hint = "add forward_client_cert_details = \"sanitize_set\" or \"append_forward\"";
            self.problems.warn(Problem::at_key(&written.origin, message).hint(Some(hint)));
        }
        let parts = [
            (written.cert.value, CertificatePart::Cert),
            (written.chain.value, CertificatePart::Chain),
            (written.subject.value, CertificatePart::Subject),
            (written.uri.value, CertificatePart::Uri),
            (written.dns.value, CertificatePart::Dns),
        ];
        ClientCertDetails { forward, set: parts.into_iter().filter(|(is, _)| *is).map(|(_, part)| part).collect() }
    }

    fn trust(&mut self, http: &Http) -> Trust {
        let hops = &http.xff_num_trusted_hops;
        if hops.value.to_u32() > 0 && http.xff_trusted_cidrs.given().is_some() {
            let problem =
                Problem::at_key(&hops.origin, "`xff_num_trusted_hops` and `xff_trusted_cidrs` exclude each other");
            self.problems.push(problem.hint(Some("remove the number: the addresses say which proxies are trusted")));
        }
        let headers = http.internal_only_headers.items().iter();
        Trust {
            use_remote_address: http.use_remote_address.value,
            xff_num_trusted_hops: http.xff_num_trusted_hops.value.to_u32(),
            xff_trusted_cidrs: http.xff_trusted_cidrs.values(),
            internal_addresses: http.internal_addresses.values(),
            internal_only_headers: headers.map(|name| name.0.clone()).collect(),
            underscores: http.headers_with_underscores_action.0,
            client_cert_details: self.client_cert_details(http),
        }
    }
}

/// The domain, in quotes, for a name of nginx's `server_name`; `None` if it does not look like one.
fn domain_of_nginx(name: &str) -> Option<String> {
    let domain = match name {
        "_" => "*",
        name => name.strip_prefix('.').unwrap_or(name),
    };
    let last = domain.rsplit('.').next().unwrap_or_default();
    let is_host = domain.contains('.') && (last == "*" || last.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let is_name = is_host || matches!(domain, "*" | "localhost") || domain.parse::<std::net::IpAddr>().is_ok();
    (is_name && Domain::from_text(domain).is_ok()).then(|| match name.starts_with('.') {
        true => format!("{domain:?}, \"*.{domain}\""),
        false => format!("{domain:?}"),
    })
}

fn path_options(http: &Http) -> PathOptions {
    PathOptions {
        normalize: http.normalize_path.value,
        merge_slashes: http.merge_slashes.value,
        matches_merged_slashes: http.merge_slashes_for_matching.value,
        escaped_slashes: http.path_with_escaped_slashes_action.0,
        strip_matching_host_port: http.strip_matching_host_port.value,
        strip_trailing_host_dot: http.strip_trailing_host_dot.value,
    }
}

fn limits(http: &Http) -> HttpLimits {
    HttpLimits {
        max_headers_size: http.max_headers_size.value.to_u32(),
        max_headers_count: http.max_headers_count.value.to_u16(),
        max_path_size: http.max_path_size.value.to_u32(),
        max_request_body: http.max_request_body.0,
        min_request_body_rate: http.min_request_body_rate.value.to_u32(),
        buffer_limit: http.buffer_limit.value.to_u32(),
        max_requests_per_connection: http.max_requests_per_connection.0.map(|count| count.0),
        enable_trailers: http.enable_trailers.value,
        max_requested_retries: http.max_requested_retries.value.to_u32(),
    }
}

fn header_options(http: &Http) -> HeaderOptions {
    HeaderOptions {
        server_name: http.server_name.0.clone(),
        server_header: http.server_header.0,
        via: http.via.value(),
        x_forwarded_for: http.x_forwarded_for.value,
        x_forwarded_proto: http.x_forwarded_proto.value,
        x_request_id: http.x_request_id.value,
        x_envoy_upstream_service_time: http.x_envoy_upstream_service_time.value,
        x_envoy_original_host: http.x_envoy_original_host.value,
    }
}
