//! The code under test and what is checked about it.
//!
//! The modules are taken by path and not through the engine's crate: the codec needs nothing of it but the message,
//! which this build proves, and only these two get instrumented.

pub mod checks;
#[path = "../../src/codec/mod.rs"]
pub mod codec;
pub mod differential;
pub mod grpc_web;
pub mod h2;
pub mod hpack;
pub mod ocsp;
pub mod tokeniser;
pub mod trace_context;

/// Dates, which certificates and answers about them have.
#[path = "../../src/base"]
#[allow(dead_code)] // Logs and fields write them as well.
pub mod base {
    pub mod date;
}

/// The part of the engine's `http` that codecs see, and paths.
#[path = "../../src/http"]
#[allow(dead_code)] // Edits of heads are not the codec's.
pub mod http {
    mod authority;
    pub mod coding;
    mod edit;
    mod field;
    mod field_id;
    pub mod grammar;
    mod head;
    mod method;
    mod pairs;
    pub mod path;
    mod span;
    mod status;
    mod trailers;
    mod violation;
    mod work;

    pub use authority::is_valid_authority;
    pub use edit::HeadEditor;
    pub use field::{Field, Fields};
    pub use field_id::FieldId;
    pub use head::{ImpliedPath, Length, RequestHead, ResponseHead, Scheme, TargetForm};
    pub use method::{Method, Version};
    pub use span::{EditBytes, HeadView, Span, SpanBytes};
    pub use status::reason;
    pub use trailers::Trailers;
    pub use violation::Violation;
}

/// Contexts of traces.
#[path = "../../src/http/trace/parse.rs"]
pub mod trace_parse;

/// The first message of a client that speaks TLS, and what an authority says of a certificate.
#[path = "../../src/net"]
pub mod net {
    pub mod tls {
        pub mod client_hello;
        pub mod fingerprint {
            pub mod text;
        }
        #[allow(dead_code)] // Certificates need more of it.
        mod der;
        pub mod ocsp;
    }
}
