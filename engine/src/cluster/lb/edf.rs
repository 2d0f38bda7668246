//! Weighted turns by the earliest deadline: an item's next turn is due 1/weight after its last one (Envoy: EdfScheduler). A
//! turn costs the logarithm of the number of items, and weights may change from turn to turn.

use crate::base::random::Random;
use std::cell::RefCell;

pub struct Edf {
    /// A binary heap, the earliest first: deadline and item.
    heap: RefCell<Vec<(f64, u32)>>,
}

impl Edf {
    /// Items with their weights, which are more than 0. First turns are spread at random, so that the shards' first requests
    /// do not all go to the same endpoint.
    pub fn new(items: impl Iterator<Item = (u32, f64)>, random: &Random) -> Self {
        let unit = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut heap: Vec<_> = items.map(|(item, weight)| (unit() / weight, item)).collect();
        assert!(!heap.is_empty(), "there are no items");
        heap.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { heap: RefCell::new(heap) }
    }

    /// The item whose turn it is. `weight` gives the weight for the item's next turn, more than 0.
    pub fn pick(&self, weight: impl FnOnce(u32) -> f64) -> u32 {
        let mut heap = self.heap.borrow_mut();
        let (deadline, item) = heap[0];
        heap[0].0 = deadline + 1.0 / weight(item);
        sift_down(&mut heap);
        item
    }
}

fn sift_down(heap: &mut [(f64, u32)]) {
    let moved = heap[0];
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        let Some(first) = heap.get(left) else { break };
        let earlier = match heap.get(left + 1) {
            Some(second) if second.0 < first.0 => left + 1,
            _ => left,
        };
        if moved.0 <= heap[earlier].0 {
            break;
        }
        heap[at] = heap[earlier];
        at = earlier;
    }
    heap[at] = moved;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_each_items_share_to_within_one() {
        let random = Random::seeded(3);
        for weights in [vec![1.0, 1.0, 1.0], vec![1.0, 2.0, 5.0], (1..200).map(f64::from).collect::<Vec<_>>()] {
            let edf = Edf::new((0..).zip(weights.iter().copied()), &random);
            let round = weights.iter().sum::<f64>() as usize;
            for _ in 0..20 {
                let mut turns = vec![0.0; weights.len()];
                (0..round).for_each(|_| turns[edf.pick(|item| weights[item as usize]) as usize] += 1.0);
                assert!(turns.iter().zip(&weights).all(|(turns, weight)| (turns - weight).abs() <= 1.0), "{turns:?}");
            }
        }
    }

    #[test]
    fn heavy_items_are_spread_over_the_round() {
        let edf = Edf::new([(0, 2.0), (1, 3.0), (2, 7.0)].into_iter(), &Random::seeded(5));
        let picks: Vec<_> = (0..120).map(|_| edf.pick(|item| [2.0, 3.0, 7.0][item as usize])).collect();
        let heavy = |window: &[u32]| window.iter().filter(|&&pick| pick == 2).count();
        // 7 of 12 turns are heavy: a third of a round holds two or three of them, one more or less at an edge.
        assert!(picks.windows(4).all(|window| (1..=4).contains(&heavy(window))), "{picks:?}");
        assert!(picks.windows(12).all(|window| (6..=8).contains(&heavy(window))), "{picks:?}");
    }

    #[test]
    fn a_new_weight_counts_from_the_next_turn() {
        let edf = Edf::new([(0, 1.0), (1, 1.0)].into_iter(), &Random::seeded(7));
        let turns =
            |weight: f64| (0..3000).filter(|_| edf.pick(|item| if item == 0 { weight } else { 1.0 }) == 0).count();
        assert!(turns(1.0).abs_diff(1500) <= 1);
        assert!(turns(2.0).abs_diff(2000) <= 2);
        assert!(turns(0.5).abs_diff(1000) <= 2);
    }
}
