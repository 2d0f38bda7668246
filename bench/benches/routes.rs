//! What a look-up costs by the clock when requests ask for all routes of a table at random, and how that grows with the
//! table: `cargo bench -p bench --bench routes`. Small and large tables are measured in turn, so that a busy machine
//! slows all of them, and the fastest of many rounds counts.

use bench::routing::{KINDS, Kind, random_route};
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;
const LOOKUPS: u32 = 20_000;
const SIZES: [usize; 3] = [10, 1000, 10_000];

fn main() {
    println!("{:10} {:>8} {:>8} {:>8} {:>8}", "ns", SIZES[0], SIZES[1], SIZES[2], "ratio");
    KINDS.into_iter().for_each(report);
}

fn report(kind: Kind) {
    let mut tables = SIZES.map(|routes| random_route(kind, routes));
    let mut best = SIZES.map(|_| Duration::MAX);
    for _ in 0..ROUNDS {
        for (find, best) in tables.iter_mut().zip(&mut best) {
            let start = Instant::now();
            (0..LOOKUPS).for_each(|_| find());
            *best = start.elapsed().min(*best);
        }
    }
    let [ten, thousand, all] = best.map(|time| time.as_secs_f64() * 1e9 / f64::from(LOOKUPS));
    let name = format!("{kind:?}").to_lowercase();
    println!("{name:10} {ten:8.1} {thousand:8.1} {all:8.1} {:8.2}", all / ten);
}
