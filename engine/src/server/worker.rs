//! A thread that works in the background: looks after clusters, or exports. It starts with the first configuration that needs
//! it, follows each one after that, and ends with the process.

use super::orders::Orders;
use crate::cluster::{ClusterShared, Warm};
use crate::stats::Registry;
use ringway_config::model;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a start or a reload waits for new clusters to become warm. It is longer than one try of a name server and one
/// health check usually take; what comes later changes the cluster's endpoints then.
const WARM_UP_MAX: Duration = Duration::from_secs(5);

/// What a worker does.
pub(super) trait Work: Sized + 'static {
    /// Of the thread.
    const NAME: &'static str;

    /// What it needs to know of a configuration.
    type Subject: Send + 'static;

    /// Whether a configuration needs the worker.
    fn is_needed(config: &model::Config) -> bool;

    /// Runs on the worker's thread until `orders` is closed. Answers `started` once, with what wakes the thread after a
    /// new order or the end, or with the reason why the thread cannot work.
    fn run(registry: Arc<Registry>, orders: Receiver<Order<Self::Subject>>, started: Sender<Result<Wake, String>>);

    /// Logs that it was not ready for the new configuration after `waited`: not all new clusters were warm, and what is
    /// `missing`.
    fn warn_cold(waited: Duration, missing: &str);
}

/// The subject of workers that look after clusters.
pub(super) type Clusters = Vec<Arc<ClusterShared>>;

/// A new configuration.
pub(super) struct Order<S> {
    pub subject: S,
    /// Dropped when the clusters that are new have been looked at once.
    pub warm: Warm,
}

/// Makes the thread look at its orders. Also called when it is dropped, since the end of the orders is news as well.
pub(super) struct Wake(Box<dyn Fn() + Send + Sync>);

impl Wake {
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(wake))
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The server's end of the thread.
pub(super) struct Worker<W: Work> {
    registry: Arc<Registry>,
    link: Option<Arc<Link<W::Subject>>>,
}

/// The thread runs, if it is needed. A thread that was started for it ends where this is dropped without being applied.
pub(super) struct Ready<S>(Option<Arc<Link<S>>>);

/// The connection to the thread, which ends when this is dropped.
struct Link<S> {
    /// Before `wake`, and so dropped before it: the thread is woken to find its orders closed.
    orders: Sender<Order<S>>,
    wake: Wake,
    thread: JoinHandle<()>,
}

impl<W: Work> Worker<W> {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self { registry: registry.clone(), link: None }
    }

    /// Does everything that can fail of switching over to this configuration. A thread that has died is replaced. Nothing else
    /// changes yet.
    ///
    /// # Errors
    /// One sentence: the thread cannot start.
    pub(super) fn ready(&self, config: &model::Config) -> Result<Ready<W::Subject>, String> {
        match &self.link {
            Some(link) if !link.thread.is_finished() => Ok(Ready(Some(link.clone()))),
            _ if W::is_needed(config) => start::<W>(self.registry.clone()).map(|link| Ready(Some(link))),
            _ => Ok(Ready(None)),
        }
    }

    /// Switches over to this configuration and waits until clusters that are new are warm. A thread that dies meanwhile is not
    /// waited for, and neither is anything once `orders` say stop.
    pub(super) fn apply(&mut self, ready: Ready<W::Subject>, subject: W::Subject, orders: &mut Orders) {
        self.link = ready.0;
        let Some(link) = &self.link else { return };
        let (warm, warming) = Warm::new();
        // A thread that has ended drops the order here, and with it the sender.
        let sent = link.orders.send(Order { subject, warm }).is_ok();
        (link.wake.0)();
        let start = Instant::now();
        let is_warm = || warming.is_over().then_some(());
        let cold = orders.wait(start + WARM_UP_MAX, is_warm).is_none() && !orders.say_stop();
        if !sent || link.thread.is_finished() {
            tracing::error!(
                target: "ringway::server", thread = W::NAME,
                "the thread has ended, and what it looks after stays as it is; a reload starts it again"
            );
        } else if cold {
            W::warn_cold(start.elapsed(), &warming.missing());
        }
    }
}

impl<W: Work> Worker<W> {
    /// Ends the thread and waits until it has ended, but not past `deadline`.
    pub(super) fn stop(self, deadline: Instant) {
        let Some(Link { orders, wake, thread }) = self.link.and_then(Arc::into_inner) else { return };
        drop(orders);
        drop(wake);
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn start<W: Work>(registry: Arc<Registry>) -> Result<Arc<Link<W::Subject>>, String> {
    let (orders, taken) = channel();
    let (started, answer) = channel();
    let thread = std::thread::Builder::new()
        .name(W::NAME.into())
        .spawn(move || W::run(registry, taken, started))
        .map_err(|error| format!("{} thread: {error}", W::NAME))?;
    let wake = answer.recv().unwrap_or_else(|_| Err(format!("the {} thread ended while it started", W::NAME)))?;
    Ok(Arc::new(Link { orders, wake, thread }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// A configuration with these clusters, and its clusters.
    fn clusters(registry: &Registry, names: &[&str]) -> (model::Config, Clusters) {
        let mut config = ringway_config::load_str("built-in", crate::server::EMBEDDED).expect("it is valid");
        let cluster = |name: &&str| model::Cluster { name: (*name).into(), ..crate::cluster::testing::cluster() };
        config.clusters = names.iter().map(cluster).collect();
        let shared = config.clusters.iter().map(|cluster| ClusterShared::new(cluster, registry, 1, None)).collect();
        (config, shared)
    }

    /// Waits for orders with a channel of its own, as a loop with its own way to sleep does.
    fn follow(
        orders: &Receiver<Order<Clusters>>,
        started: &Sender<Result<Wake, String>>,
        mut apply: impl FnMut(Order<Clusters>),
    ) {
        let (wake, woken) = channel();
        let wake = move || {
            let _ = wake.send(());
        };
        started.send(Ok(Wake::new(wake))).expect("it is waited for");
        loop {
            woken.recv().expect("the end wakes, too");
            loop {
                match orders.try_recv() {
                    Ok(order) => apply(order),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    static SEEN: Mutex<Vec<Vec<String>>> = Mutex::new(Vec::new());
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);

    /// Needed by clusters named "new".
    struct Diligent;

    impl Work for Diligent {
        const NAME: &'static str = "diligent";

        type Subject = Clusters;

        fn is_needed(config: &model::Config) -> bool {
            config.clusters.iter().any(|cluster| cluster.name == "new")
        }

        fn run(_: Arc<Registry>, orders: Receiver<Order<Clusters>>, started: Sender<Result<Wake, String>>) {
            STARTED.fetch_add(1, Relaxed);
            follow(&orders, &started, |order| {
                let names = order.subject.iter().map(|cluster| cluster.config.name.clone());
                SEEN.lock().expect("no test panics with it").push(names.collect());
            });
            ENDED.fetch_add(1, Relaxed);
        }

        fn warn_cold(_: Duration, _: &str) {
            panic!("it is warm at once");
        }
    }

    #[test]
    fn a_worker_starts_when_it_is_needed_follows_and_ends() {
        let registry = Registry::new();
        let mut worker = Worker::<Diligent>::new(&registry);
        for names in [&["old"][..], &["old", "new"], &["old"]] {
            let (configs, shared) = clusters(&registry, names);
            let ready = worker.ready(&configs).expect("a thread");
            worker.apply(ready, shared, &mut Orders::new().1);
        }
        assert_eq!(*SEEN.lock().expect("whole"), [vec!["old", "new"], vec!["old"]]);
        assert_eq!((STARTED.load(Relaxed), ENDED.load(Relaxed)), (1, 0));
        // One that is made ready for a configuration that is then refused ends again; so does one whose server ends.
        let other = Worker::<Diligent>::new(&registry);
        drop(other.ready(&clusters(&registry, &["new"]).0).expect("a thread"));
        drop(worker);
        let end = Instant::now() + Duration::from_secs(60);
        while ENDED.load(Relaxed) < 2 {
            assert!(Instant::now() < end, "a thread does not end");
            std::thread::yield_now();
        }
        assert_eq!(STARTED.load(Relaxed), 2);
    }

    /// Dies of the first order with the cluster "poison".
    struct Mortal;

    impl Work for Mortal {
        const NAME: &'static str = "mortal";

        type Subject = Clusters;

        fn is_needed(_: &model::Config) -> bool {
            true
        }

        fn run(_: Arc<Registry>, orders: Receiver<Order<Clusters>>, started: Sender<Result<Wake, String>>) {
            follow(&orders, &started, |order| {
                let poison = order.subject.iter().any(|cluster| cluster.config.name == "poison");
                assert!(!poison, "as the test wants it");
            });
        }

        fn warn_cold(waited: Duration, missing: &str) {
            panic!("waited {waited:?} for a dead thread and {missing}");
        }
    }

    #[test]
    fn a_dead_thread_is_not_waited_for_and_the_next_reload_replaces_it() {
        let registry = Registry::new();
        let mut worker = Worker::<Mortal>::new(&registry);
        let (configs, fine) = clusters(&registry, &["fine"]);
        // Both are made ready while the thread lives. It dies of the first order and never sees the second.
        let first = worker.ready(&configs).expect("a thread");
        let poison = clusters(&registry, &["poison"]).1;
        worker.apply(Ready(first.0.clone()), poison, &mut Orders::new().1);
        let end = Instant::now() + Duration::from_secs(60);
        while !first.0.as_ref().expect("needed").thread.is_finished() {
            assert!(Instant::now() < end, "the thread does not die");
            std::thread::yield_now();
        }
        worker.apply(first, fine.clone(), &mut Orders::new().1);
        let ready = worker.ready(&configs).expect("another thread");
        assert!(!ready.0.as_ref().expect("needed").thread.is_finished());
        // `warn_cold` panics if one of these waits in vain.
        worker.apply(ready, fine, &mut Orders::new().1);
    }

    /// Cannot start.
    struct Hopeless;

    impl Work for Hopeless {
        const NAME: &'static str = "hopeless";

        type Subject = Clusters;

        fn is_needed(_: &model::Config) -> bool {
            true
        }

        fn run(registry: Arc<Registry>, _: Receiver<Order<Clusters>>, started: Sender<Result<Wake, String>>) {
            // Only the first time; the second time it ends without an answer.
            if registry.names(crate::stats::Kind::Cluster).len() == 1 {
                started.send(Err("no ring".into())).expect("it is waited for");
            }
        }

        fn warn_cold(_: Duration, _: &str) {}
    }

    #[test]
    fn a_thread_that_cannot_start_says_why() {
        let registry = Registry::new();
        let worker = Worker::<Hopeless>::new(&registry);
        let (configs, _) = clusters(&registry, &["one"]);
        assert_eq!(worker.ready(&configs).err().as_deref(), Some("no ring"));
        clusters(&registry, &["two"]);
        let ended = worker.ready(&configs).err();
        assert_eq!(ended.as_deref(), Some("the hopeless thread ended while it started"));
    }
}
