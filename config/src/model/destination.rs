//! Where reports go.

use std::fmt;
use std::time::Duration;

/// A program elsewhere that this one tells of itself, and what all requests to it have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Name of the cluster.
    pub cluster: String,
    pub host: String,
    pub path: String,
    /// Further ones, by their names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// For one request.
    pub timeout: Duration,
}

/// What carries OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtlpProtocol {
    Http,
    Grpc,
}

/// A text that is not shown where what holds it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}
