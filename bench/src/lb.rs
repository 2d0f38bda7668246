//! Picking an endpoint.

use ringway::cluster::{Cluster, ClusterShared, InFlight, PickContext};
use ringway::net::{MemoryNetwork, Network};
use ringway::ring::{PoolSize, Reactor};
use ringway::stats::Registry;
use ringway_config::model;
use std::rc::Rc;

/// Names for benches, and what the file says.
pub const POLICIES: [(&str, &str); 6] = [
    ("round_robin", "lb_policy = \"round_robin\""),
    ("least_request", "lb_policy = \"least_request\""),
    ("random", "lb_policy = \"random\""),
    ("ring_hash", "lb_policy = \"ring_hash\""),
    ("maglev", "lb_policy = \"maglev\""),
    ("peak_ewma", "lb_policy = \"peak_ewma\""),
];

/// A cluster of `count` endpoints with `policy`, one of `POLICIES`.
/// With `weighted` their weights differ.
fn cluster(policy: &str, count: u32, weighted: bool) -> (Rc<Reactor>, Rc<Cluster>) {
    let mut text = format!("[[clusters]]\nname = \"app\"\n{policy}\nendpoints = [\n");
    for number in 0..count {
        let [_, b, c, d] = number.to_be_bytes();
        let weight = if weighted { 1 + number % 5 } else { 1 };
        text += &format!("  {{ address = \"10.{b}.{c}.{d}:80\", weight = {weight} }},\n");
    }
    text += "]\n[[listeners]]\naddress = \"127.0.0.1:10000\"\n";
    text += "http.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]\n";
    let config = ringway_config::load_str("bench.toml", &text).expect("a valid file");
    let config: &model::Cluster = &config.clusters[0];
    let reactor = Reactor::simulated(1, PoolSize { count: 1, size: 4096 });
    let registry = Registry::new();
    let shared = ClusterShared::new(config, &registry, 1, None);
    let network = Network::Memory(Rc::new(MemoryNetwork::default()));
    let cluster = Cluster::new(&shared, &reactor, &network, &registry, 0, None);
    (reactor, cluster)
}

/// Pick, with a few requests in flight on every endpoint, and let the request end.
pub fn pick(policy: &str, count: u32, weighted: bool) -> impl FnMut() {
    let (reactor, cluster) = cluster(policy, count, weighted);
    let start = |number: u32| {
        move |endpoint: &Rc<ringway::cluster::Endpoint>| {
            (0..number).map(|_| endpoint.request_started(0)).collect::<Vec<InFlight>>()
        }
    };
    let endpoints = cluster.endpoints();
    let busy: Vec<InFlight> = (0..).zip(&endpoints).flat_map(|(at, endpoint)| start(at % 3)(endpoint)).collect();
    // Endpoints must have answered before latencies can be compared.
    endpoints.iter().for_each(|endpoint| endpoint.request_started(0).responded(1_000_000));
    let mut key = 0_u64;
    move || {
        key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let context = PickContext { hash: Some(key), ..PickContext::default() };
        let endpoint = cluster.pick(&context).expect("a healthy endpoint");
        let request = endpoint.request_started(reactor.now());
        request.responded(reactor.now() + 1_000_000);
        assert!(busy.len() < 3 * endpoints.len());
    }
}

/// The health of one endpoint changes, and the shard renews its view at the next pick.
pub fn renew(policy: &str, count: u32) -> impl FnMut() {
    let (reactor, cluster) = cluster(policy, count, false);
    let host = cluster.shared.hosts()[0].clone();
    let mut ejected = false;
    move || {
        ejected = !ejected;
        cluster.shared.set_flag(&host, ringway::cluster::HealthFlags::FAILED_OUTLIER_CHECK, ejected);
        // Views of large clusters wait for their time.
        let sleeper = reactor.clone();
        reactor.block_on(async move { sleeper.sleep(std::time::Duration::from_secs(1)).await });
        cluster.tend();
    }
}
