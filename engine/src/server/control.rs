//! The thread that watches over the clusters: health checks and outlier detection.

use crate::cluster::health::EventLog;
use crate::cluster::{ClusterShared, Supervisor};
use crate::net::Network;
use crate::ring::{PoolSize, Reactor, ReactorOptions, Unpark};
use crate::stats::Registry;
use ringway_config::model;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long a start or a reload waits for the first health checks. What has not been checked by then counts as unhealthy
/// until it has.
const WARM_UP_MAX: Duration = Duration::from_secs(5);

/// The clusters of a configuration, and what is dropped once each new endpoint has been checked.
type Order = (Vec<Arc<ClusterShared>>, Sender<()>);

/// The server's end of the thread, which exists from the first cluster on that needs it. It ends with the process.
pub(super) struct ControlThread {
    registry: Arc<Registry>,
    inbox: Option<Arc<Inbox>>,
}

/// The thread is there, if it is needed. One that was started for it ends where this is dropped without being used.
pub(super) struct Ready(Option<Arc<Inbox>>);

/// How the thread is told. It ends when this is gone.
struct Inbox {
    orders: Mutex<Vec<Order>>,
    unpark: Unpark,
}

impl ControlThread {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self { registry: registry.clone(), inbox: None }
    }

    /// Everything that can fail of going over to these clusters. Nothing is watched yet.
    ///
    /// # Errors
    /// One sentence: no ring or no thread.
    pub(super) fn ready(&self, clusters: &[model::Cluster]) -> Result<Ready, String> {
        match &self.inbox {
            Some(inbox) => Ok(Ready(Some(inbox.clone()))),
            None if clusters.iter().any(Supervisor::is_needed) => {
                start(self.registry.clone()).map(|inbox| Ready(Some(inbox)))
            }
            None => Ok(Ready(None)),
        }
    }

    /// Go over to these clusters, and wait until the endpoints of those that are new have been checked once.
    pub(super) fn apply(&mut self, ready: Ready, clusters: &[Arc<ClusterShared>]) {
        self.inbox = ready.0;
        if let Some(inbox) = &self.inbox {
            let (warm, warmed) = channel();
            inbox.lock().push((clusters.to_vec(), warm));
            inbox.unpark.unpark();
            wait(&warmed);
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread looks whether it is still wanted.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.unpark.unpark();
    }
}

/// Until the last check has dropped its sender.
fn wait(warmed: &Receiver<()>) {
    if warmed.recv_timeout(WARM_UP_MAX) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!(
            target: "ringway::health",
            "not all endpoints are checked yet; those that are not count as unhealthy until they are"
        );
    }
}

fn start(registry: Arc<Registry>) -> Result<Arc<Inbox>, String> {
    let events = EventLog::start().map_err(|error| format!("health event log: {error}"))?;
    let (started, answer) = channel();
    let body = move || {
        let options = ReactorOptions {
            ring_entries: 256,
            buffers: PoolSize { count: 256, size: 4096 },
            ..ReactorOptions::default()
        };
        match Reactor::new(&options) {
            Ok(reactor) => {
                let inbox = Arc::new(Inbox { orders: Mutex::default(), unpark: reactor.unpark_handle() });
                let supervisor = Supervisor::new(&reactor, Network::Kernel, registry, events);
                let orders = Arc::downgrade(&inbox);
                let _ = started.send(Ok(inbox));
                serve(&reactor, &supervisor, &orders);
                drop(supervisor);
                reactor.shut_down();
            }
            Err(why) => drop(started.send(Err(why))),
        }
    };
    std::thread::Builder::new()
        .name("control".into())
        .spawn(body)
        .map_err(|error| format!("control thread: {error}"))?;
    answer.recv().unwrap_or_else(|_| Err("the control thread ended while it started".into()))
}

fn serve(reactor: &Reactor, supervisor: &Supervisor, inbox: &Weak<Inbox>) {
    loop {
        reactor.turn();
        if reactor.take_event() {
            let Some(inbox) = inbox.upgrade() else { return };
            let orders = std::mem::take(&mut *inbox.lock());
            orders.into_iter().for_each(|(clusters, warm)| supervisor.apply(&clusters, &warm));
            supervisor.look();
        }
    }
}
