//! The main pieces by instructions, with valgrind's callgrind. Started by bench/instructions.sh, which compares them
//! with the baseline: `cargo bench` alone lacks the runner.

use bench::baseline::CALLS;
use bench::exchange::{Traffic, Way, exchange};
use bench::{codec, config, messages, routing, stats, timer};
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
#[bench::small_direct(exchange(Traffic::Small, Way::Direct))]
#[bench::browser_direct(exchange(Traffic::Browser, Way::Direct))]
fn whole_exchange<P: FnMut()>(piece: P) -> P {
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
#[bench::pick_3_equal(routing::pick(&[1, 1, 1]))]
#[bench::pick_3_weighted(routing::pick(&[1, 2, 5]))]
#[bench::stats_record_exchange(stats::record())]
#[bench::stats_merge_histogram(stats::merge())]
#[bench::timer_arm_and_cancel(timer::arm_and_cancel())]
#[bench::timer_rearm_earlier(timer::rearm_earlier())]
#[bench::timer_make_arm_and_drop(timer::make_arm_and_drop())]
#[bench::config_load_10_routes(config::load(config::text(10)))]
fn piece<P: FnMut()>(piece: P) -> P {
    repeat(piece)
}

library_benchmark_group!(name = exchange, benchmarks = whole_exchange);
library_benchmark_group!(name = part, benchmarks = piece);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [exchange, part]
);
