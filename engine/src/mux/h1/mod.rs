//! HTTP/1 as a wire: one exchange after the other on a connection, each with the connection to itself.

mod asked;
mod body_writer;
mod encode;
mod served;

pub use asked::Asked;
pub use encode::connection;
pub use served::{Disposition, Served};
