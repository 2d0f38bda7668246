//! How values are read out of the parsed file: the machinery under the tables of `document`.
//!
//! Every value knows its place, says what may be written there, and reports what is wrong.
//!
//! Invariant: nothing here knows a table or a key of the file, nor what a value means to the engine.

mod compiled;
mod either;
mod map;
mod number;
mod pattern;
mod quantity;
mod read;
mod refusal;
mod scalar;
mod shape;
mod table;
mod text;
mod units;
mod words;
mod written;

pub use compiled::{CompiledPattern, MATCH_STEPS_MAX, parse_pattern, steps};
pub use either::{Empty, Nested, OffOr};
pub use map::Map;
pub use number::{Number, Percent};
pub use pattern::{Pattern, SearchPattern, Substitution, compile};
pub use quantity::{Size, SizeOrOff, Time, Timeout};
pub use read::{Holds, Input, List, Located, Read, Slot};
pub use refusal::Refusal;
pub use scalar::{FromText, Int, IntOrOff, OneOf, PowerOfTwo, Word, read_integer, read_status};
pub use shape::{KeySpec, Presence, Shape, TableSpec};
pub use table::{TableReader, absent, key_name, read_default};
pub use text::{
    ClusterName, CookieName, CookiePath, Domain, EditableHeader, FilePath, GrpcMethodName, GrpcServiceName, HeaderName,
    HeaderValue, Host, HostName, LogDirectives, MatchableHeader, MediaType, Method, Name, NewPath, PSEUDO_FIELDS,
    QueryName, Scheme, SeparatedPrefix, Text, UrlPath, ViaName, is_fixed_field, is_grpc_name, is_token, not_from_root,
};
pub use written::Written;

pub(crate) use read::holds;
pub(crate) use table::table;

#[cfg(test)]
pub use table::reads;
