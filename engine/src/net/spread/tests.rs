//! What shards get of new connections.

use super::*;
use crate::base::random::Random;

fn load(carried: u64, settled: u64, new: u64) -> Load {
    Load { carried, settled, new }
}

#[test]
fn a_connection_goes_to_the_least_load_from_above_the_mean_only() {
    assert_eq!(choose(&[load(0, 0, 0)], 0), 0, "one shard");
    assert_eq!(choose(&[load(9, 1, 0)], 0), 0);
    assert_eq!(choose(&[load(0, 0, 0), load(0, 0, 0)], 1), 1);
    assert_eq!([0, 1, 2].map(|own| choose(&[load(5, 1, 0), load(3, 1, 0), load(1, 1, 0)], own)), [2, 1, 2]);
    // A new connection counts as others do.
    assert_eq!(choose(&[load(64, 2, 0), load(32, 1, 1)], 0), 0);
    assert_eq!(choose(&[load(64, 2, 0), load(32, 1, 0)], 0), 1);
    assert_eq!(choose(&[load(0, 0, 1), load(0, 0, 0)], 0), 1, "at least as one exchange");
    assert_eq!(choose(&[load(0, 7, 1), load(0, 9, 0)], 0), 1, "also among idle ones");
    // Where all carry the same, connections count, and not where they differ.
    assert_eq!(choose(&[load(4, 3, 0), load(4, 1, 0)], 0), 1);
    assert_eq!(choose(&[load(3, 9, 0), load(4, 1, 0)], 0), 0);
    assert_eq!(choose(&[load(1, 100, 0), load(2, 0, 0), load(2, 0, 0)], 0), 0);
}

/// Whatever the loads are: nothing moves from a shard below the mean, what moves goes to the least one, and what stays stays
/// with at most a little more than the mean.
#[test]
fn the_choice_is_never_worse() {
    let random = Random::seeded(7);
    for _ in 0..20_000 {
        let loads: Vec<Load> =
            (0..=random.below(7)).map(|_| load(random.below(50), random.below(6), random.below(3))).collect();
        let own = random.below(loads.len() as u64) as usize;
        let chosen = choose(&loads, own);
        let (carried, settled) = loads.iter().fold((0, 0), |sum, load| (sum.0 + load.carried, sum.1 + load.settled));
        let each = carried.checked_div(settled).unwrap_or(1).max(1);
        let of = |load: &Load| load.carried + load.new * each;
        let total: u64 = loads.iter().map(of).sum();
        let mean = |shard: usize| of(&loads[shard]).cmp(&(total / loads.len() as u64));
        if chosen != own {
            assert!(mean(own).is_ge(), "{loads:?} {own}");
            assert!(loads.iter().all(|load| of(load) >= of(&loads[chosen])), "{loads:?} {own}");
        } else {
            assert!(of(&loads[own]) * loads.len() as u64 * 8 <= total * 9, "{loads:?} {own}");
        }
    }
}

/// Shards of one process, on one thread.
fn shards(count: usize) -> (Vec<Rc<Spreader>>, Vec<Arc<ShardStats>>) {
    let (house, stats) = (Arc::default(), (0..count).map(|_| Arc::default()).collect::<Vec<_>>());
    (stats.iter().enumerate().map(|(shard, stats)| Spreader::new(&house, shard, stats)).collect(), stats)
}

/// What has come to a shard is served there, or on another one.
fn place(all: &[Rc<Spreader>], on: usize) -> Place {
    match all[on].place() {
        Placement::Here(place) => place,
        Placement::There(ticket) => {
            let to = ticket.to.shard;
            ticket.used();
            all[to].arrived()
        }
    }
}

/// From four connections on, wherever they come in, neither of two shards has more than 60 %.
#[test]
fn few_connections_are_spread_over_two_shards() {
    for way in 0..1_u32 << 12 {
        let (all, _) = shards(2);
        let mut open = [Vec::new(), Vec::new()];
        for count in 1..=12 {
            let place = place(&all, (way >> (count - 1) & 1) as usize);
            open[place.0.shard()].push(Carrying::new(place, 0));
            let most = open.each_ref().map(Vec::len).into_iter().max().unwrap();
            assert!(count < 4 || most * 10 <= count * 6, "{way:b}: {most} of {count}");
        }
    }
}

/// Of 100 connections that live for two seconds on average, few are moved when the next ones come, and shards carry about the
/// same. Without a margin 45 % were moved.
#[test]
fn short_connections_stay_where_they_are() {
    const STEP: Nanos = 20_000_000;
    let random = Random::seeded(14);
    let (all, stats) = shards(4);
    let mut open: Vec<Vec<(Carrying, u64)>> = (0..4).map(|_| Vec::new()).collect();
    let (mut came, mut most, mut moved_before) = (0_u64, 0, 0);
    let moved = || stats.iter().map(|stats| stats.http2_cx_handed_over.get()).sum::<u64>();
    // One comes and one goes in each step, on average.
    for step in 0..10_000 {
        let now = step * STEP;
        let on = random.below(4) as usize;
        let place = place(&all, on);
        let shard = place.0.shard();
        let connection = Carrying::new(place, now);
        connection.begin(0, now);
        open[shard].push((connection, step + 1 + random.below(199)));
        for connections in &mut open {
            for (connection, _) in connections.extract_if(.., |(_, until)| *until <= step) {
                connection.end(0, now);
            }
        }
        if step % 50 == 0 {
            all.iter().for_each(|shard| shard.tick());
        }
        if step == 1000 {
            moved_before = moved();
        } else if step > 1000 {
            came += 1;
            most += open.iter().map(Vec::len).max().unwrap();
        }
    }
    let share = (moved() - moved_before) as f64 / came as f64;
    // Of the mean, which is 25.
    let most = most as f64 / came as f64 / 25.0;
    assert!(share < 0.12 && most < 1.2, "{share} are moved, the busiest shard has {most} of the mean");
}

/// However few there are, wherever they come in, and whatever part of their exchanges is under way at the moment.
#[test]
fn equal_connections_are_spread_evenly() {
    const SECOND: Nanos = 1_000_000_000;
    let random = Random::seeded(3);
    for round in 0..400 {
        let (all, _) = shards(1 + round % 4);
        let (exchanges, mut now) = (1 + random.below(40) as u32, 0);
        let mut placed = vec![0_u64; all.len()];
        let mut open: Vec<Carrying> = Vec::new();
        for _ in 0..8 * all.len() {
            // Skewed: the kernel may like one shard.
            let on = (random.below(all.len() as u64) * random.below(2)) as usize;
            let place = place(&all, on);
            placed[place.0.shard()] += 1;
            let (sum, most) = (placed.iter().sum::<u64>(), placed.iter().max().unwrap());
            // An eighth above the mean, and the one that has just come.
            assert!((most - 1) * 8 * all.len() as u64 <= (sum - 1) * 9, "{placed:?}");
            open.push(Carrying::new(place, now));
            // Together, or one after the other.
            for _ in 0..random.below(3) * (round as u64 % 2) {
                now += SECOND;
                for connection in &open {
                    (0..exchanges).for_each(|others| connection.begin(others, now));
                }
                all.iter().for_each(|shard| shard.tick());
                for connection in &open {
                    (0..exchanges).rev().for_each(|others| connection.end(others, now));
                }
            }
        }
    }
}

#[test]
fn what_a_connection_carries_is_given_back() {
    let (all, stats) = shards(1);
    let loads = || {
        let members = all[0].house.spread.lock();
        let Load { carried, settled, new } = Load::of(&members[0]);
        (carried, settled, new, stats[0].http2_cx_active.get())
    };
    let first = Carrying::new(all[0].stay(), 0);
    (0..3).for_each(|others| first.begin(others, 5));
    first.end(2, 5);
    assert_eq!(loads(), (0, 0, 1, 1), "as a new one counts");
    first.begin(2, NEW);
    assert_eq!(loads(), (3, 1, 0, 1));
    [2, 1, 0].into_iter().for_each(|others| first.end(others, NEW));
    assert_eq!(loads(), (3, 1, 0, 1), "it had three a moment ago");
    all[0].tick();
    first.begin(0, NEW);
    assert_eq!(loads(), (3, 1, 0, 1), "or a second ago");
    all[0].tick();
    assert_eq!(loads(), (1, 1, 0, 1));
    first.end(0, NEW);
    all[0].tick();
    all[0].tick();
    assert_eq!(loads(), (0, 1, 0, 1));
    let second = Carrying::new(all[0].stay(), 0);
    second.rest();
    assert_eq!(loads(), (0, 2, 0, 2), "a second without an exchange");
    second.rest();
    // The last of its exchanges ends after its first second.
    let third = Carrying::new(all[0].stay(), 0);
    (0..2).for_each(|others| third.begin(others, 0));
    [1, 0].into_iter().for_each(|others| third.end(others, NEW));
    assert_eq!(loads(), (2, 3, 0, 3));
    all[0].tick();
    all[0].tick();
    drop((first, second, third, Carrying::new(all[0].stay(), 0)));
    assert_eq!(loads(), (0, 0, 0, 0));
    drop(all[0].stay());
    assert_eq!(loads(), (0, 0, 0, 0), "its handshake has failed");
}

#[test]
fn a_ticket_that_is_not_used_leaves_nothing_behind() {
    let (all, stats) = shards(2);
    let new = || all[0].house.spread.lock().iter().map(|member| Load::of(member).new).collect::<Vec<_>>();
    let _here = all[0].stay();
    let there = || match all[0].place() {
        Placement::There(ticket) => ticket,
        Placement::Here(_) => panic!("the other shard has nothing to do"),
    };
    let ticket = there();
    assert_eq!(new(), [1, 1]);
    drop(ticket);
    assert_eq!(new(), [1, 0]);
    let second = there().stay();
    assert_eq!((new(), stats[0].http2_cx_kept.get()), (vec![2, 0], 1));
    drop(second);
    assert_eq!(new(), [1, 0]);
    there().used();
    assert_eq!((new(), stats[0].http2_cx_handed_over.get()), (vec![1, 1], 1));
    drop(all[1].arrived());
    assert_eq!((new(), stats[1].http2_cx_taken_over.get()), (vec![1, 0], 1));
}
