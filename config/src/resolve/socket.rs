//! Mode and owner of Unix sockets.

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::SocketMode;
use crate::model::{Address, Needed, SocketAccess};
use crate::reader::{Name, Slot};

impl Resolver<'_, '_, '_> {
    /// `address`: the socket's.
    pub(super) fn socket_access(
        &mut self,
        address: &Address,
        mode: &Slot<SocketMode>,
        user: &Slot<Name>,
        group: &Slot<Name>,
    ) -> SocketAccess {
        let keys = [("socket_mode", mode.origin()), ("socket_user", user.origin()), ("socket_group", group.origin())];
        if let Address::Ip(address) = address {
            for (key, origin) in keys {
                let Some(origin) = origin else { continue };
                let problem =
                    Problem::at_key(origin, format!("`{key}` has no effect at {address}: it is for Unix sockets"));
                self.problems.push(problem.hint(Some("leave it out, or listen on \"unix:/path\"")));
            }
        }
        let access =
            SocketAccess { mode: mode.given().map(|mode| mode.value.0), user: user.value(), group: group.value() };
        if let Some(origin) = user.origin() {
            self.need(origin, Needed::Owner(SocketAccess { user: user.value(), ..SocketAccess::default() }));
        }
        if let Some(origin) = group.origin() {
            self.need(origin, Needed::Owner(SocketAccess { group: group.value(), ..SocketAccess::default() }));
        }
        access
    }
}
