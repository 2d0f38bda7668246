//! Tasks, wakes from other threads, timers on the real clock, panics, and a reactor that has nothing to do.

use crate::support::{Pattern, Ring, expect, flushed, in_child, recv};
use ringway::ring::{Segment, Timer};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

#[test]
fn unpark_wakes_a_sleeping_reactor() {
    let ring = Ring::new();
    for _ in 0..20 {
        let unpark = ring.unpark_handle();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2));
            unpark.unpark();
        });
        // No timer, no socket: without the unpark this would sleep without end.
        ring.run_until(|| ring.take_event());
        thread.join().unwrap();
    }
    assert!(!ring.take_event(), "an event is told once");
}

#[test]
fn an_unpark_before_the_sleep_is_not_lost() {
    let ring = Ring::new();
    for _ in 0..1000 {
        ring.unpark_handle().unpark();
        ring.run_until(|| ring.take_event());
    }
}

#[test]
fn no_wake_from_another_thread_is_lost() {
    const THREADS: usize = 4;
    const WAKES: usize = 2000;
    let ring = Ring::new();
    let state = Arc::new((AtomicUsize::new(0), Mutex::new(None::<Waker>)));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let state = state.clone();
            std::thread::spawn(move || {
                for i in 0..WAKES {
                    state.0.fetch_add(1, Ordering::SeqCst);
                    if let Some(waker) = &*state.1.lock().unwrap() {
                        waker.wake_by_ref();
                    }
                    if i % 50 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let shared = state.clone();
    // No timer here: the last wake must arrive.
    ring.block_on(poll_fn(move |context| {
        shared.1.lock().unwrap().replace(context.waker().clone());
        if shared.0.load(Ordering::SeqCst) == THREADS * WAKES { Poll::Ready(()) } else { Poll::Pending }
    }));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_waker_that_outlives_its_reactor_harms_nobody() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let ring = Ring::new();
        let wakers = kept.clone();
        ring.spawn(poll_fn(move |context| {
            wakers.lock().unwrap().push(context.waker().clone());
            Poll::Pending
        }));
        ring.sleep(1);
    }
    let ring = Ring::new();
    kept.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    std::thread::spawn(move || kept.lock().unwrap().drain(..).for_each(Waker::wake)).join().unwrap();
    ring.sleep(1);
    assert_eq!(ring.facts().panics, 0);
}

#[test]
fn timers_fire_in_order_and_never_early() {
    let ring = Ring::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let started = Instant::now();
    for millis in [90_u64, 5, 40, 70, 1, 130] {
        let (reactor, order) = (ring.0.clone(), order.clone());
        ring.spawn(async move {
            reactor.sleep(Duration::from_millis(millis)).await;
            assert!(started.elapsed() >= Duration::from_millis(millis), "{millis} ms were cut short");
            order.borrow_mut().push(millis);
        });
    }
    let all = order.clone();
    ring.run_until(|| all.borrow().len() == 6);
    assert_eq!(*order.borrow(), [1, 5, 40, 70, 90, 130]);
    assert_eq!((ring.facts().panics, ring.facts().timers), (0, 0));
}

#[test]
fn a_timer_moved_or_disarmed_does_not_fire_at_its_old_time() {
    let ring = Ring::new();
    let reactor = ring.0.clone();
    ring.run(async move {
        let (later, never) = (Timer::new(&reactor), Timer::new(&reactor));
        later.arm_in(Duration::from_millis(10));
        never.arm_in(Duration::from_millis(10));
        later.arm_in(Duration::from_secs(3600));
        never.disarm();
        reactor.sleep(Duration::from_millis(30)).await;
        assert!(!later.fired() && !never.fired());
        later.arm_in(Duration::from_millis(5));
        poll_fn(|_| if later.fired() { Poll::Ready(()) } else { Poll::Pending }).await;
        assert!(!never.fired());
    });
}

#[test]
fn a_deadline_in_the_past_fires_at_once() {
    let ring = Ring::new();
    let reactor = ring.0.clone();
    ring.sleep(5);
    ring.run(async move {
        let timer = Timer::new(&reactor);
        timer.arm_at(0);
        poll_fn(|_| if timer.fired() { Poll::Ready(()) } else { Poll::Pending }).await;
    });
}

/// Its message goes the way of the program log: the thread does not wait for standard error.
#[test]
fn a_panic_waits_for_no_pipe() {
    in_child("tasks::a_panic_waits_for_no_pipe", &[], || {
        const VICTIMS: u64 = 100;
        let (reader, mut pipe) = std::io::pipe().unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&pipe);
        let flags = |flags: libc::c_int| {
            // SAFETY: no pointers are passed.
            assert_eq!(unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags) }, 0);
        };
        flags(libc::O_NONBLOCK);
        let mut filled = 0;
        while let Ok(written) = pipe.write(&[b'.'; 4096]) {
            filled += written;
        }
        flags(0);
        // SAFETY: both descriptors are open; standard error is closed, which only this process sees.
        assert_eq!(unsafe { libc::dup2(descriptor, 2) }, 2);
        ringway::base::logging::start("info", ringway_config::model::LogFormat::Text);
        let ring = Ring::new();
        for _ in 0..VICTIMS {
            ring.spawn(async { panic!("{}", "expected ".repeat(100)) });
        }
        ring.0.run_until(|| ring.facts().panics == VICTIMS);
        let mut reader = std::io::BufReader::new(reader);
        reader.read_exact(&mut vec![0; filled]).unwrap();
        let mut lines = std::io::BufRead::lines(reader).map(Result::unwrap);
        let first = [lines.next().unwrap(), lines.next().unwrap()];
        assert!(first[0].contains("panicked at engine/tests/uring/tasks.rs:"), "{first:?}");
        assert!(first[1].starts_with("expected expected "), "{first:?}");
    });
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("expected in this test");
    }
}

#[test]
fn a_panic_ends_its_task_and_nothing_else() {
    const LEN: usize = 2 << 20;
    const VICTIMS: u64 = 30;
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    let pattern = Pattern::new(4);
    let source = pattern.clone();
    let writer = std::thread::spawn(move || {
        for at in (0..LEN).step_by(LEN / 64) {
            peer.write_all(&source.bytes(at, LEN / 64)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let done = Rc::new(Cell::new(false));
    let flag = done.clone();
    ring.spawn(async move {
        expect(&socket, &pattern, LEN).await;
        flag.set(true);
    });
    let mut peers = Vec::new();
    for i in 0..VICTIMS {
        // Each panics with a receive and a send of its own under way.
        let (victim, mut peer) = ring.pair();
        peer.write_all(b"poison").unwrap();
        peers.push(peer);
        ring.spawn(async move {
            victim.send_one(Segment::Owned(vec![1; 1 << 20]));
            let buf = recv(&victim).await.unwrap().unwrap();
            if i % 2 == 0 {
                assert_ne!(&*buf, b"poison", "expected in this test");
            }
            let _guard = PanicsWhenDropped;
        });
    }
    let (reactor, finished) = (ring.0.clone(), done.clone());
    // `block_on` of `run` gives up at a panic elsewhere, which here is the point.
    ring.run_until(|| finished.get() && reactor.facts().panics == VICTIMS && reactor.facts().sockets == 0);
    writer.join().unwrap();
    // The victims' connections are closed.
    for mut peer in peers {
        let mut buffer = vec![0; 1 << 16];
        while matches!(peer.read(&mut buffer), Ok(1..)) {}
        assert_ne!(peer.read(&mut buffer).err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
    }
    assert_eq!(ring.facts().buffers_in_use, 0);
    ring.sleep(1);
}

#[test]
fn a_task_that_never_rests_does_not_starve_the_others() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    let reactor = ring.0.clone();
    let restless = ring.spawn(async move {
        loop {
            reactor.yield_now().await;
        }
    });
    ring.run(async move {
        for _ in 0..100 {
            peer.write_all(b"x").unwrap();
            socket.send_one(Segment::Buf(recv(&socket).await.unwrap().unwrap()));
            flushed(&socket, 0).await.unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
    });
    ring.cancel(restless);
}

#[test]
fn a_thousand_idle_connections_cost_no_turn() {
    const SOCKETS: u64 = 1000;
    ringway::net::sys::raise_descriptor_limit();
    let ring = Ring::new();
    let mut peers = Vec::new();
    for _ in 0..SOCKETS {
        let (socket, peer) = ring.pair();
        peers.push(peer);
        let reactor = ring.0.clone();
        ring.spawn(async move {
            // As a connection waits: for bytes, with an idle timeout.
            let timer = Timer::new(&reactor);
            timer.arm_in(Duration::from_secs(3600));
            drop(recv(&socket).await);
        });
    }
    ring.sleep(100);
    let before = ring.facts();
    assert_eq!(before.sockets, SOCKETS);
    ring.sleep(2000);
    let after = ring.facts();
    let (turns, enters) = (after.turns - before.turns, after.enters - before.enters);
    // The test's own two timers are the only reason to turn: the wheel's levels bring an hour down in a few steps.
    assert!(turns <= 12 && enters <= 12, "{turns} turns, {enters} enters in 2 s");
    assert_eq!(after.buffers_in_use, 0, "an idle connection holds no buffer");
    drop(peers);
    ring.settle(|facts| facts.sockets == 0);
}

#[test]
fn a_cancelled_task_is_dropped_at_once_and_an_own_cancel_when_it_yields() {
    let ring = Ring::new();
    let dropped = Rc::new(Cell::new(0));
    struct Counts(Rc<Cell<u32>>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let guard = Counts(dropped.clone());
    let task = ring.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    ring.sleep(1);
    ring.cancel(task);
    assert_eq!(dropped.get(), 1);
    let (guard, reactor) = (Counts(dropped.clone()), ring.0.clone());
    ring.spawn(async move {
        let _guard = guard;
        reactor.cancel(reactor.current_task());
        reactor.yield_now().await;
        unreachable!("cancelled");
    });
    ring.sleep(1);
    assert_eq!((dropped.get(), ring.facts().panics), (2, 0));
}

/// Work that waits for an idle shard lets others go first, but not for ever.
#[test]
fn idle_is_when_nothing_is_left_to_do() {
    let ring = Ring::new();
    let is_busy = Rc::new(Cell::new(true));
    let (busy, reactor) = (is_busy.clone(), ring.0.clone());
    ring.spawn(async move {
        for _ in 0..100 {
            reactor.yield_now().await;
        }
        busy.set(false);
    });
    let (busy, reactor) = (is_busy.clone(), ring.0.clone());
    ring.run(async move {
        reactor.idle(Duration::from_secs(600)).await;
        assert!(!busy.get(), "another task had something to do");
    });
    is_busy.set(true);
    let (busy, reactor) = (is_busy.clone(), ring.0.clone());
    ring.spawn(async move {
        while busy.get() {
            reactor.yield_now().await;
        }
    });
    let (busy, reactor) = (is_busy, ring.0.clone());
    ring.run(async move {
        reactor.idle(Duration::from_millis(1)).await;
        assert!(busy.replace(false), "the shard was never idle");
    });
}
