//! Seeded simulation of a whole shard on in-memory pipes, with virtual time: clients and origins that cut, delay, reset
//! and misbehave, a drain or a new configuration in the middle. Every exchange carries an id and bodies with a pattern,
//! so that no byte can be mistaken for another's. The seeds are spread over the four pairs of wires: HTTP/1 and the second
//! one, between client and proxy and between proxy and origin; a third of them run over TLS on both sides.
//!
//! RINGWAY_SIM_SEEDS=n runs more seeds, RINGWAY_SIM_SEED=n replays one. A failure names its seed.

#[path = "../support/balance.rs"]
mod balance;
mod client;
mod covered;
#[path = "../support/h2.rs"]
mod h2;
mod h2_client;
mod h2_origin;
mod message;
mod origin;
mod plan;
mod streams;
#[path = "../support/veil.rs"]
mod veil;
mod world;

use world::Totals;

const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn every_exchange_gets_its_own_whole_answer_or_a_visible_failure() {
    let seeds = match number("RINGWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGWAY_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut totals: [Totals; 4] = Default::default();
    for seed in seeds {
        match world::run(seed) {
            Ok(run) => totals[world::pair(seed)].add(&run),
            Err(problems) => panic!("seed {seed} (replay with RINGWAY_SIM_SEED={seed}):\n{}", problems.join("\n")),
        }
    }
    for (pair, totals) in totals.iter().enumerate() {
        println!("pair {pair}: {totals:?}");
        if number("RINGWAY_SIM_SEED").is_none() && totals.exchanges > 500 {
            // Otherwise the simulation has lost its teeth.
            assert!(totals.whole > totals.exchanges / 2, "{totals:?}");
            assert!(totals.refused > 0 && totals.broken > 0 && totals.sent_twice > 0, "{totals:?}");
        }
    }
}
