//! Which route, which endpoint.

use crate::config;
use ringway::cluster::lb::{LoadBalancer, RoundRobin};
use ringway::codec::h1::{Limits, Parse, parse_request};
use ringway::http::RequestHead;
use ringway::router::RouteTable;
use ringway::router::matcher::Request;
use ringway_config::model::NetworkFilter;
use std::hint::black_box;

/// Find the last of `routes` routes of one virtual host: the most work that a table of this size can make.
pub fn last_route(routes: usize) -> impl FnMut() {
    find(&config::text(routes), routes - 1, "www.example.com", 0)
}

/// Find the last of `routes` routes that are spread over virtual hosts, ten in each.
pub fn last_route_of_hosts(routes: usize) -> impl FnMut() {
    let host = (routes - 1) / config::ROUTES_PER_HOST;
    find(&config::text_with_hosts(routes), routes - 1, &format!("host{host}.example.com"), host as u32)
}

fn find(config: &str, route: usize, host: &str, virtual_host: u32) -> impl FnMut() + use<> {
    let config = config::loaded(config);
    let NetworkFilter::Http(hcm) = &config.listeners[0].filter_chains[0].filter;
    let table = RouteTable::new(&hcm.virtual_hosts);
    let bytes = format!("GET /api/{route}/items?id=7 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: wrk\r\n\r\n").into_bytes();
    let mut head = RequestHead::default();
    assert_eq!(parse_request(&bytes, &Limits::default(), &mut head), Ok(Parse::Complete));
    let expected = route % hcm.virtual_hosts[virtual_host as usize].routes.len();
    move || {
        let found = table.find(&Request::new(black_box(&head), black_box(&bytes)));
        assert!(found.is_some_and(|at| at.route as usize == expected && at.virtual_host == virtual_host));
    }
}

/// Pick an endpoint by round robin.
pub fn pick(weights: &[u32]) -> impl FnMut() + use<> {
    let balancer = LoadBalancer::RoundRobin(RoundRobin::new(weights, 0));
    move || {
        black_box(black_box(&balancer).pick());
    }
}

/// 400 endpoints with weights from 1 to 128, a round too long to be written down.
pub fn many_weights() -> Vec<u32> {
    (0..400).map(|i| 1 + i % 128).collect()
}
