//! Settings of the buffer filter.

use crate::document::{self, Located};
use crate::model::Buffer;
use crate::resolve::Resolver;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn buffer(&mut self, written: &'d Located<document::Buffer>) -> Option<Buffer> {
        Some(Buffer { max_request_bytes: written.max_request_bytes.given()?.value.0 })
    }
}
