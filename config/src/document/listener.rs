//! `[[listeners]]` and their filter chains.

use super::connection_log::ConnectionLog;
use super::http::Http;
use super::socket::SocketMode;
use super::tls::{DownstreamTls, OfferedProtocol, ServerNames};
use crate::model::{Address, Cidr, TransportProtocol};
use crate::reader::{Int, List, Name, table};

table! {
    /// A socket that accepts connections. It has either `http` (one filter chain for every connection: the short form)
    /// or `filter_chains` (Envoy: Listener).
    Listener at "listeners[]", example "listeners.toml" {
        /// Name in logs and in the admin endpoint; unique. A socket that the service manager passes under this name
        /// (systemd: `FileDescriptorName`) is taken in place of one that is bound to `address`.
        name: Name, optional "the address";
        /// Address to listen on; unique. With port 0 the kernel chooses a port; several listeners may have that, and a reload
        /// tells them apart by their order. A socket that the service manager passes with this address (socket activation)
        /// is taken instead of binding another one.
        address: Address, required;
        /// With the address `[::]`: take IPv4 connections, too. Their addresses are IPv4 addresses everywhere: in ranges,
        /// logs and `x-forwarded-for` (Envoy: ipv4_compat). Without it, `[::]` takes IPv6 connections only, whatever the
        /// host's `net.ipv6.bindv6only` says.
        ipv4_compat: bool, default "false";
        /// Permissions of the Unix socket's file, in octal, whatever the umask is: `"0660"` lets its user and group connect
        /// (systemd: SocketMode, HAProxy: mode, Envoy: mode of Pipe). The file never has other permissions while it can be
        /// connected to. A reload changes them. A socket that the service manager passes has those of its unit.
        socket_mode: SocketMode, optional "what the umask leaves of 0777";
        /// User that the Unix socket's file belongs to, a name or a number (systemd: SocketUser, HAProxy: user). Only root can
        /// give it away.
        socket_user: Name, optional "the user that starts the process";
        /// Group that the Unix socket's file belongs to, a name or a number (systemd: SocketGroup, HAProxy: group). Users other
        /// than root can give it to their own groups.
        socket_group: Name, optional "the group that starts the process";
        /// Part of the statistics' names after `listener.`.
        stat_prefix: Name, optional "the address with `:` replaced by `_`";
        /// Connections of this listener in the whole process. At the limit, a new connection replaces the one that has been
        /// idle longest; if none is idle, the new one is closed.
        max_connections: Int<1, { u64::MAX }>, optional "only the limit of the process";
        /// Connections of each client, by the address of its socket, in the whole process (HAProxy: src_conn_cur, nginx:
        /// limit_conn). At the limit, a new connection replaces the client's own connection that has been idle longest; if
        /// none is idle, the new one is closed. Behind another proxy or a NAT many clients have one address.
        max_connections_per_client: Int<1, { u64::MAX }>, optional "no limit";
        /// Logs of connections: a line or a record for each one when it ends, also for those that no chain serves, whose TLS
        /// handshake fails, or that a limit refuses (Envoy: access_log of Listener, HAProxy: option tcplog). Requests are in
        /// `http.access_log`. A connection that was open before a reload has added the first log has no line.
        access_log: List<ConnectionLog>, optional "no log of connections";
        /// TLS for every connection. It belongs to `http`; with `filter_chains`, each chain has its own.
        tls: DownstreamTls, optional "plain text";
        /// HTTP for every connection. Excludes `filter_chains`.
        http: Http, optional "see `filter_chains`";
        /// What serves a connection, by its addresses: the first chain that matches. A connection that matches none is
        /// closed, so that a chain with `source_prefix_ranges` is an allow list. Excludes `http`.
        filter_chains: List<FilterChain>, optional "one chain with `http`";
    }
}

table! {
    /// What serves the connections that match (Envoy: FilterChain).
    FilterChain at "listeners[].filter_chains[]", example "listeners.toml" {
        /// Name in logs; unique in the listener.
        name: Name, optional "`filter_chain_` and its index";
        /// The connections that this chain serves. Only the last chain may leave it out.
        r#match: FilterChainMatch, optional "every connection";
        /// TLS for these connections.
        tls: DownstreamTls, optional "plain text";
        /// HTTP for these connections.
        http: Http, required;
    }
}

table! {
    /// The connections that a chain serves; every condition that is written must hold (Envoy: FilterChainMatch).
    FilterChainMatch at "listeners[].filter_chains[].match", example "listeners.toml" {
        /// Address ranges, one of which must contain the peer's address.
        source_prefix_ranges: List<Cidr>, optional "every source";
        /// Ports, one of which must be the one that the client connected to.
        destination_ports: List<Int<1, 65535>>, optional "every port";
        /// Host names, one of which the client must ask for in its TLS handshake (SNI), without regard to case. `*.example.com`
        /// stands for every name that ends in `.example.com`, whatever the number of its labels, and not for `example.com`. A
        /// chain without it also serves clients that ask for no name. [TLS](TLS.md#several-sites-on-one-port) has an example.
        server_names: List<ServerNames>, optional "every name, or none";
        /// Application protocols, one of which the client must offer in its TLS handshake (ALPN), such as `http/1.1`.
        application_protocols: List<OfferedProtocol>, optional "every protocol, or none";
        /// What the connection must begin with: `tls`, or `raw_buffer` for anything else. Where a chain of the listener has this
        /// or one of the two keys above, the listener waits for the first bytes of a connection and reads the client's first
        /// message, for at most 15 seconds (Envoy: tls_inspector, which must be listed there), and chains with `tls` take only
        /// connections that begin with TLS.
        transport_protocol: TransportProtocol, optional "both";
    }
}
