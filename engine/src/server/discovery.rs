//! The thread that looks host names up.

use crate::cluster::ClusterShared;
use crate::cluster::discovery::{Discovery, is_discovered};
use crate::stats::Registry;
use ringway_config::model;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

/// How long a start or a reload waits for the first lookups. Longer than one try of a name server takes; what is not
/// known by then has no endpoints yet, and requests to it get 503.
const WARM_UP_MAX: Duration = Duration::from_secs(5);

/// The clusters of a configuration, and what is dropped once they are warm.
type Order = (Vec<Arc<ClusterShared>>, Sender<()>);

/// The server's end of the thread, which exists from the first cluster on that is discovered. It ends with the process.
pub(super) struct DnsThread {
    registry: Arc<Registry>,
    orders: Option<UnboundedSender<Order>>,
}

/// The thread is there, if it is needed. One that was started for it ends where this is dropped without being used.
pub(super) struct Ready(Option<UnboundedSender<Order>>);

impl DnsThread {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self { registry: registry.clone(), orders: None }
    }

    /// Everything that can fail of going over to these clusters. Nothing is looked up yet.
    ///
    /// # Errors
    /// No thread or no runtime can be made.
    pub(super) fn ready(&self, clusters: &[model::Cluster]) -> Result<Ready, String> {
        match &self.orders {
            Some(orders) => Ok(Ready(Some(orders.clone()))),
            None if clusters.iter().any(is_discovered) => {
                start(self.registry.clone()).map(|orders| Ready(Some(orders)))
            }
            None => Ok(Ready(None)),
        }
    }

    /// Go over to these clusters, and wait until the first lookups of those that are new have ended.
    pub(super) fn apply(&mut self, ready: Ready, clusters: &[Arc<ClusterShared>]) {
        self.orders = ready.0;
        let Some(orders) = &self.orders else { return };
        let (warm, warmed) = channel();
        if orders.send((clusters.to_vec(), warm)).is_err() {
            tracing::error!(target: "ringway::dns", "the thread has ended: names are looked up no more");
        }
        wait(&warmed, WARM_UP_MAX);
    }
}

/// Until the last lookup has dropped its sender.
fn wait(warmed: &Receiver<()>, time: Duration) {
    let start = Instant::now();
    if warmed.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!(
            target: "ringway::dns",
            waited = ?start.elapsed(),
            "not all names are looked up yet; going on without them"
        );
    }
}

fn start(registry: Arc<Registry>) -> Result<UnboundedSender<Order>, String> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|error| format!("dns runtime: {error}"))?;
    let (sender, orders) = unbounded_channel();
    let body = move || LocalSet::new().block_on(&runtime, serve(&registry, orders));
    std::thread::Builder::new().name("dns".into()).spawn(body).map_err(|error| format!("dns thread: {error}"))?;
    Ok(sender)
}

async fn serve(registry: &Registry, mut orders: UnboundedReceiver<Order>) {
    // Not before the first order: it has statistics, and there may be none.
    let mut discovery = None;
    while let Some((clusters, warm)) = orders.recv().await {
        discovery.get_or_insert_with(|| Discovery::new(registry)).apply(&clusters, warm);
    }
}
