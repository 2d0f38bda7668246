//! The thread that looks host names up.

use super::worker::{Clusters, Order, Wake, Work};
use crate::base::span::Span;
use crate::cluster::discovery::{Discovery, is_discovered};
use crate::stats::Registry;
use ringway_config::model;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::LocalSet;

pub(super) struct Lookups;

impl Work for Lookups {
    const NAME: &'static str = "dns";

    type Subject = Clusters;

    fn is_needed(config: &model::Config) -> bool {
        config.clusters.iter().any(is_discovered)
    }

    fn run(registry: Arc<Registry>, orders: Receiver<Order<Clusters>>, started: Sender<Result<Wake, String>>) {
        // The server waits for the answer, whichever it is.
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let news = Arc::new(Notify::new());
                let notify = news.clone();
                let _ = started.send(Ok(Wake::new(move || notify.notify_one())));
                LocalSet::new().block_on(&runtime, serve(&registry, &orders, &news));
            }
            Err(error) => drop(started.send(Err(format!("dns runtime: {error}")))),
        }
    }

    fn warn_cold(waited: Duration, missing: &str) {
        tracing::warn!(
            target: "ringway::dns", waited = %Span(waited), missing, "not all names are looked up yet; the start continues without them"
        );
    }
}

/// Until the orders are closed.
async fn serve(registry: &Registry, orders: &Receiver<Order<Clusters>>, news: &Notify) {
    // Made with the first order, since it has statistics.
    let mut discovery = None;
    loop {
        match orders.try_recv() {
            Ok(Order { subject: clusters, warm }) => {
                discovery.get_or_insert_with(|| Discovery::new(registry)).apply(&clusters, warm);
            }
            Err(TryRecvError::Empty) => news.notified().await,
            Err(TryRecvError::Disconnected) => return,
        }
    }
}
