//! All of these tests stand on the counter.

use super::{ALLOCATIONS, DEALLOCATIONS, LIVE};

#[test]
fn the_counter_counts() {
    let before = (ALLOCATIONS.get(), DEALLOCATIONS.get(), LIVE.get());
    let mut vec = std::hint::black_box(vec![0u8; 100]);
    vec.reserve_exact(100);
    assert_eq!((ALLOCATIONS.get() - before.0, LIVE.get() - before.2), (2, 200));
    drop(vec);
    assert_eq!((DEALLOCATIONS.get() - before.1, LIVE.get() - before.2), (1, 0));
}
