//! The main pieces by instructions, with valgrind's callgrind. Started by bench/instructions.sh, which compares them
//! with the baseline: `cargo bench` alone lacks the runner.

use bench::baseline::CALLS;
use bench::exchange::{Traced, Traffic, Way, exchange};
use bench::routing::{Kind, Pick};
use bench::streams::{self, Origin};
use bench::{codec, config, lb, messages, ring, routing, spans, stats, timer};
use gungraun::Callgrind;
use gungraun::prelude::*;

/// Returns what it ran, so that dropping it is not counted.
fn repeat<P: FnMut()>(mut piece: P) -> P {
    (0..CALLS).for_each(|_| piece());
    piece
}

#[library_benchmark]
#[bench::small(exchange(Traffic::Small, Way::Proxied))]
#[bench::browser(exchange(Traffic::Browser, Way::Proxied))]
#[bench::resilient(exchange(Traffic::Small, Way::Resilient))]
#[bench::small_unsampled_w3c(exchange(Traffic::Small, Way::Traced(Traced::UnsampledW3c)))]
#[bench::small_unsampled_b3(exchange(Traffic::Small, Way::Traced(Traced::UnsampledB3)))]
#[bench::small_sampled(exchange(Traffic::Small, Way::Traced(Traced::SampledW3c)))]
#[bench::small_direct(exchange(Traffic::Small, Way::Direct))]
#[bench::browser_direct(exchange(Traffic::Browser, Way::Direct))]
fn whole_exchange<P: FnMut()>(piece: P) -> P {
    repeat(piece)
}

#[library_benchmark]
#[bench::to_http1(streams::exchanges(Origin::Http1))]
#[bench::to_http2(streams::exchanges(Origin::Http2))]
fn exchanges_of_32_streams<P: FnMut()>(piece: P) -> P {
    repeat(piece)
}

#[library_benchmark]
#[bench::parse_request_small(codec::request_head(messages::SMALL_REQUEST))]
#[bench::parse_request_30_fields(codec::request_head(messages::request_30_fields()))]
#[bench::parse_request_browser(codec::request_head(messages::BROWSER_REQUEST))]
#[bench::parse_response_small(codec::response_head(messages::SMALL_RESPONSE))]
#[bench::parse_response_browser(codec::response_head(messages::BROWSER_RESPONSE_HEAD))]
#[bench::encode_request_small(codec::request_edits(messages::SMALL_REQUEST))]
#[bench::encode_request_browser(codec::request_edits(messages::BROWSER_REQUEST))]
#[bench::encode_response_small(codec::response_edits(messages::SMALL_RESPONSE))]
#[bench::encode_response_browser(codec::response_edits(messages::BROWSER_RESPONSE_HEAD))]
#[bench::chunked_16_of_4kib(codec::chunked(messages::chunked(16, 4096)))]
#[bench::chunked_1000_of_16b(codec::chunked(messages::chunked(1000, 16)))]
#[bench::route_match_last_of_10(routing::last_route(10))]
#[bench::route_match_last_of_1000(routing::last_route(1000))]
#[bench::route_match_last_of_1000_in_hosts_of_10(routing::last_route_of_hosts(1000))]
#[bench::route_prefix_mix_of_10(routing::route_match(Kind::Prefix, 10, Pick::Mix))]
#[bench::route_prefix_mix_of_10000(routing::route_match(Kind::Prefix, 10000, Pick::Mix))]
#[bench::route_exact_mix_of_10(routing::route_match(Kind::Exact, 10, Pick::Mix))]
#[bench::route_exact_mix_of_10000(routing::route_match(Kind::Exact, 10000, Pick::Mix))]
#[bench::route_regex_mix_of_10(routing::route_match(Kind::Regex, 10, Pick::Mix))]
#[bench::route_regex_mix_of_1000(routing::route_match(Kind::Regex, 1000, Pick::Mix))]
#[bench::route_within_mix_of_10(routing::route_match(Kind::Within, 10, Pick::Mix))]
#[bench::route_within_mix_of_1000(routing::route_match(Kind::Within, 1000, Pick::Mix))]
#[bench::route_header_mix_of_10(routing::route_match(Kind::Header, 10, Pick::Mix))]
#[bench::route_header_mix_of_10000(routing::route_match(Kind::Header, 10000, Pick::Mix))]
#[bench::route_host_mix_of_10(routing::route_match(Kind::Host, 10, Pick::Mix))]
#[bench::route_host_mix_of_10000(routing::route_match(Kind::Host, 10000, Pick::Mix))]
#[bench::route_prefix_first_of_10(routing::route_match(Kind::Prefix, 10, Pick::First))]
#[bench::route_prefix_first_of_10000(routing::route_match(Kind::Prefix, 10000, Pick::First))]
#[bench::route_prefix_last_of_10(routing::route_match(Kind::Prefix, 10, Pick::Last))]
#[bench::route_prefix_last_of_10000(routing::route_match(Kind::Prefix, 10000, Pick::Last))]
#[bench::route_prefix_none_of_10(routing::route_match(Kind::Prefix, 10, Pick::None))]
#[bench::route_prefix_none_of_10000(routing::route_match(Kind::Prefix, 10000, Pick::None))]
#[bench::pick_3_round_robin(lb::pick(lb::POLICIES[0].1, 3, false))]
#[bench::pick_3_least_request(lb::pick(lb::POLICIES[1].1, 3, false))]
#[bench::pick_3_least_request_weighted(lb::pick(lb::POLICIES[1].1, 3, true))]
#[bench::pick_3_peak_ewma(lb::pick(lb::POLICIES[5].1, 3, false))]
#[bench::stats_record_exchange(stats::record())]
#[bench::stats_merge_histogram(stats::merge())]
#[bench::timer_arm_and_cancel(timer::arm_and_cancel())]
#[bench::timer_rearm_earlier(timer::rearm_earlier())]
#[bench::timer_make_arm_and_drop(timer::make_arm_and_drop())]
#[bench::ring_round_trip(ring::round_trip())]
#[bench::export_two_spans_zipkin_json(spans::export_two(spans::ZIPKIN_JSON))]
#[bench::export_two_spans_zipkin_proto(spans::export_two(spans::ZIPKIN_PROTO))]
#[bench::export_two_spans_otlp(spans::export_two(spans::OTLP))]
#[bench::config_load_10_routes(config::load(config::text(10)))]
fn piece<P: FnMut()>(piece: P) -> P {
    repeat(piece)
}

library_benchmark_group!(name = exchange, benchmarks = [whole_exchange, exchanges_of_32_streams]);
library_benchmark_group!(name = part, benchmarks = piece);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [exchange, part]
);
