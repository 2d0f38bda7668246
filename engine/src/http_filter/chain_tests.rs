//! Which filters see a request and its response, and with which settings.

use super::*;
use crate::http_filter::testing::{exchange, lines};
use crate::mux::h1::Served;
use crate::mux::{Coders, Downstream, Limits};
use crate::net::{ByteStream, pipe};
use crate::ring::{PoolSize, Reactor, Timer};
use crate::router::{Client, Deadlines, Upload, Vigil};
use crate::stats::Registry;
use ringway_config::model::{ClusterTarget, NetworkFilter};
use std::rc::Rc;

const LIMIT: &str = "{ local_ratelimit = { stat_prefix = \"limit\", x_ratelimit_headers = true, \
                     token_bucket = { max_tokens = 1, fill_interval = \"1h\" } } }";
const ABORT: &str = "{ fault = { abort = { http_status = 503, percent = 100 } } }";

struct World {
    reactor: Rc<Reactor>,
    registry: Arc<Registry>,
    hcm: model::Hcm,
    chain: Rc<Chain>,
}

/// A connection manager with these filters; the virtual host, the route and the route's first cluster have overrides.
fn world(filters: &[&str], overrides: [&str; 3]) -> World {
    let text = format!(
        r#"
[[listeners]]
address = "127.0.0.1:1"
[listeners.http]
http_filters = [{}]
[[listeners.http.virtual_hosts]]
name = "host"
domains = ["*"]
filters = {{ {} }}
[[listeners.http.virtual_hosts.routes]]
match = {{ prefix = "/" }}
filters = {{ {} }}
[listeners.http.virtual_hosts.routes.route]
weighted_clusters = [{{ cluster = "a", weight = 1, filters = {{ {} }} }}, {{ cluster = "b", weight = 1 }}]
[[clusters]]
name = "a"
endpoints = ["127.0.0.1:2"]
[[clusters]]
name = "b"
endpoints = ["127.0.0.1:3"]
"#,
        filters.join(", "),
        overrides[0],
        overrides[1],
        overrides[2],
    );
    let mut config = ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let NetworkFilter::Http(hcm) = config.listeners.remove(0).filter_chains.remove(0).filter;
    let mut hcm = Arc::unwrap_or_clone(hcm);
    number_overrides(&mut hcm);
    let reactor = Reactor::simulated(1, PoolSize { count: 8, size: 4096 });
    let registry = Registry::new();
    let setup =
        Setup { reactor: &reactor, registry: &registry, shard: 0, stat_prefix: "test", coders: &Coders::new(&reactor) };
    let chain = Rc::new(Chain::new(&SharedChain::new(&hcm, 1), &setup));
    World { reactor, registry, hcm, chain }
}

impl World {
    /// What overrides hold for a request to the weighted cluster with this index, the strongest first.
    fn overrides(&self, weighted: usize) -> Vec<FilterOverrides> {
        let host = &self.hcm.virtual_hosts[0];
        let RouteAction::Forward(forward) = &host.routes[0].action else { panic!("it forwards") };
        let ClusterTarget::Weighted(clusters) = &forward.target else { panic!("to weighted clusters") };
        vec![clusters[weighted].filters.clone(), host.routes[0].filters.clone(), host.filters.clone()]
    }

    /// The status of a filter's answer, if one answers, and the lines that filters have added to the response.
    fn request(&self, weighted: usize) -> (Option<u16>, Vec<String>) {
        let (reactor, chain, overrides) = (self.reactor.clone(), self.chain.clone(), self.overrides(weighted));
        self.reactor.block_on(async move {
            let (_client, server) = pipe(&reactor, 4096);
            let stream = ByteStream::Pipe(server);
            let limits = Limits::default();
            let mut served = Served::new(&stream, &reactor, &limits, false);
            let mut exchange = exchange("");
            assert!(served.poll_request(&mut exchange.request).is_ready(), "a whole head");
            let mut downstream = Downstream::H1(served);
            let mut deadlines = Deadlines::new(Timer::new(&reactor));
            let upload = Upload::new(&mut downstream, None);
            let stall = crate::net::Stall::default();
            let mut client = Client { reactor: &reactor, upload, deadlines: &mut deadlines, vigil: Vigil::new(&stall) };
            let mut run = Passed::default();
            let mut context = Context { exchange: &mut exchange, client: &mut client, cluster: Some("a") };
            let overrides: Vec<_> = overrides.iter().collect();
            let flow = chain.request(&mut run, &overrides, &mut context).await.expect("nobody interrupts");
            let status = match flow {
                Flow::Continue | Flow::Hooked(_) => None,
                Flow::Reply(reply) => Some(reply.status),
            };
            let mut context = Responding { exchange: &mut exchange, client: &mut client };
            let hooks = chain.response(&mut run, &mut context).await.expect("nothing interrupts");
            assert!(hooks.is_empty());
            (status, lines(&exchange.response.edit()))
        })
    }

    fn stat(&self, name: &str) -> i64 {
        self.registry.value(name).unwrap_or(0)
    }
}

fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split('=').next().unwrap_or_default()).collect()
}

const QUOTA: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

#[test]
fn requests_pass_in_the_order_of_the_configuration() {
    let world = world(&[LIMIT, ABORT], ["", "", ""]);
    let (status, lines) = world.request(0);
    assert_eq!((status, names(&lines)), (Some(503), QUOTA.to_vec()), "who saw the request sees the answer");
    let (status, lines) = world.request(0);
    assert_eq!(status, Some(429));
    assert_eq!(names(&lines), [&["x-envoy-ratelimited", "retry-after"], &QUOTA[..]].concat());
    assert_eq!(world.stat("http.test.fault.aborts_injected"), 1, "the second one did not come so far");

    let world = self::world(&[ABORT, LIMIT], ["", "", ""]);
    for _ in 0..2 {
        assert_eq!(world.request(0), (Some(503), Vec::new()), "the limit sees neither request nor answer");
    }
    assert_eq!(world.stat("limit.http_local_rate_limit.enabled"), 0);
}

#[test]
fn an_empty_chain_lets_everything_pass() {
    let world = world(&[], ["", "", ""]);
    assert!(world.chain.is_empty());
    assert_eq!(world.request(0), (None, Vec::new()));
}

fn abort(status: u16) -> String {
    format!("fault = {{ abort = {{ http_status = {status}, percent = 100 }} }}")
}

/// Envoy: weighted cluster, then route, then virtual host; one replaces the other whole.
#[test]
fn the_most_specific_override_holds() {
    let off = "fault = \"off\"".to_owned();
    let none = String::new();
    for (host, route, cluster, with_cluster, without) in [
        (&none, &none, &none, Some(503), Some(503)),
        (&abort(501), &none, &none, Some(501), Some(501)),
        (&abort(501), &abort(502), &none, Some(502), Some(502)),
        (&abort(501), &abort(502), &abort(504), Some(504), Some(502)),
        (&abort(501), &none, &abort(504), Some(504), Some(501)),
        (&off, &none, &none, None, None),
        (&off, &abort(502), &none, Some(502), Some(502)),
        (&abort(501), &off, &abort(504), Some(504), None),
        (&none, &abort(502), &off, None, Some(502)),
    ] {
        let world = world(&[ABORT], [host, route, cluster]);
        assert_eq!(world.request(0).0, with_cluster, "{host} | {route} | {cluster}");
        assert_eq!(world.request(1).0, without, "{host} | {route} | without a cluster's");
    }
}

#[test]
fn a_filter_that_is_off_does_not_disturb_the_others() {
    for (off, status, fields) in [("fault", None, 3), ("local_ratelimit", Some(503), 0)] {
        let world = world(&[LIMIT, ABORT], ["", &format!("{off} = \"off\""), ""]);
        let (answer, lines) = world.request(1);
        assert_eq!((answer, lines.len()), (status, fields), "{off}");
    }
}

/// Each override has a bucket of its own, and so has the chain.
#[test]
fn overrides_have_their_own_state() {
    let own = "local_ratelimit = { stat_prefix = \"own\", token_bucket = { max_tokens = 2, fill_interval = \"1h\" } }";
    let world = world(&[LIMIT], ["", "", own]);
    let statuses = |weighted| [(); 3].map(|()| world.request(weighted).0);
    assert_eq!(statuses(0), [None, None, Some(429)]);
    assert_eq!(statuses(1), [None, Some(429), Some(429)]);
    assert_eq!(world.stat("own.http_local_rate_limit.enforced"), 1);
    assert_eq!(world.stat("limit.http_local_rate_limit.enforced"), 2);
}
