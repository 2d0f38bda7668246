//! Conditions on where a request comes from.

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::{self, AddressCondition, ranges};
use crate::model::{Address, AddressMatch, Cidr, Ranges, Whose};
use crate::reader::{Located, Slot};

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn address_matches(&mut self, written: &'d Located<document::RouteMatch>) -> Vec<AddressMatch> {
        let client = self.address_match(&written.remote_ip, Whose::Client);
        let peer = self.address_match(&written.direct_remote_ip, Whose::Peer);
        client.into_iter().chain(peer).collect()
    }

    fn address_match(&mut self, written: &'d Slot<AddressCondition>, whose: Whose) -> Option<AddressMatch> {
        let condition = written.given()?;
        let list = condition.ranges()?;
        if list.is_empty {
            let problem = Problem::at(&list.origin, "there is no range: no address is in this list");
            self.problems.push(problem.hint(Some("leave the condition out, or list ranges such as \"10.0.0.0/8\"")));
        }
        let ranges = Ranges::new(list.items.iter().map(|range| range.value.clone()).collect());
        Some(AddressMatch { whose, ranges, invert: condition.invert() })
    }

    /// Warns of ranges that no peer of the listener's connections can be in, in the routes of `http`.
    pub(super) fn check_peers(&mut self, listener: &Located<document::Listener>, http: &'d document::Http) {
        let hosts = http.virtual_hosts.items().iter();
        let routes = hosts.flat_map(|host| host.routes.items()).chain(http.routes.items());
        let is_unix = matches!(listener.address.given().map(|address| &address.value), Some(Address::Unix(_)));
        // Where no proxy in front is believed, the client is the peer.
        let is_peer = !http.believes_peers() && !is_unix;
        for matcher in routes.filter_map(|route| route.r#match.given()) {
            self.check_family(listener, ranges(&matcher.direct_remote_ip));
            if is_peer {
                self.check_family(listener, ranges(&matcher.remote_ip));
            }
        }
        if is_peer {
            self.check_family(listener, http.internal_addresses.items());
        }
        // One of them may be a proxy farther away, of any family; if none is a peer, none is ever believed.
        let trusted = http.xff_trusted_cidrs.items();
        let is_v4 = |range: &Located<Cidr>| range.address.is_ipv4();
        if let [first, others @ ..] = trusted
            && others.iter().all(|other| is_v4(other) == is_v4(first))
            && !is_unix
        {
            self.check_family(listener, trusted);
        }
    }

    /// Warns of ranges that no peer of the listener's connections can be in.
    pub(super) fn check_family(&mut self, listener: &Located<document::Listener>, ranges: &[Located<Cidr>]) {
        let Some(address) = listener.address.given().map(|address| &address.value) else { return };
        let both = listener.ipv4_compat.value;
        for range in ranges {
            let (takes, hint) = match address {
                Address::Unix(_) => {
                    ("takes connections without an address", "for what a proxy in front says, write remote_ip")
                }
                Address::Ip(ip) if both || range.address.is_ipv4() == ip.is_ipv4() => continue,
                Address::Ip(ip) => {
                    let takes = match ip.is_ipv4() {
                        true => "takes IPv4 connections only, not IPv6",
                        false => "takes IPv6 connections only, not IPv4",
                    };
                    let hint = match ip.ip().is_unspecified() {
                        true => "for both, write address = \"[::]:PORT\" and ipv4_compat = true",
                        false => "leave the range out, or give it to a listener with an address of its family",
                    };
                    (takes, hint)
                }
            };
            let message = format!("no client is in this range: {address} {takes}");
            self.problems.warn(Problem::at(&range.origin, message).hint(Some(hint)));
        }
    }
}
