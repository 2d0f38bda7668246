//! The static table (RFC 7541 appendix A).

use super::{Name, Pseudo};
use crate::http::FieldId;

/// A field of the static table. All are valid.
pub(super) struct StaticField {
    /// The name and the value behind it.
    pub text: &'static str,
    pub name_len: u32,
    pub name: Name,
}

/// Fields in the static table; the dynamic table's indices begin behind them.
pub(super) const COUNT: u32 = FIELDS.len() as u32;

macro_rules! field {
    ($name:literal, $value:literal, $id:ident) => {
        field!($name, $value, FieldId::$id, None)
    };
    ($name:literal, $value:literal, : $pseudo:ident) => {
        field!($name, $value, FieldId::Unknown, Some(Pseudo::$pseudo))
    };
    ($name:literal, $value:literal, $id:expr, $pseudo:expr) => {
        StaticField {
            text: concat!($name, $value),
            name_len: $name.len() as u32,
            name: Name { id: $id, pseudo: $pseudo, is_valid: true },
        }
    };
}

/// By index from 1.
pub(super) static FIELDS: [StaticField; 61] = [
    field!(":authority", "", :Authority),
    field!(":method", "GET", :Method),
    field!(":method", "POST", :Method),
    field!(":path", "/", :Path),
    field!(":path", "/index.html", :Path),
    field!(":scheme", "http", :Scheme),
    field!(":scheme", "https", :Scheme),
    field!(":status", "200", :Status),
    field!(":status", "204", :Status),
    field!(":status", "206", :Status),
    field!(":status", "304", :Status),
    field!(":status", "400", :Status),
    field!(":status", "404", :Status),
    field!(":status", "500", :Status),
    field!("accept-charset", "", Unknown),
    field!("accept-encoding", "gzip, deflate", AcceptEncoding),
    field!("accept-language", "", AcceptLanguage),
    field!("accept-ranges", "", Unknown),
    field!("accept", "", Accept),
    field!("access-control-allow-origin", "", Unknown),
    field!("age", "", Age),
    field!("allow", "", Allow),
    field!("authorization", "", Authorization),
    field!("cache-control", "", CacheControl),
    field!("content-disposition", "", Unknown),
    field!("content-encoding", "", ContentEncoding),
    field!("content-language", "", Unknown),
    field!("content-length", "", ContentLength),
    field!("content-location", "", Unknown),
    field!("content-range", "", ContentRange),
    field!("content-type", "", ContentType),
    field!("cookie", "", Cookie),
    field!("date", "", Date),
    field!("etag", "", Etag),
    field!("expect", "", Expect),
    field!("expires", "", Expires),
    field!("from", "", Unknown),
    field!("host", "", Host),
    field!("if-match", "", Unknown),
    field!("if-modified-since", "", IfModifiedSince),
    field!("if-none-match", "", IfNoneMatch),
    field!("if-range", "", Unknown),
    field!("if-unmodified-since", "", Unknown),
    field!("last-modified", "", LastModified),
    field!("link", "", Unknown),
    field!("location", "", Location),
    field!("max-forwards", "", MaxForwards),
    field!("proxy-authenticate", "", ProxyAuthenticate),
    field!("proxy-authorization", "", ProxyAuthorization),
    field!("range", "", Range),
    field!("referer", "", Referer),
    field!("refresh", "", Unknown),
    field!("retry-after", "", RetryAfter),
    field!("server", "", Server),
    field!("set-cookie", "", SetCookie),
    field!("strict-transport-security", "", Unknown),
    field!("transfer-encoding", "", TransferEncoding),
    field!("user-agent", "", UserAgent),
    field!("vary", "", Vary),
    field!("via", "", Via),
    field!("www-authenticate", "", WwwAuthenticate),
];

/// Indices that the encoder names itself.
pub(super) mod index {
    pub const AUTHORITY: u8 = 1;
    pub const METHOD_GET: u8 = 2;
    pub const METHOD_POST: u8 = 3;
    pub const PATH_SLASH: u8 = 4;
    pub const SCHEME_HTTP: u8 = 6;
    pub const SCHEME_HTTPS: u8 = 7;
    pub const STATUS_200: u8 = 8;
    pub const STATUS_204: u8 = 9;
    pub const STATUS_206: u8 = 10;
    pub const STATUS_304: u8 = 11;
    pub const STATUS_400: u8 = 12;
    pub const STATUS_404: u8 = 13;
    pub const STATUS_500: u8 = 14;
    pub const ACCEPT_ENCODING: u8 = 16;
}

/// The index of each known name; 0 for those that the table does not have.
pub(super) static BY_ID: [u8; 128] = by_id();

const fn by_id() -> [u8; 128] {
    let mut indices = [0; 128];
    let mut at = FIELDS.len();
    while at > 0 {
        at -= 1;
        let id = FIELDS[at].name.id as usize;
        if id != FieldId::Unknown as usize {
            indices[id] = at as u8 + 1;
        }
    }
    indices
}
