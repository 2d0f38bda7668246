//! The ring itself: one connection between two tasks of a real reactor. The in-memory pipes of exchange.rs leave out
//! what a turn of the loop, a receive and a send cost; this is that.

use ringway::ring::{Buf, Reactor, ReactorOptions, Segment, Socket, TaskId};
use std::cell::Cell;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

const MESSAGE: &[u8] = &[b'x'; 100];
/// Round trips before anything is measured.
const WARM_UP: u64 = 1000;

struct Pair {
    reactor: Rc<Reactor>,
    client: TaskId,
    wanted: Rc<Cell<u64>>,
    done: Rc<Cell<u64>>,
}

impl Pair {
    fn new() -> Self {
        let reactor = Reactor::new(&ReactorOptions::default()).expect("this machine has io_uring");
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        let far = Socket::new(&reactor, far.into());
        reactor.spawn(async move {
            while let Some(message) = received(&far).await {
                far.send_one(Segment::Buf(message));
            }
        });
        let near = Socket::new(&reactor, near.into());
        let (wanted, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let client = reactor.spawn(ask(near, wanted.clone(), done.clone()));
        let pair = Self { reactor, client, wanted, done };
        (0..WARM_UP).for_each(|_| pair.round_trip());
        pair
    }

    fn round_trip(&self) {
        self.wanted.set(self.wanted.get() + 1);
        self.reactor.wake(self.client);
        self.reactor.run_until(|| self.done.get() == self.wanted.get());
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.reactor.shut_down();
    }
}

async fn ask(socket: Socket, wanted: Rc<Cell<u64>>, done: Rc<Cell<u64>>) {
    loop {
        poll_fn(|_| if done == wanted { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }).await;
        socket.send_one(Segment::Static(MESSAGE));
        let answer = received(&socket).await.expect("the other end stays");
        assert_eq!(answer.len(), MESSAGE.len());
        done.set(done.get() + 1);
    }
}

async fn received(socket: &Socket) -> Option<Buf> {
    poll_fn(|_| socket.poll_recv()).await.expect("nothing resets")
}

/// A message there and back: two sends, two receives, and the turns between them.
pub fn round_trip() -> impl FnMut() {
    let pair = Pair::new();
    move || pair.round_trip()
}
