//! Which handshakes are computed, and in which order.

use super::*;
use crate::ring::PoolSize;
use std::time::Duration;

fn reactor() -> Rc<Reactor> {
    Reactor::simulated(1, PoolSize { count: 16, size: 1024 })
}

/// A task that waits for room, and whether it has found some.
fn waits_for_room(reactor: &Rc<Reactor>, handshakes: &Rc<Handshakes>) -> Rc<Cell<bool>> {
    let has_room = Rc::new(Cell::new(false));
    let (handshakes, flag) = (handshakes.clone(), has_room.clone());
    reactor.spawn(async move {
        handshakes.wait_for_room(|| false).await;
        flag.set(true);
    });
    has_room
}

#[test]
fn what_waits_for_room_goes_on_when_there_is_some() {
    let reactor = reactor();
    let handshakes = Handshakes::new(&reactor, &Arc::default());
    handshakes.set_max(2);
    let (first, second) = (handshakes.begin(), handshakes.begin());
    assert!(handshakes.are_full());
    let waiters = [0; 2].map(|_| waits_for_room(&reactor, &handshakes));
    let went_on = || waiters.iter().filter(|has_room| has_room.get()).count();
    (0..4).for_each(|_| reactor.turn());
    assert_eq!(went_on(), 0);
    drop(first);
    (0..4).for_each(|_| reactor.turn());
    assert_eq!(went_on(), 2, "there was room for either");
    drop(second);
    let _third = handshakes.begin();
    handshakes.set_max(1);
    assert!(handshakes.are_full());
    handshakes.set_max(2);
    assert!(!handshakes.are_full());
}

/// First messages of which `QUICK_MAX` are computed, and the others wait.
struct Storm {
    reactor: Rc<Reactor>,
    handshakes: Rc<Handshakes>,
    stats: Arc<ShardStats>,
}

impl Storm {
    fn new() -> Self {
        let (reactor, stats) = (reactor(), Arc::default());
        let handshakes = Handshakes::new(&reactor, &stats);
        Self { reactor, handshakes, stats }
    }

    fn come(&self, count: usize) -> Vec<Computing> {
        (0..count).map(|_| self.handshakes.begin_first(Kind::Quick)).collect()
    }

    fn pass(&self, millis: u64) {
        let reactor = self.reactor.clone();
        self.reactor.block_on(async move { reactor.sleep(Duration::from_millis(millis)).await });
    }
}

/// The places of those whose turn it is.
fn turns(all: &[Option<Computing>]) -> Vec<usize> {
    let is_ready = |one: &Option<Computing>| one.as_ref().is_some_and(|one| one.poll_turn() == Poll::Ready(true));
    (0..all.len()).filter(|at| is_ready(&all[*at])).collect()
}

#[test]
fn the_first_goes_first_until_it_is_late() {
    let some = Storm::new();
    let under_way = some.come(QUICK_MAX);
    assert!(under_way.iter().all(|one| one.poll_turn() == Poll::Ready(true)));
    let mut waiting: Vec<_> = some.come(4).into_iter().map(Some).collect();
    let mut under_way = under_way.into_iter();
    drop(under_way.next());
    assert_eq!(turns(&waiting), [0]);
    // Those with slow keys wait for others.
    assert_eq!(some.handshakes.begin_first(Kind::Slow).poll_turn(), Poll::Ready(true));
    some.pass(101);
    drop(under_way.next());
    assert_eq!(turns(&waiting), [0, 3]);
    // One that has gone is passed over, and what comes last is not late.
    waiting[2] = None;
    waiting.extend(some.come(1).into_iter().map(Some));
    drop(under_way.next());
    assert_eq!(turns(&waiting), [0, 3, 4]);
    drop(under_way.next());
    assert_eq!(turns(&waiting), [0, 1, 3, 4]);
    drop((waiting, under_way));
    assert_eq!((some.handshakes.computing.get(), some.handshakes.lane(Kind::Quick).borrow().under_way), (0, 0));
}

#[test]
fn one_that_has_waited_for_too_long_gives_way() {
    let some = Storm::new();
    some.handshakes.set_max(QUICK_MAX + 2);
    let _under_way = some.come(QUICK_MAX);
    let waiting = some.come(2);
    some.pass(500);
    assert!(some.handshakes.are_full() && !some.handshakes.shed());
    some.pass(501);
    let another = some.come(1);
    let polled: Vec<_> = waiting.iter().chain(&another).map(Computing::poll_turn).collect();
    assert_eq!(polled, [Poll::Ready(false), Poll::Pending, Poll::Pending]);
    assert_eq!(some.stats.handshakes_shed.get(), 1);
    assert!(some.handshakes.shed(), "the other one is late, too");
    assert!(some.handshakes.shed() && some.stats.handshakes_shed.get() == 2, "there is room already");
    let _another = some.come(1);
    assert!(!some.handshakes.shed(), "none is late");
    drop(waiting);
    assert_eq!((some.handshakes.lost.get(), some.handshakes.computing.get()), (0, QUICK_MAX + 2));
}

#[test]
fn places_that_a_flood_does_not_have_are_free_when_those_there_are_late() {
    let some = Storm::new();
    some.handshakes.set_max(1_000);
    let lost_at = || Some(some.reactor.now() + LOST + MS);
    let (first_lost_at, mut all) = (lost_at(), some.come(900));
    some.pass(600);
    let then_lost_at = lost_at();
    all.extend(some.come(100));
    some.handshakes.flood_begins();
    assert!(some.handshakes.are_full() && !some.handshakes.shed());
    let has_room = waits_for_room(&some.reactor, &some.handshakes);
    some.pass(380);
    assert_eq!(some.handshakes.next_lost(), first_lost_at);
    some.pass(40);
    assert!(!has_room.get(), "a hundred are too many");
    assert_eq!(some.handshakes.next_lost(), then_lost_at);
    some.pass(600);
    assert!(has_room.get() && !some.handshakes.are_full());
    let given_up = all.iter().filter(|one| one.poll_turn() == Poll::Ready(false)).count();
    assert_eq!(given_up, 1_000 - (FLOODED_MAX - 1));
    drop(all);
    assert_eq!(
        (some.handshakes.lost.get(), some.handshakes.computing.get(), some.handshakes.next_lost()),
        (0, 0, None)
    );
}

#[test]
fn waiting_for_room_goes_on_where_none_is_left_that_could_give_way() {
    for is_gone_before in [false, true] {
        let some = Storm::new();
        some.handshakes.set_max(1);
        let under_way: Vec<_> = (0..SLOW_MAX).map(|_| some.handshakes.begin_first(Kind::Slow)).collect();
        let waits = some.handshakes.begin_first(Kind::Slow);
        let has_room = waits_for_room(&some.reactor, &some.handshakes);
        some.pass(500);
        let waits = (!is_gone_before).then_some(waits);
        some.pass(2_500);
        assert_eq!(waits.map(|waits| waits.poll_turn()), (!is_gone_before).then_some(Poll::Ready(false)));
        assert!(!has_room.get());
        drop(under_way);
        some.pass(1);
        assert!(has_room.get());
    }
}

#[test]
fn what_waits_outside_is_for_the_keys_for_which_more_wait() {
    let some = Storm::new();
    assert_eq!(some.handshakes.outside_max(), 128);
    let slow: Vec<_> = (0..SLOW_MAX + 2).map(|_| some.handshakes.begin_first(Kind::Slow)).collect();
    assert_eq!(some.handshakes.outside_max(), 16);
    let quick = some.come(QUICK_MAX + 2);
    assert_eq!(some.handshakes.outside_max(), 128, "as many");
    drop(quick);
    assert_eq!(some.handshakes.outside_max(), 16);
    drop(slow);
    assert_eq!(some.handshakes.outside_max(), 128);
}

#[test]
fn fewer_are_there_while_there_is_a_flood() {
    let some = Storm::new();
    some.handshakes.set_max(100);
    let mut all = some.come(99);
    assert!(!some.handshakes.are_full());
    // At two listeners.
    some.handshakes.flood_begins();
    some.handshakes.flood_begins();
    all.truncate(FLOODED_MAX);
    assert!(some.handshakes.are_full());
    all.pop();
    assert!(!some.handshakes.are_full());
    all.extend(some.come(2));
    some.handshakes.flood_ends();
    assert!(some.handshakes.are_full(), "one lasts");
    some.handshakes.flood_ends();
    assert!(!some.handshakes.are_full());
    some.handshakes.set_max(10);
    some.handshakes.flood_begins();
    all.truncate(10);
    assert!(some.handshakes.are_full(), "never more than without a flood");
}

#[test]
fn places_of_those_that_are_gone_are_taken_out() {
    let some = Storm::new();
    let _under_way = some.come(QUICK_MAX);
    let stays = some.come(1);
    for _ in 0..1_000 {
        drop(some.come(10));
    }
    assert!(some.handshakes.lane(Kind::Quick).borrow().queue.len() <= 2 * GONE_MAX + 1);
    assert_eq!(stays[0].poll_turn(), Poll::Pending);
}
