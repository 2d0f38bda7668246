//! Settings of the buffer filter.

use crate::document;
use crate::model::Buffer;
use crate::reader::Located;
use crate::resolve::Resolver;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn buffer(&mut self, written: &'d Located<document::Buffer>) -> Option<Buffer> {
        Some(Buffer { max_request_bytes: written.max_request_bytes.value()? })
    }
}
