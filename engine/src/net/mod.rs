//! Byte streams: TCP and Unix sockets on the ring, in-memory pipes, socket options.
