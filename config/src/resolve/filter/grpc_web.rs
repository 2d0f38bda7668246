//! Settings of the gRPC-Web filter.

use crate::document;
use crate::model::GrpcWeb;
use crate::reader::Located;
use crate::resolve::Resolver;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn grpc_web(&mut self, written: &'d Located<document::GrpcWeb>) -> Option<GrpcWeb> {
        Some(GrpcWeb { max_methods: written.max_methods.to_u32() })
    }
}
