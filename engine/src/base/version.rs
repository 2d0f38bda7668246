//! The version of this program and how it was built.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of the source; "unknown" where git did not know it, and in development builds.
pub const COMMIT: &str = env!("RINGWAY_COMMIT");
/// The platform, as Rust names it.
pub const TARGET: &str = env!("RINGWAY_TARGET");
/// Features of the build, or "none".
pub const FEATURES: &str = env!("RINGWAY_FEATURES");
/// All of it, for `--version`.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("RINGWAY_COMMIT"),
    "\ntarget: ",
    env!("RINGWAY_TARGET"),
    "\nfeatures: ",
    env!("RINGWAY_FEATURES")
);
