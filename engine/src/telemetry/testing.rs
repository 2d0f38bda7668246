//! A collector on in-memory pipes, with virtual time, for unit tests.

use super::Clusters;
use crate::base::clock::Nanos;
use crate::cluster::ClusterShared;
use crate::cluster::testing::{cluster, endpoint};
use crate::net::{MemoryNetwork, Network, PipeEnd};
use crate::ring::{PoolSize, Reactor};
use crate::stats::Registry;
use ringway_config::model;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the collector does with a report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    Answer(&'static str),
    Close,
    Silence,
}

pub(crate) const TAKEN: Behaviour = Behaviour::Answer("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
pub(crate) const BUSY: Behaviour = Behaviour::Answer("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");

pub(crate) struct Collector {
    pub behaviour: Cell<Behaviour>,
    pub connections: Cell<usize>,
    /// When each report came, its head and its body.
    pub reports: RefCell<Vec<(Nanos, String, Vec<u8>)>>,
}

pub(crate) struct World {
    pub reactor: Rc<Reactor>,
    pub registry: Arc<Registry>,
    pub network: Rc<MemoryNetwork>,
    pub shared: Arc<ClusterShared>,
    pub clusters: Rc<Clusters>,
    pub collector: Rc<Collector>,
}

impl World {
    /// The cluster "app" is the collector.
    pub(crate) fn new() -> Self {
        let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 1024 });
        let (registry, network) = (Registry::new(), Rc::new(MemoryNetwork::default()));
        let config = model::Cluster { endpoints: vec![endpoint(1)], ..cluster() };
        let shared = ClusterShared::new(&config, &registry, 1, None);
        let clusters = Clusters::new(&reactor, Network::Memory(network.clone()), registry.clone());
        clusters.apply(std::slice::from_ref(&shared));
        let collector =
            Rc::new(Collector { behaviour: Cell::new(TAKEN), connections: Cell::new(0), reports: RefCell::default() });
        let listener = network.listen(shared.hosts()[0].spec.address.clone(), 64 * 1024);
        let (accepting, served) = (reactor.clone(), collector.clone());
        reactor.spawn(async move {
            loop {
                let stream = poll_fn(|_| listener.poll_accept(&accepting)).await;
                served.connections.set(served.connections.get() + 1);
                accepting.spawn(serve(accepting.clone(), served.clone(), stream));
            }
        });
        Self { reactor, registry, network, shared, clusters, collector }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        let timer = self.reactor.clone();
        self.reactor.block_on(async move { timer.sleep(time).await });
    }

    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.collector.reports.borrow().iter().map(|report| report.2.clone()).collect()
    }
}

async fn serve(reactor: Rc<Reactor>, collector: Rc<Collector>, stream: PipeEnd) {
    let mut bytes = Vec::new();
    while let Ok(Some(buf)) = poll_fn(|_| stream.poll_recv()).await {
        bytes.extend_from_slice(&buf);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end + 4].to_vec()).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        if bytes.len() < end + 4 + length {
            continue;
        }
        let body = bytes.split_off(end + 4);
        bytes.clear();
        collector.reports.borrow_mut().push((reactor.now(), head, body));
        match collector.behaviour.get() {
            Behaviour::Answer(answer) => stream.write(answer.as_bytes()),
            Behaviour::Close => return,
            Behaviour::Silence => {}
        }
    }
}
