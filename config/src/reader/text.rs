//! Strings with rules: names, paths, headers, methods, domains.

use std::path::PathBuf;

use super::read::holds;
use super::refusal::Refusal;
use super::scalar::FromText;
use super::shape::Shape;

/// Declares a string type by its noun, what is allowed, and a function that checks the text and may change it.
macro_rules! text_types {
    ($( $(#[doc = $doc:literal])+ $name:ident, $noun:literal, $allowed:literal, $parse:expr; )*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name(pub String);

        holds! { [] $name: String; }

        impl FromText for $name {
            fn shape() -> Shape {
                Shape::Text { noun: $noun, allowed: $allowed }
            }

            fn from_text(text: &str) -> Result<Self, Refusal> {
                let parse: fn(&str) -> Result<String, Refusal> = $parse;
                parse(text).map(Self)
            }
        }
    )*};
}

text_types! {
    /// Any text.
    Text, "a string", "any text in quotes", |text| Ok(text.to_owned());

    /// A name of the user's choice.
    Name, "a name", "1 to 256 characters, none of them a control character", name;

    /// The name of a cluster, resolved later.
    ClusterName, "the name of a cluster", "the `name` of one of the [[clusters]]", |text| Ok(text.to_owned());

    /// A prefix of a path, or a whole one.
    UrlPath, "a path", "a path that starts with '/', percent-encoded as clients send it, without query", url_path;

    /// What replaces a path; it may bring a query.
    NewPath, "a path", "a path that starts with '/', percent-encoded; a query may follow", new_path;

    /// A prefix that ends at a '/' of the path or at its end.
    SeparatedPrefix, "a path", "a path that starts with '/' and does not end with one", separated_prefix;

    /// A method, case-sensitive (RFC 9110 section 9.1).
    Method, "an HTTP method", "letters, digits and !#$%&'*+-.^_`|~, such as \"GET\"", method;

    /// The name of a header, in lower case (RFC 9110 section 5.1).
    HeaderName, "a header name", "letters, digits and !#$%&'*+-.^_`|~, such as \"x-request-id\"", header_name;

    /// A header, or a part of the request line, that a condition looks at.
    MatchableHeader, "a header name", "letters, digits and !#$%&'*+-.^_`|~, such as \"x-request-id\"; or :method, :path, :authority, :scheme", matchable_header;

    /// A header that may be added and removed.
    EditableHeader, "a header name", "letters, digits and !#$%&'*+-.^_`|~, such as \"x-request-id\"; not the host or a header of the connection", editable_header;

    /// A media type, or a range of them, in lower case (RFC 9110 sections 8.3.1 and 12.5.1).
    MediaType, "a media type", "a type like \"text/html\", all of a kind like \"text/*\", or \"*/*\"; without parameters", media_type;

    /// The name of a cookie (RFC 6265 section 4.1.1).
    CookieName, "the name of a cookie", "letters, digits and !#$%&'*+-.^_`|~, such as \"session\"", cookie_name;

    /// The path of a cookie (RFC 6265 section 4.1.1).
    CookiePath, "the path of a cookie", "a path that starts with '/', without ';'", cookie_path;

    /// The name of a query parameter, as it is written in the URL.
    QueryName, "the name of a query parameter", "a name as it stands in the URL, percent-encoded", query_name;

    /// The value of a header that this proxy writes (RFC 9110 section 5.5).
    HeaderValue, "a header value", "visible ASCII characters, with spaces only between them", header_value;

    /// The name of this proxy in `Via` (RFC 9110 section 7.6.3).
    ViaName, "a pseudonym or host", "letters, digits and !#$%&'*+-.^_`|~:, such as \"ringway\"", via_name;

    /// A host with or without a port, as it goes into a Host header.
    Host, "a host", "a host name or address, with or without a port: \"app.internal\", \"10.0.0.1:8080\"", host;

    /// A host without a port.
    HostName, "a host name", "a host name or address without a port: \"www.example.com\"", host_name;

    /// A domain of a virtual host.
    Domain, "a domain", "a host name without a port, \"*.suffix\", \"prefix.*\" or \"*\"", domain;

    /// A scheme of a redirect.
    Scheme, "a scheme", "\"http\", \"https\"", scheme;

    /// A service of gRPC with its package.
    GrpcServiceName, "the name of a service of gRPC", "letters, digits, '_', '-' and '.', such as \"shop.Orders\"", |text| grpc_name(text, true);

    /// A method of gRPC.
    GrpcMethodName, "the name of a method of gRPC", "letters, digits, '_' and '-', such as \"Place\"", |text| grpc_name(text, false);

    /// Directives for the program log.
    LogDirectives, "log directives", "a level (off, error, warn, info, debug, trace) or target=level, separated by commas", log_directives;
}

/// A file's name.
#[derive(Clone, Debug)]
pub struct FilePath(pub PathBuf);

holds! { [] FilePath: PathBuf; }

impl FromText for FilePath {
    fn shape() -> Shape {
        Shape::Text { noun: "a file path", allowed: "the path of a file" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || text.contains('\0') || text.ends_with('/') {
            return Err(Refusal::new(format!("{text:?} is not the path of a file")));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

fn name(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("a name must not be empty"));
    }
    if text.chars().count() > 256 || text.chars().any(char::is_control) {
        return Err(Refusal::new("this is not a name"));
    }
    Ok(text.to_owned())
}

/// Whether this may be the name of a service of gRPC, which has dots, or of a method.
pub fn is_grpc_name(text: &str, dots: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || dots && byte == b'.';
    !text.is_empty() && text.bytes().all(fits)
}

fn grpc_name(text: &str, dots: bool) -> Result<String, Refusal> {
    if text.len() > 120 || !is_grpc_name(text, dots) {
        return Err(Refusal::new(format!("{text:?} is not the name of a {}", if dots { "service" } else { "method" })));
    }
    Ok(text.to_owned())
}

fn media_type(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    if let Some((essence, _)) = lower.split_once(';') {
        let refusal = Refusal::new(format!("{text:?} has a parameter"));
        return Err(refusal.instead("parameters are ignored: {}", [essence.trim_end()]));
    }
    match lower.split_once('/') {
        Some(("*", "*")) => Ok(lower),
        Some((kind, "*")) if is_token(kind) => Ok(lower),
        Some((kind, name)) if kind != "*" && is_token(kind) && is_token(name) && !name.contains('*') => Ok(lower),
        _ => Err(Refusal::new(format!("{text:?} is not a media type"))),
    }
}

fn url_path(text: &str) -> Result<String, Refusal> {
    if let Some(mark) = text.find(['?', '#']) {
        let refusal = Refusal::new(format!("a path has no '{}'", &text[mark..=mark]));
        return Err(refusal.instead("the path is matched without its query: {}", [&text[..mark]]));
    }
    new_path(text)
}

/// A path without `/` at its start.
pub fn not_from_root(text: &str) -> Refusal {
    let refusal = Refusal::new(format!("{text:?} does not start with '/'"));
    if text.starts_with('$') {
        let hint = "there are no variables here: conditions compare the request's path with what is written, and without \
                    this key a redirect or a rewrite keeps the request's own path and query";
        return refusal.hint(Some(hint.into()));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return refusal.hint(Some("write the path alone, without scheme and host".into()));
    }
    refusal.instead("did you mean {}?", [format!("/{text}")])
}

fn new_path(text: &str) -> Result<String, Refusal> {
    if !text.starts_with('/') {
        return Err(not_from_root(text));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        let encoded: String = bad.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let hint = format!("percent-encode it: {encoded}");
        return Err(Refusal::new(format!("a path cannot hold {bad:?}")).hint(Some(hint)));
    }
    Ok(text.to_owned())
}

fn separated_prefix(text: &str) -> Result<String, Refusal> {
    let path = url_path(text)?;
    match path.strip_suffix('/') {
        None => Ok(path),
        Some("") => Err(Refusal::new("\"/\" ends with '/'").hint(Some("for every path, use prefix = \"/\"".into()))),
        Some(rest) => {
            let refusal = Refusal::new(format!("{text:?} ends with '/'"));
            Err(refusal.instead("did you mean {}?", [rest.trim_end_matches('/')]))
        }
    }
}

/// RFC 9110 section 5.6.2.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn method(text: &str) -> Result<String, Refusal> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let upper = text.to_ascii_uppercase();
    if upper != text && KNOWN.contains(&upper.as_str()) {
        let refusal = Refusal::new(format!("no client sends the method {text:?}"));
        return Err(refusal.instead("methods are case-sensitive: did you mean {}?", [upper]));
    }
    if !is_token(text) {
        return Err(Refusal::new(format!("{text:?} is not a method")));
    }
    Ok(text.to_owned())
}

/// Headers of one connection or about the length of a body, and the host: they cannot be edited (RFC 9110 section
/// 7.6.1).
const FIXED_FIELDS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Whether a header is about the connection or the length of the body, or the host: its name in lower case.
pub fn is_fixed_field(name: &str) -> bool {
    FIXED_FIELDS.contains(&name)
}

/// Parts of the request line that conditions and `%REQ(...)%` can look at.
pub const PSEUDO_FIELDS: [&str; 4] = [":method", ":path", ":authority", ":scheme"];

fn header_name(text: &str) -> Result<String, Refusal> {
    if text.starts_with(':') {
        return Err(Refusal::new(format!("{text:?} is not a header field")));
    }
    if !is_token(text) {
        return Err(Refusal::new(format!("{text:?} is not a header name")));
    }
    Ok(text.to_ascii_lowercase())
}

fn matchable_header(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    if PSEUDO_FIELDS.contains(&lower.as_str()) {
        return Ok(lower);
    }
    if text.starts_with(':') {
        let near = crate::diagnostic::closest(&lower, PSEUDO_FIELDS.into_iter());
        return Err(Refusal::new(format!("{text:?} is not a header field")).instead("did you mean {}?", near));
    }
    header_name(text)
}

fn editable_header(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    let hint = match lower.as_str() {
        ":authority" | "host" => "the host is set by host_rewrite, in `route`",
        ":path" => "the path is set by prefix_rewrite, regex_rewrite or template_rewrite, in `route`",
        ":method" | ":scheme" | ":status" => "it stays as it is",
        "content-length" | "transfer-encoding" | "trailer" => "it follows from how the body is sent",
        fixed if is_fixed_field(fixed) => "it belongs to one connection and is not forwarded",
        _ => return header_name(text),
    };
    Err(Refusal::new(format!("{text:?} cannot be edited")).hint(Some(hint.into())))
}

fn cookie_name(text: &str) -> Result<String, Refusal> {
    if !is_token(text) {
        return Err(Refusal::new(format!("{text:?} is not the name of a cookie")));
    }
    Ok(text.to_owned())
}

fn cookie_path(text: &str) -> Result<String, Refusal> {
    if !text.starts_with('/') || !text.bytes().all(|b| b.is_ascii_graphic() && b != b';') {
        return Err(Refusal::new(format!("{text:?} cannot be the path of a cookie")));
    }
    Ok(text.to_owned())
}

fn query_name(text: &str) -> Result<String, Refusal> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"&=#".contains(&b);
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err(Refusal::new(format!("{text:?} cannot be the name of a parameter in a URL")));
    }
    Ok(text.to_owned())
}

fn header_value(text: &str) -> Result<String, Refusal> {
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !visible || text.is_empty() || text.trim() != text {
        return Err(Refusal::new(format!("{text:?} cannot be a header's value")));
    }
    Ok(text.to_owned())
}

fn via_name(text: &str) -> Result<String, Refusal> {
    if !is_token(&text.replace(':', "")) {
        return Err(Refusal::new(format!("{text:?} cannot be used in a via header")));
    }
    Ok(text.to_owned())
}

fn is_host_name(text: &str) -> bool {
    let bytes_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    !text.is_empty() && text.len() <= 255 && bytes_ok && !text.starts_with('.') && !text.contains("..")
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(text),
    }
}

/// Splits `name:port` and `[v6]:port`; the port must be one.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|_| is_port && is_host(host)).map(|port| (host, port))
}

fn host(text: &str) -> Result<String, Refusal> {
    if is_host(text) || split_port(text).is_some() {
        return Ok(text.to_owned());
    }
    let refusal = Refusal::new(format!("{text:?} is not a host")).hint(variable_hint(text));
    Err(refusal.instead("write the host alone: {}", host_of_url(text)))
}

fn host_name(text: &str) -> Result<String, Refusal> {
    if is_host(text) {
        return Ok(text.to_owned());
    }
    let refusal = Refusal::new(format!("{text:?} is not a host name"));
    let alone = host_of_url(text).unwrap_or(text);
    Err(match split_port(alone) {
        Some((host, port)) => refusal.hint(Some(format!("write it as host = \"{host}\", port = {port}"))),
        None => refusal.hint(variable_hint(text)).instead("write the host alone: {}", host_of_url(text)),
    })
}

/// The host of a URL, with its port.
fn host_of_url(text: &str) -> Option<&str> {
    let rest = text.split_once("://")?.1;
    rest.split('/').next()
}

/// For `$host` of nginx and the like, where a host may be written.
fn variable_hint(text: &str) -> Option<String> {
    let is_variable = text.starts_with('$') || (text.starts_with('%') && text.ends_with('%'));
    is_variable.then(|| "there are no variables here: leave the key out where the host is to stay as it is".into())
}

fn domain(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    let refusal = || Refusal::new(format!("{text:?} is not a domain"));
    let url = host_of_url(&lower);
    let with_port = url.unwrap_or(&lower);
    let without_port = with_port.strip_suffix(":*").or_else(|| Some(split_port(with_port)?.0));
    if let Some(host) = without_port {
        return Err(refusal().instead("the port of the Host header is not compared: write {}", [host]));
    }
    if url.is_some() {
        return Err(refusal().instead("write the host alone: {}", url));
    }
    let fixed = if lower == "*" {
        return Ok(lower);
    } else if let Some(suffix) = lower.strip_prefix("*.") {
        suffix
    } else if let Some(prefix) = lower.strip_suffix(".*") {
        prefix
    } else {
        &lower
    };
    if is_host(fixed) {
        return Ok(lower);
    }
    let labels = || "'*' stands for whole labels at one end: \"*.example.com\", \"api.*\"".into();
    Err(refusal().hint(lower.contains('*').then(labels)))
}

fn scheme(text: &str) -> Result<String, Refusal> {
    match text {
        "http" | "https" => Ok(text.to_owned()),
        _ => {
            let refusal = Refusal::new(format!("{text:?} is not a scheme that a redirect can name"));
            let refusal = refusal.instead("did you mean {}?", [text.trim_end_matches(['/', ':']).to_ascii_lowercase()]);
            let keep = || "there are no variables here: leave the key out where the scheme is to stay as it is".into();
            Err(refusal.hint(text.starts_with(['$', '%']).then(keep)))
        }
    }
}

fn log_directives(text: &str) -> Result<String, Refusal> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let (target, level) = directive.rsplit_once('=').map_or(("", directive), |(target, level)| (target, level));
        let is_target = target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b));
        let level = level.trim().to_ascii_lowercase();
        if LEVELS.contains(&level.as_str()) && is_target && !directive.starts_with('=') {
            continue;
        }
        let near = crate::diagnostic::closest(&level, LEVELS.into_iter());
        let hint = near.filter(|near| *near != level).map(|near| format!("did you mean \"{near}\"?"));
        return Err(Refusal::new(format!("{directive:?} is not a log directive")).hint(hint));
    }
    Ok(text.to_owned())
}
