//! Threads that glommio hosts: they serve, they end, and background work comes in slices between the turns.

use crate::support::{PATIENCE, in_child, pair, recv};
use ringway::ring::host::{Host, Turns};
use ringway::ring::{Facts, Job, Progress, Reactor, ReactorOptions, Segment, Socket};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a turn ends although nothing happens, so that loops see what has changed in it.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Runs `serve` on a thread of its own and waits for its end.
fn on_host(name: &str, serve: impl AsyncFnOnce(Rc<Reactor>, Turns) + Send + 'static) {
    let body = move |host: &Host| {
        let reactor = Reactor::new(&ReactorOptions::default()).expect("these tests need io_uring");
        let of_task = reactor.clone();
        reactor.spawn(async move {
            loop {
                of_task.sleep(HEARTBEAT).await;
            }
        });
        host.run(&reactor, async |turns| serve(reactor.clone(), turns).await);
        reactor.shut_down();
    };
    let thread = Host::new(name).of_shard(None).start(body).expect("a thread");
    assert!(thread.join().is_ok(), "the thread panicked");
}

/// A job of `steps` steps of 100 µs each, which count in `done`.
fn busy(reactor: &Reactor, steps: u32, done: &Rc<Cell<u32>>) -> Job {
    let (done, mut left) = (done.clone(), steps);
    reactor.compute(move || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(100) {
            std::hint::spin_loop();
        }
        done.set(done.get() + 1);
        left -= 1;
        if left == 0 { Progress::Done } else { Progress::More }
    })
}

#[test]
fn glommio_hosts_the_thread_under_its_name() {
    on_host("hosted", async |reactor, turns| {
        assert_eq!(std::thread::current().name(), Some("hosted"));
        let may_lock = ringway::ring::memory::Resource::LockedMemory.limit().is_none_or(|bytes| bytes >= 8 << 20);
        assert!(turns.are_hosted() || !may_lock, "glommio does not start");
        let (ours, mut peer) = pair();
        let socket = Socket::new(&reactor, ours);
        let echoed = Rc::new(Cell::new(false));
        let done = echoed.clone();
        reactor.spawn(async move {
            socket.send_one(Segment::Buf(recv(&socket).await.expect("no error").expect("no end")));
            std::future::poll_fn(|_| socket.poll_flushed(0)).await.expect("it is taken");
            done.set(true);
        });
        peer.write_all(b"x").expect("loopback");
        while !echoed.get() {
            reactor.turn();
            turns.next().await;
        }
        peer.read_exact(&mut [0]).expect("loopback");
    });
}

/// 50 ms of jobs after a second of idleness: never more than one slice between two turns, whatever credit a scheduler gives
/// to a queue that has waited.
#[test]
fn one_slice_lies_between_two_turns() {
    const JOBS: u32 = 50;
    const STEPS: u32 = 10;
    on_host("slices", async |reactor, turns| {
        let (jobs, done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        let (for_task, count, of_task) = (jobs.clone(), done.clone(), reactor.clone());
        reactor.spawn(async move {
            of_task.sleep(Duration::from_secs(1)).await;
            *for_task.borrow_mut() = (0..JOBS).map(|_| busy(&of_task, STEPS, &count)).collect();
        });
        let mut last = reactor.facts();
        let (mut turns_with_slice, mut sleeps) = (0, 0);
        while done.get() < JOBS * STEPS {
            let jobs_before = !jobs.borrow().is_empty();
            reactor.turn();
            turns.next().await;
            let now = reactor.facts();
            assert_eq!(now.turns - last.turns, 1);
            assert!(now.slices - last.slices <= 1, "{} slices between two turns", now.slices - last.slices);
            turns_with_slice += now.slices - last.slices;
            sleeps += if jobs_before { now.sleeps - last.sleeps } else { 0 };
            last = now;
        }
        // Three steps of 100 µs are more than a slice.
        assert!(turns_with_slice >= u64::from(JOBS * STEPS / 3), "{turns_with_slice} slices");
        assert_eq!(sleeps, 0, "no sleep while jobs are queued");
        assert!(jobs.borrow().iter().all(Job::is_over));
    });
}

/// Background work neither keeps a socket waiting nor waits for it.
#[test]
fn traffic_and_jobs_share_the_thread() {
    on_host("shared", async |reactor, turns| {
        let (ours, mut peer) = pair();
        let socket = Socket::new(&reactor, ours);
        let echoes = Rc::new(Cell::new(0));
        let count = echoes.clone();
        reactor.spawn(async move {
            while let Ok(Some(buf)) = recv(&socket).await {
                socket.send_one(Segment::Buf(buf));
                count.set(count.get() + 1);
            }
        });
        let client = std::thread::spawn(move || {
            for _ in 0..100 {
                peer.write_all(b"x").expect("loopback");
                peer.read_exact(&mut [0]).expect("loopback");
            }
        });
        let done = Rc::new(Cell::new(0));
        let job = busy(&reactor, 1000, &done);
        while echoes.get() < 100 || !job.is_over() {
            reactor.turn();
            turns.next().await;
        }
        client.join().expect("all came back");
    });
}

#[test]
fn a_job_that_panics_is_counted_and_ends_alone() {
    on_host("panics", async |reactor, turns| {
        let done = Rc::new(Cell::new(0));
        let dies = reactor.compute(|| panic!("as the test wants it"));
        let lives = busy(&reactor, 5, &done);
        while !lives.is_over() {
            reactor.turn();
            turns.next().await;
        }
        assert!(dies.is_over());
        let Facts { panics, .. } = reactor.facts();
        assert_eq!((panics, done.get()), (1, 5));
    });
}

/// Without traffic and jobs the thread sleeps: glommio's own timers do not wake it.
#[test]
fn an_idle_host_sleeps() {
    on_host("idle", async |reactor, turns| {
        let over = Rc::new(Cell::new(false));
        let (done, of_task) = (over.clone(), reactor.clone());
        reactor.spawn(async move {
            of_task.sleep(Duration::from_secs(2)).await;
            done.set(true);
        });
        let before = reactor.facts().turns;
        while !over.get() {
            reactor.turn();
            turns.next().await;
        }
        let turns = reactor.facts().turns - before;
        assert!(turns <= 15, "{turns} turns in two idle seconds with 4 heartbeats");
    });
}

/// With too little locked memory for glommio the same loop runs on a plain thread.
#[test]
fn a_plain_thread_does_the_same() {
    in_child("host::a_plain_thread_does_the_same", &[], || {
        let limit = libc::rlimit { rlim_cur: 256 << 10, rlim_max: 256 << 10 };
        // SAFETY: the pointer is valid for the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
        on_host("plain", async |reactor, turns| {
            assert!(!turns.are_hosted());
            let done = Rc::new(Cell::new(0));
            let job = busy(&reactor, 50, &done);
            while !job.is_over() {
                let before = reactor.facts().slices;
                reactor.turn();
                turns.next().await;
                assert!(reactor.facts().slices - before <= 1);
            }
            assert_eq!(done.get(), 50);
        });
    });
}

/// What the log gets.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A step that takes far too long is reported, with the name of the queue; a second of sleep in traffic is not.
#[test]
fn stalls_of_the_background_queue_are_reported() {
    in_child("host::stalls_of_the_background_queue_are_reported", &[], || {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
        let said = lines.clone();
        on_host("stalls", async move |reactor, turns| {
            if !turns.are_hosted() {
                return;
            }
            let text = move || String::from_utf8_lossy(&said.0.lock().expect("no panic")).into_owned();
            // glommio's watch is a thread of its own, which may come too late where the machine is busy.
            let start = Instant::now();
            while !text().contains("task queue background went over-budget") {
                assert!(start.elapsed() < PATIENCE, "no stall was reported: {}", text());
                let stall = Instant::now();
                let job = reactor.compute(move || {
                    while stall.elapsed() < Duration::from_millis(100) {
                        std::hint::spin_loop();
                    }
                    Progress::Done
                });
                while !job.is_over() {
                    reactor.turn();
                    turns.next().await;
                }
            }
            assert!(!text().contains("task queue default"));
        });
    });
}
