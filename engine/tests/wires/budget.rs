//! The default retry budget, in virtual time: an origin that answers nothing but 503 gets little more than its traffic,
//! whatever the route and the requests ask for.

use crate::peer::{End, Wire};
use crate::support::Bench;
use std::time::Duration;

/// Requests at a steady rate, each of which is answered with 503. How many requests there were, and how many tries.
fn fail(bench: &mut Bench, per_second: u64, seconds: u64) -> (i64, i64) {
    let mut free: Vec<usize> = Vec::new();
    let mut busy: Vec<usize> = Vec::new();
    let mut answered: Vec<usize> = Vec::new();
    let (mut sent, mut due) = (0, 0);
    for _ in 0..seconds * 1000 {
        due += per_second;
        while due >= 1000 {
            due -= 1000;
            let client = free.pop().unwrap_or_else(|| bench.client());
            bench.clients[client].request("GET", "/", &Vec::new(), Some(0));
            busy.push(client);
            sent += 1;
        }
        bench.advance(Duration::from_millis(1));
        answered.resize(bench.origins.len(), 0);
        for (origin, answered) in bench.origins.iter_mut().zip(&mut answered) {
            while *answered < origin.exchanges.len() {
                origin.response(*answered, 503, &Vec::new(), Some(0));
                *answered += 1;
            }
        }
        let ends = |client: &mut usize| bench.clients[*client].exchanges.last().expect("one").end == End::Whole;
        free.extend(busy.extract_if(.., ends));
    }
    (sent, bench.cluster("upstream_rq_total"))
}

#[test]
fn traffic_that_fails_altogether_grows_by_a_fifth() {
    for (per_second, seconds) in [(10, 30), (2_000, 8)] {
        for num_retries in [3, 1_000] {
            let route = format!(
                "retry_policy = {{ retry_on = [\"5xx\"], num_retries = {num_retries}, \
                 retry_back_off = {{ base_interval = \"1ms\" }} }}"
            );
            let mut bench = Bench::with((Wire::H1, Wire::H1), "", &route, "");
            let (requests, tries) = fail(&mut bench, per_second, seconds);
            let retries = bench.cluster("upstream_rq_retry");
            println!("{requests} requests at {per_second}/s, {retries} retries, num_retries {num_retries}");
            assert_eq!(tries, requests + retries);
            // The share, and three a second, of which those of ten seconds may come at once.
            let share = requests / 5;
            assert!((share..=share + 3 * (seconds as i64 + 10)).contains(&retries), "{retries} for {requests}");
            assert!(bench.cluster("upstream_rq_retry_overflow") > 0);
            bench.finish();
        }
    }
}

/// A written limit takes the budget's place.
#[test]
fn a_written_limit_is_the_only_one() {
    let route =
        "retry_policy = { retry_on = [\"5xx\"], num_retries = 3, retry_back_off = { base_interval = \"1ms\" } }";
    let cluster = "circuit_breakers = { max_retries = 4294967295 }";
    let mut bench = Bench::with((Wire::H1, Wire::H1), "", route, cluster);
    let (requests, tries) = fail(&mut bench, 50, 4);
    assert!((3 * requests..=4 * requests).contains(&tries), "{tries} for {requests}");
    assert_eq!(bench.cluster("upstream_rq_retry_overflow"), 0);
    bench.finish();
}
