//! Load balancing with real origins: shares, keys that stick, subsets, priorities. What the policies promise in numbers is
//! tested where they are (engine/src/cluster/lb/tests).

use super::support::{Client, Origin, Ringway, dead_address, eventually, response};
use std::collections::{BTreeMap, BTreeSet};

/// Origins that answer with their number.
fn origins(count: usize) -> Vec<Origin> {
    (0..count).map(|number| Origin::answering(move |_| response(200, &[], number.to_string()))).collect()
}

/// A cluster of the origins; `{N}` in `cluster` is the address of the one with that number.
fn start(origins: &[Origin], route: &str, cluster: &str) -> Ringway {
    Ringway::start(&config(origins, route, cluster))
}

fn config(origins: &[Origin], route: &str, cluster: &str) -> String {
    let mut cluster = cluster.to_owned();
    for (number, origin) in origins.iter().enumerate() {
        cluster = cluster.replace(&format!("{{{number}}}"), &origin.address.to_string());
    }
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners.http.routes]]\nmatch = {{ prefix = \"/\" }}\n\
         route = {{ cluster = \"app\"{route} }}\n[[clusters]]\nname = \"app\"\n{cluster}\n"
    )
}

fn get(client: &mut Client, field: &str) -> String {
    client.send(format!("GET / HTTP/1.1\r\nhost: x\r\n{field}\r\n").as_bytes());
    client.response().text().to_owned()
}

fn counts(proxy: &Ringway, requests: usize) -> BTreeMap<String, usize> {
    let mut client = proxy.connect();
    let mut counts = BTreeMap::new();
    (0..requests).for_each(|_| *counts.entry(get(&mut client, "")).or_default() += 1);
    counts
}

#[test]
fn every_policy_reaches_every_endpoint() {
    for policy in ["round_robin", "least_request", "random", "ring_hash", "maglev", "peak_ewma"] {
        let origins = origins(3);
        let cluster = format!("lb_policy = \"{policy}\"\nendpoints = [\"{{0}}\", \"{{1}}\", \"{{2}}\"]");
        let proxy = start(&origins, "", &cluster);
        // Without a hash the consistent hashes leave it to chance.
        assert_eq!(counts(&proxy, 150).len(), 3, "{policy}");
        assert_eq!(proxy.stat("cluster.app.membership_total"), 3);
    }
}

#[test]
fn weights_are_shares() {
    let origins = origins(2);
    let cluster = "endpoints = [{ address = \"{0}\", weight = 1 }, { address = \"{1}\", weight = 3 }]";
    let proxy = start(&origins, "", cluster);
    let counts = counts(&proxy, 40);
    assert!(counts["0"].abs_diff(10) <= 1 && counts["1"].abs_diff(30) <= 1, "{counts:?}");
    assert_eq!(proxy.stat("cluster.app.max_host_weight"), 3);
}

#[test]
fn a_header_decides_on_the_endpoint() {
    for policy in ["ring_hash", "maglev"] {
        let origins = origins(4);
        let endpoints = "endpoints = [\"{0}\", \"{1}\", \"{2}\", \"{3}\"]";
        let route = ", hash_policy = [{ header = \"x-user\" }]";
        let proxy = start(&origins, route, &format!("lb_policy = \"{policy}\"\n{endpoints}"));
        let ask = |client: &mut Client, user: usize| get(client, &format!("x-user: user-{user}\r\n"));
        // Where the ports of the endpoints put them is chance: as many users as it takes until each endpoint has one.
        let (mut client, mut owners) = (proxy.connect(), Vec::new());
        while owners.len() < 30 || owners.iter().collect::<BTreeSet<_>>().len() < 4 {
            assert!(owners.len() < 10_000, "{policy}: an endpoint has no user");
            owners.push(ask(&mut client, owners.len()));
        }
        for _ in 0..2 {
            // Whatever the connection, and so the shard.
            let mut client = proxy.connect();
            for (user, owner) in owners.iter().enumerate() {
                assert_eq!(ask(&mut client, user), *owner, "{policy}");
            }
        }
    }
}

/// A reload computes the new ring in the background. At any time a key is where it was, or where it belongs with the new
/// endpoint.
#[test]
fn a_reload_moves_keys_from_the_old_ring_to_the_new_one() {
    const USERS: usize = 60;
    let origins = origins(4);
    let route = ", hash_policy = [{ header = \"x-user\" }]";
    let cluster = |endpoints: &str| {
        let ring = "lb_policy = \"ring_hash\"\nring_hash = { minimum_ring_size = 200000 }";
        config(&origins, route, &format!("{ring}\nendpoints = [{endpoints}]"))
    };
    let proxy = Ringway::start(&cluster("\"{0}\", \"{1}\", \"{2}\""));
    let mut client = proxy.connect();
    let mut owners =
        || -> Vec<String> { (0..USERS).map(|user| get(&mut client, &format!("x-user: user-{user}\r\n"))).collect() };
    let before = owners();
    assert_eq!(proxy.stat("shard.0.background_slices"), 0, "the first ring is made before the start");
    proxy.write_config(&cluster("\"{0}\", \"{1}\", \"{2}\", \"{3}\""));
    assert!(proxy.reload());
    let mut rounds: Vec<Vec<String>> = Vec::new();
    eventually("the new endpoint has its share", || {
        rounds.push(owners());
        rounds.last().expect("a round").contains(&"3".to_owned())
    });
    let after = owners();
    for round in rounds {
        let is_known = |(user, owner): (usize, &String)| *owner == before[user] || *owner == after[user];
        assert!(round.iter().enumerate().all(is_known), "{before:?} {round:?} {after:?}");
    }
    let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count();
    // About 39 of 60, by where the ports of the endpoints fall: each has fewer entries among four than among three. By chance
    // alone it would be 15.
    assert!(stayed > USERS / 3, "{stayed} of {USERS}");
    eventually("slices are counted", || proxy.stat("shard.0.background_slices") > 0);
}

#[test]
fn a_cookie_is_made_and_leads_back() {
    let origins = origins(4);
    let cluster = "lb_policy = \"ring_hash\"\nendpoints = [\"{0}\", \"{1}\", \"{2}\", \"{3}\"]";
    let route = ", hash_policy = [{ cookie = { name = \"sid\", ttl = \"1h\", path = \"/\" } }]";
    let proxy = start(&origins, route, cluster);
    for _ in 0..10 {
        let first = proxy.get("/");
        let cookie = first.field("set-cookie").expect("a cookie").to_owned();
        let pair = cookie.strip_suffix("; Max-Age=3600; Path=/; HttpOnly").unwrap_or_else(|| panic!("{cookie}"));
        assert!(pair.starts_with("sid=\"") && pair.ends_with('"'), "{cookie}");
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nhost: x\r\ncookie: a=b; {pair}\r\n\r\n").as_bytes());
        let second = client.response();
        assert_eq!((second.text(), second.field("set-cookie")), (first.text(), None));
    }
}

#[test]
fn a_route_takes_its_subset_or_nothing() {
    let origins = origins(3);
    let cluster = r#"
endpoints = [
  { address = "{0}", metadata = { version = "1" } },
  { address = "{1}", metadata = { version = "1" } },
  { address = "{2}", metadata = { version = "2" } },
]
subsets = { selectors = [["version"]], fallback_policy = "no_fallback" }
"#;
    let proxy = start(&origins, ", metadata_match = { version = \"2\" }", cluster);
    assert_eq!(counts(&proxy, 10), BTreeMap::from([("2".to_owned(), 10)]));
    assert_eq!(proxy.stat("cluster.app.lb_subsets_selected"), 10);
    assert_eq!(proxy.stat("cluster.app.lb_subsets_active"), 2);
    let proxy = start(&origins, ", metadata_match = { version = \"3\" }", cluster);
    let refused = proxy.get("/");
    assert_eq!((refused.status(), refused.text()), (503, "no healthy upstream"));
    assert_eq!(proxy.stat("cluster.app.upstream_cx_none_healthy"), 1);
}

#[test]
fn the_next_priority_takes_over_for_endpoints_that_fail_their_checks() {
    let origins = origins(1);
    let cluster = format!(
        "endpoints = [{{ address = \"{}\" }}, {{ address = \"{{0}}\", priority = 1 }}]\n\
         health_checks = [{{ tcp = {{}}, interval = \"50ms\", timeout = \"1s\", unhealthy_threshold = 1, healthy_threshold = 1 }}]",
        dead_address()
    );
    let proxy = start(&origins, "", &cluster);
    eventually("one is healthy", || proxy.stat("cluster.app.membership_healthy") == 1);
    eventually("it serves", || proxy.get("/").status() == 200);
    assert_eq!(counts(&proxy, 20), BTreeMap::from([("0".to_owned(), 20)]));
    assert_eq!(proxy.stat("cluster.app.lb_healthy_panic"), 0);
}
