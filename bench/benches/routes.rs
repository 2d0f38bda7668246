//! What a look-up costs by the clock when requests ask for all routes of a table at random, and how that grows with the
//! table: `cargo bench -p bench --bench routes`, about half a minute after the build. All tables are measured in turn,
//! round after round, so that a busy machine slows all of them, and the fastest round of each counts.

use bench::routing::{KINDS, random_route};
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;
const LOOKUPS: u32 = 100_000;
const SIZES: [usize; 3] = [10, 1000, 10_000];

type LookUp = Box<dyn FnMut(u32)>;

fn main() {
    let table = |kind, routes| -> LookUp {
        let mut find = random_route(kind, routes);
        Box::new(move |times| (0..times).for_each(|_| find()))
    };
    let mut tables = KINDS.map(|kind| (kind, SIZES.map(|routes| (table(kind, routes), Duration::MAX))));
    for _ in 0..ROUNDS {
        for (find, best) in tables.iter_mut().flat_map(|(_, sizes)| sizes) {
            let start = Instant::now();
            find(LOOKUPS);
            *best = start.elapsed().min(*best);
        }
    }
    let [few, some, many] = SIZES;
    println!("{:10} {few:>8} {some:>8} {many:>8} {:>8}", "ns", "ratio");
    for (kind, sizes) in tables {
        let [few, some, many] = sizes.map(|(_, best)| best.as_secs_f64() * 1e9 / f64::from(LOOKUPS));
        println!("{:10} {few:8.1} {some:8.1} {many:8.1} {:8.2}", format!("{kind:?}").to_lowercase(), many / few);
    }
}
