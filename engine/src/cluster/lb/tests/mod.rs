//! Property tests over all policies: which host is picked, how often, and what changes when a host joins or leaves.

mod background;
mod hashing;
mod health;
mod load;
mod shares;
mod subsets;

use super::PickContext;
use crate::cluster::testing::{World, cluster, endpoint};
use crate::cluster::{HealthFlags, Host, NoHost};
use ringway_config::model::{self, LbPolicy, LoadBalancing};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Every policy with its defaults.
pub fn policies() -> Vec<LbPolicy> {
    let mut all = by_hash();
    all.extend([
        LbPolicy::RoundRobin { slow_start: None },
        LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 1.0, slow_start: None },
        LbPolicy::Random,
        LbPolicy::PeakEwma { decay: Duration::from_secs(10) },
    ]);
    all
}

pub fn by_hash() -> Vec<LbPolicy> {
    vec![LbPolicy::RingHash { minimum_size: 1024, maximum_size: 8_388_608 }, LbPolicy::Maglev { table_size: 65_537 }]
}

/// `count` endpoints, changed by `edit`, with Envoy's panic threshold.
pub fn config(policy: LbPolicy, count: u32, edit: impl Fn(u32, &mut model::Endpoint)) -> model::Cluster {
    let edited = |number| {
        let mut endpoint = endpoint(number);
        edit(number, &mut endpoint);
        endpoint
    };
    let config = model::Cluster { lb_policy: policy, endpoints: (0..count).map(edited).collect(), ..cluster() };
    with(config, |it| it.panic_threshold = Some(50.0))
}

pub fn with(config: model::Cluster, edit: impl FnOnce(&mut LoadBalancing)) -> model::Cluster {
    let mut config = config;
    edit(&mut config.load_balancing);
    config
}

/// The number in an address that `endpoint` made.
pub fn number(host: &Host) -> u32 {
    match &host.spec.address {
        model::Address::Ip(std::net::SocketAddr::V4(address)) => u32::from(*address.ip()) & 0xff_ffff,
        other => panic!("not an address of these tests: {other}"),
    }
}

pub fn pick(world: &World, hash: u64) -> Result<u32, NoHost> {
    let context = PickContext { hash: Some(hash), ..PickContext::default() };
    world.cluster.pick(&context).map(|endpoint| number(&endpoint.host))
}

/// How often each endpoint is picked, by random hashes.
pub fn counts(world: &World, picks: usize) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        let number = pick(world, world.reactor.random().next_u64()).expect("a host may be picked");
        *counts.entry(number).or_default() += 1;
    }
    counts
}

pub fn host(world: &World, wanted: u32) -> Arc<Host> {
    world.shared.hosts().iter().find(|host| number(host) == wanted).expect("a member").clone()
}

/// Makes a host unhealthy, or healthy again.
pub fn eject(world: &World, number: u32, on: bool) {
    assert!(world.shared.set_flag(&host(world, number), HealthFlags::FAILED_OUTLIER_CHECK, on));
    // Views of large clusters are made only now and then.
    world.advance(Duration::from_secs(1));
}
