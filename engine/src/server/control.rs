//! The thread that watches over the clusters: health checks and outlier detection.

use super::worker::{Clusters, Order, Wake, Work};
use crate::base::span::Span;
use crate::cluster::Supervisor;
use crate::cluster::health::{EventLog, Written};
use crate::net::{Loopback, Network};
use crate::ring::host::{Host, Turns};
use crate::ring::{PoolSize, Reactor, ReactorOptions};
use crate::stats::Registry;
use ringway_config::model;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

pub(super) struct Supervision;

impl Work for Supervision {
    const NAME: &'static str = "control";

    type Subject = Clusters;

    fn is_needed(config: &model::Config) -> bool {
        config.clusters.iter().any(Supervisor::is_needed)
    }

    fn run(registry: Arc<Registry>, orders: Receiver<Order<Clusters>>, started: Sender<Result<Wake, String>>) {
        let (reactor, (events, written)) = match prepare(&registry) {
            Ok(prepared) => prepared,
            Err(why) => {
                // The server waits for the answer.
                let _ = started.send(Err(why));
                return;
            }
        };
        let supervisor = Supervisor::new(&reactor, Network::Kernel(Loopback::AsSystem), registry, events);
        let unpark = reactor.unpark_handle();
        let _ = started.send(Ok(Wake::new(move || unpark.unpark())));
        Host::new(Self::NAME).run(&reactor, async |turns| serve(&reactor, &supervisor, &orders, &turns).await);
        drop(supervisor);
        reactor.shut_down();
        written.wait();
    }

    fn warn_cold(waited: Duration, missing: &str) {
        tracing::warn!(
            target: "ringway::health", waited = %Span(waited), missing,
            "not all endpoints are checked yet; those that are not count as unhealthy until they are"
        );
    }
}

fn prepare(registry: &Registry) -> Result<(Rc<Reactor>, (EventLog, Written)), String> {
    let events = EventLog::start(registry).map_err(|error| format!("health event log: {error}"))?;
    Ok((Reactor::new(&reactor_options())?, events))
}

pub(super) fn reactor_options() -> ReactorOptions {
    ReactorOptions { ring_entries: 256, buffers: PoolSize { count: 256, size: 4096 }, ..ReactorOptions::default() }
}

/// Until the orders are closed.
async fn serve(reactor: &Reactor, supervisor: &Supervisor, orders: &Receiver<Order<Clusters>>, turns: &Turns) {
    loop {
        reactor.turn();
        turns.next().await;
        if reactor.take_event() {
            loop {
                match orders.try_recv() {
                    Ok(Order { subject: clusters, warm }) => supervisor.apply(&clusters, &warm),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            supervisor.look();
        }
    }
}
