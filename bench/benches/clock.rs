//! Every piece by the clock, with criterion: `cargo bench -p bench --bench clock [-- FILTER]`. Each benchmark takes
//! about two seconds.

use bench::exchange::{Traced, Traffic, Way, exchange};
use bench::stats::Format;
use bench::{codec, config, lb, messages, ring, routing, stats, timer};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// `make` is called when the benchmark runs: not when a filter leaves it out.
fn add<P: FnMut()>(group: &mut Group<'_>, name: &str, make: impl Fn() -> P) {
    let mut piece = None;
    group.bench_function(name, |bencher| bencher.iter(piece.get_or_insert_with(&make)));
}

/// As `add`, with the throughput of bytes.
fn add_bytes<P: FnMut()>(group: &mut Group<'_>, name: &str, bytes: impl AsRef<[u8]>, make: impl Fn(Vec<u8>) -> P) {
    let bytes = bytes.as_ref();
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    add(group, name, || make(bytes.to_vec()));
}

fn heads(criterion: &mut Criterion) {
    let (request_30, response_30) = (messages::request_30_fields(), messages::response_30_fields());
    let mut group = criterion.benchmark_group("parse_request");
    add_bytes(&mut group, "small", messages::SMALL_REQUEST, codec::request_head);
    add_bytes(&mut group, "30_fields", &request_30, codec::request_head);
    add_bytes(&mut group, "browser", messages::BROWSER_REQUEST, codec::request_head);
    group.finish();
    let mut group = criterion.benchmark_group("parse_response");
    add_bytes(&mut group, "small", messages::head_of(messages::SMALL_RESPONSE), codec::response_head);
    add_bytes(&mut group, "30_fields", &response_30, codec::response_head);
    add_bytes(&mut group, "browser", messages::BROWSER_RESPONSE_HEAD, codec::response_head);
    group.finish();
    let mut group = criterion.benchmark_group("encode_request");
    add_bytes(&mut group, "small", messages::SMALL_REQUEST, codec::request_edits);
    add_bytes(&mut group, "30_fields", &request_30, codec::request_edits);
    add_bytes(&mut group, "browser", messages::BROWSER_REQUEST, codec::request_edits);
    group.finish();
    let mut group = criterion.benchmark_group("encode_response");
    add_bytes(&mut group, "small", messages::head_of(messages::SMALL_RESPONSE), codec::response_edits);
    add_bytes(&mut group, "30_fields", &response_30, codec::response_edits);
    add_bytes(&mut group, "browser", messages::BROWSER_RESPONSE_HEAD, codec::response_edits);
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    let block = codec::block(messages::BROWSER_BLOCK);
    let mut group = criterion.benchmark_group("hpack");
    add_bytes(&mut group, "decode_first_browser", &block, codec::first_block);
    let repeated = codec::block(messages::BROWSER_BLOCK_REPEATED);
    add_bytes(&mut group, "decode_repeated_browser", repeated, |bytes| codec::repeated_block(block.clone(), bytes));
    add_bytes(&mut group, "encode_response_browser", messages::BROWSER_RESPONSE_HEAD, codec::response_block);
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    for (name, chunks, size) in [("1_of_1KiB", 1, 1024), ("16_of_4KiB", 16, 4096), ("1000_of_16B", 1000, 16)] {
        add_bytes(&mut group, name, messages::chunked(chunks, size), codec::chunked);
    }
    group.finish();
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_match");
    for routes in [10, 1000, 10_000] {
        add(&mut group, &format!("last_of_{routes}"), || routing::last_route(routes));
        add(&mut group, &format!("last_of_{routes}_in_hosts_of_10"), || routing::last_route_of_hosts(routes));
    }
    group.finish();
    for kind in routing::KINDS {
        let mut group = criterion.benchmark_group(format!("route_match_{kind:?}").to_lowercase());
        for (pick, routes) in routing::PICKS.into_iter().flat_map(|pick| [10, 10_000].map(|routes| (pick, routes))) {
            let name = format!("{pick:?}_of_{routes}").to_lowercase();
            add(&mut group, &name, || routing::route_match(kind, routes, pick));
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("pick");
    for (name, policy) in lb::POLICIES {
        for count in [3, 100, 10_000] {
            add(&mut group, &format!("{name}_{count}"), || lb::pick(policy, count, false));
        }
    }
    for (name, policy) in &lb::POLICIES[..3] {
        add(&mut group, &format!("{name}_10000_weighted"), || lb::pick(policy, 10_000, true));
    }
    group.finish();
    let mut group = criterion.benchmark_group("renew");
    for (name, policy) in lb::POLICIES {
        for count in [3, 100, 10_000] {
            add(&mut group, &format!("{name}_{count}"), || lb::renew(policy, count));
        }
    }
    group.finish();
}

fn statistics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stats");
    add(&mut group, "record_exchange", stats::record);
    add(&mut group, "record_time", stats::record_time);
    add(&mut group, "merge_histogram", stats::merge);
    for format in [Format::Text, Format::Json, Format::Prometheus] {
        add(&mut group, &format!("render_100_clusters_{format:?}").to_lowercase(), || stats::render(format));
    }
    group.finish();
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer");
    add(&mut group, "arm_and_cancel", timer::arm_and_cancel);
    add(&mut group, "rearm_earlier", timer::rearm_earlier);
    add(&mut group, "make_arm_and_drop", timer::make_arm_and_drop);
    group.finish();
    let mut group = criterion.benchmark_group("ring");
    add(&mut group, "round_trip", ring::round_trip);
    group.finish();
}

fn configs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("config_load");
    for routes in [10, 1000] {
        add(&mut group, &format!("{routes}_routes"), || config::load(config::text(routes)));
    }
    group.finish();
}

fn exchanges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    for traffic in [Traffic::Small, Traffic::Browser] {
        for way in [Way::Proxied, Way::Resilient, Way::Traced(Traced::SampledW3c), Way::Direct] {
            add(&mut group, &format!("{traffic:?}_{way:?}").to_lowercase(), || exchange(traffic, way));
        }
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_millis(1500))
}

criterion_group! {
    name = pieces;
    config = short();
    targets = heads, blocks, chunks, routes, statistics, timers, configs, exchanges
}
criterion_main!(pieces);
