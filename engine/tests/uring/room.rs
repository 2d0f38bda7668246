//! Descriptors that are only kept for later use are given up where they are short: one for each task that waits for one.

use crate::support::{Ring, in_child, open_descriptors, set_descriptor_limit};
use ringway::ring::{Attempts, Reactor, Socket, Spare};
use std::cell::{Cell, RefCell};
use std::net::UdpSocket;
use std::rc::Rc;

struct Kept {
    sockets: RefCell<Vec<Rc<Socket>>>,
    given_up: Cell<usize>,
}

impl Spare for Kept {
    fn kept_since(&self) -> Option<u64> {
        (!self.sockets.borrow().is_empty()).then_some(0)
    }

    fn give_up(&self) {
        self.given_up.set(self.given_up.get() + 1);
        drop(self.sockets.borrow_mut().pop());
    }
}

async fn open(reactor: &Rc<Reactor>) -> Option<UdpSocket> {
    let mut attempts = Attempts::default();
    loop {
        match UdpSocket::bind("127.0.0.1:0") {
            Ok(socket) => return Some(socket),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE)),
        }
        if !reactor.make_room(&mut attempts).await {
            return None;
        }
    }
}

#[test]
fn each_task_without_a_descriptor_gets_one_and_no_more_is_given_up() {
    in_child("room::each_task_without_a_descriptor_gets_one_and_no_more_is_given_up", &[], || {
        // As many are kept as the tasks need, and some more.
        const TASKS: usize = 100;
        const MORE: usize = 3;
        let ring = Ring::new();
        let (sockets, _peers): (Vec<_>, Vec<_>) = (0..TASKS + MORE).map(|_| ring.pair()).unzip();
        let kept = Rc::new(Kept { sockets: RefCell::default(), given_up: Cell::new(0) });
        // A receive is armed on each, as on an idle connection: its end comes before the close.
        for socket in sockets.into_iter().map(Rc::new) {
            let receives = Rc::downgrade(&socket);
            kept.sockets.borrow_mut().push(socket);
            ring.spawn(async move {
                std::future::poll_fn(|_| match receives.upgrade() {
                    Some(socket) => socket.poll_recv().map(drop),
                    None => std::task::Poll::Ready(()),
                })
                .await;
            });
        }
        ring.sleep(1);
        let spare: Rc<dyn Spare> = kept.clone();
        ring.add_spare(Rc::downgrade(&spare));
        set_descriptor_limit(open_descriptors() as u64 + 64);
        let _rest: Vec<_> = std::iter::from_fn(|| UdpSocket::bind("127.0.0.1:0").ok()).collect();
        let (opened, done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        let start = || {
            let (reactor, opened, done) = (ring.0.clone(), opened.clone(), done.clone());
            ring.spawn(async move {
                let socket = open(&reactor).await;
                opened.borrow_mut().push(socket);
                done.set(done.get() + 1);
            });
        };
        (0..TASKS).for_each(|_| start());
        ring.finish(&done, TASKS);
        assert!(opened.borrow().iter().all(Option::is_some));
        assert_eq!((kept.given_up.get(), kept.sockets.borrow().len()), (TASKS, MORE));
        // Where nothing is left to give up, a task hears so.
        (0..=MORE).for_each(|_| start());
        ring.finish(&done, TASKS + MORE + 1);
        assert_eq!(opened.borrow().iter().flatten().count(), TASKS + MORE);
    });
}
