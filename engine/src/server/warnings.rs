//! What is valid and yet will not go well on this host.

use crate::shard::connections_for;
use ringway_config::model::Config;

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
