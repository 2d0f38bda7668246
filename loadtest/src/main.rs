//! The load generator and the comparison with other proxies.
fn main() {}
