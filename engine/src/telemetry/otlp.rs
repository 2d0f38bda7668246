//! What reports in OpenTelemetry's protocol have in common: the resource that they are about, and what made them.

use super::Fields;
use crate::base::version::VERSION;

/// What stands around the items of a report (`ResourceMetrics`, `ScopeMetrics`, and their likes for spans and log records,
/// which have the same numbers).
pub(super) struct Frame {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Frame {
    /// `attributes` are of the resource, in addition to its names or instead of them; `schema` is of the names of other
    /// attributes.
    pub fn new(service: &str, attributes: &[(String, String)], schema: Option<&[u8]>) -> Self {
        let host = rustix::system::uname();
        let own = [("service.name", service.as_bytes()), ("host.name", host.nodename().to_bytes())];
        let own = own.into_iter().filter(|own| attributes.iter().all(|(name, _)| name != own.0));
        let further = attributes.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        Fields(&mut resource).message(1, |fields| {
            own.chain(further).for_each(|(name, value)| fields.attribute(1, name.as_bytes(), value));
        });
        let mut fields = Fields(&mut scope);
        fields.message(1, |fields| {
            fields.text(1, b"ringway");
            fields.text(2, VERSION.as_bytes());
        });
        schema.into_iter().for_each(|schema| fields.text(3, schema));
        Self { resource, scope }
    }

    /// The report with these items, which are fields of the inner message already.
    pub fn around(&self, items: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(items.len() + self.resource.len() + self.scope.len() + 32);
        Fields(&mut out).message(1, |fields| {
            fields.0.extend_from_slice(&self.resource);
            fields.message(2, |fields| {
                fields.0.extend_from_slice(&self.scope);
                fields.0.extend_from_slice(items);
            });
        });
        out
    }
}
