//! The second wire: many exchanges at a time on one connection, in frames. The tests have it so that everything that is
//! generic over wires is tried with two of them; the released binary does not know it.
//!
//! ```text
//! frame = kind (1 byte)  stream (4 bytes)  length (4 bytes)  payload
//! ```
//!
//! A stream begins with its request's head. Each side sends HEAD (a server any number of interim ones before it), DATA
//! within the peer's credit, and END with the trailers, unless its head said that nothing follows. RESET ends a stream in
//! both directions, REFUSED says that the request was not looked at, GOAWAY names the last stream that will be served.

mod asked;
mod codec;
mod driver;
mod head;
mod link;
mod served;
mod stream;

pub use asked::Asked;
pub use driver::Driver;
pub use link::{Link, Role};
pub use served::Served;
pub use stream::Key;

/// Bytes of DATA that a stream's receiver takes before it gives more credit.
const WINDOW: usize = 64 * 1024;

/// Bytes in one DATA frame that is sent at most.
const DATA_MAX: usize = 16 * 1024;

/// Bytes of a HEAD or END frame that is received at most. What one exchange takes is in its `Limits`.
const HEAD_MAX: usize = 256 * 1024;

/// Codes of RESET.
pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const CANCEL: u32 = 8;
