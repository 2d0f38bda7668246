//! What is valid and yet has no effect, or will not go well on this host.

use super::host;
use crate::shard::connections_for;
use ringway_config::model::{Config, Diagnostic};

/// Lines of the log for the warnings of one file; a generated file may have thousands.
const LINES_MAX: usize = 20;

/// Says in the log what `check` would say.
pub(super) fn warn(config: &Config, descriptors: u64) {
    let of_file = config.warnings.iter().chain(&host::ignored(config)).map(Diagnostic::one_line).collect::<Vec<_>>();
    for warning in of_file.iter().take(LINES_MAX).chain(&warnings(config, descriptors)) {
        tracing::warn!(target: "ringway::server", "{warning}");
    }
    if let Some(more @ 1..) = of_file.len().checked_sub(LINES_MAX) {
        let file = &config.file;
        tracing::warn!(target: "ringway::server", "{more} more warnings; `ringway check {file}` shows all of them");
    }
}

/// One sentence for each cause for concern in a process that may open this number of descriptors.
pub(super) fn warnings(config: &Config, descriptors: u64) -> Vec<String> {
    let most = connections_for(descriptors);
    let too_many = config.runtime.max_connections.filter(|max| *max > most).map(|max| {
        format!(
            "runtime.max_connections is {max}, but this process may open {descriptors} files and sockets, and a proxied \
             connection takes two: beyond {most} connections, requests may find none left; lower it, or raise the limit \
             (ulimit -Hn, LimitNOFILE of systemd) to {}",
            2 * max + 64
        )
    });
    too_many.into_iter().collect()
}
