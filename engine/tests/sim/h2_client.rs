//! The simulation's clients that speak HTTP/2: all exchanges of a connection at a time, some of which are given up.

use crate::h2::{self, Head};
use crate::message::Ended;
use crate::plan::{Framing, Plan, body, byte};
use crate::streams::Streams;
use crate::world::{Outcome, World};
use ringway::net::PipeEnd;
use ringway::ring::Timer;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Run the exchanges `ids` on a connection.
pub fn start(world: &Rc<World>, end: PipeEnd, ids: Vec<usize>) {
    let streams = Streams::new(world, end, true);
    let reactor = &world.reactor;
    reactor.spawn(streams.clone().write());
    reactor.spawn(streams.clone().read(|_| {}));
    world.clients.set(world.clients.get() + 1);
    reactor.spawn(run(streams.clone(), ids));
    if !world.calm && world.rng.one_in(6) {
        let (world, streams) = (world.clone(), Rc::downgrade(&streams));
        reactor.spawn(async move {
            world.pause(400).await;
            let Some(streams) = streams.upgrade() else { return };
            match world.rng.one_in(2) {
                true => streams.end.reset(),
                false => streams.end.shutdown_write(),
            }
        });
    }
}

async fn run(streams: Rc<Streams>, ids: Vec<usize>) {
    let world = streams.world.clone();
    let left = Rc::new(Cell::new(0));
    let mut id = 0;
    for exchange in ids {
        // A calm client keeps to the limit of streams.
        while world.calm && left.get() >= 4 {
            world.reactor.sleep(Duration::from_millis(5)).await;
        }
        id = h2::next_id(id);
        if streams.over.get() || id > streams.last_served.get() {
            break;
        }
        // HEADERS go out in the order of their streams.
        let plan = world.plans.borrow()[exchange].clone();
        streams.open(id);
        streams.send(&head(exchange, &plan, world.veil.is_some()).frame(id));
        let both = Rc::new(Running::new(&left));
        world.reactor.spawn(upload(streams.clone(), id, exchange, plan.clone(), both.clone()));
        world.reactor.spawn(download(streams.clone(), id, exchange, plan, both));
        if !world.calm && world.rng.one_in(12) {
            world.reactor.spawn(give_up(streams.clone(), id));
        }
        if world.rng.one_in(2) {
            world.pause(60).await;
        }
    }
    while left.get() > 0 {
        world.reactor.sleep(Duration::from_millis(5)).await;
    }
    streams.end.shutdown_write();
    streams.finish();
    world.clients.set(world.clients.get() - 1);
}

/// One exchange, until both of its tasks have ended.
struct Running(Rc<Cell<usize>>);

impl Running {
    fn new(left: &Rc<Cell<usize>>) -> Self {
        left.set(left.get() + 1);
        Self(left.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn head(exchange: usize, plan: &Plan, is_secure: bool) -> Head {
    let mut fields = Vec::new();
    if let Framing::Length(len) = plan.request {
        fields.push(("content-length".to_owned(), len.to_string()));
    }
    if plan.expect {
        fields.push(("expect".to_owned(), "100-continue".to_owned()));
    }
    let (method, target, authority) = (plan.method.into(), format!("/x/{exchange}"), "h".into());
    let scheme = if is_secure { "https".into() } else { String::new() };
    Head { ends: plan.request == Framing::None, method, target, authority, scheme, fields, ..Head::default() }
}

async fn give_up(streams: Rc<Streams>, id: u32) {
    streams.world.pause(300).await;
    let over = streams.over.get() || streams.streams.borrow()[&id].ended;
    if !over {
        streams.reset(id, 8);
    }
}

async fn upload(streams: Rc<Streams>, id: u32, exchange: usize, plan: Plan, _running: Rc<Running>) {
    let world = &streams.world;
    if plan.request != Framing::None {
        if plan.expect && world.rng.one_in(2) {
            let timer = Timer::new(&world.reactor);
            timer.arm_in(Duration::from_secs(1));
            let invited = || streams.over.get() || streams.streams.borrow()[&id].invited;
            poll_fn(|_| if timer.fired() || invited() { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        // What becomes of it shows in the response.
        let _ = streams.send_body(id, &body(exchange, plan.request.len(), false), true).await;
    }
}

async fn download(streams: Rc<Streams>, id: u32, exchange: usize, plan: Plan, _running: Rc<Running>) {
    let world = &streams.world;
    let outcome = match read_response(&streams, id, exchange, &plan).await {
        Ok(outcome) => Some(outcome),
        Err(Ended::Timeout) => {
            world.problem(format!("exchange {exchange}: no end came, {plan:?}"));
            Some(Outcome::Broken(Ended::Timeout))
        }
        // GOAWAY left it out.
        Err(Ended::Fin) => None,
        Err(_) if streams.streams.borrow()[&id].refused => Some(Outcome::Refused),
        Err(ended) => Some(Outcome::Broken(ended)),
    };
    world.ledger.borrow_mut()[exchange].outcome = outcome;
}

async fn read_response(streams: &Rc<Streams>, id: u32, exchange: usize, plan: &Plan) -> Result<Outcome, Ended> {
    let world = &streams.world;
    let problem = |what: &str| world.problem(format!("exchange {exchange}: {what}"));
    let is_own = |head: &Head| head.field("x-id").map(|other| other == exchange.to_string());
    let head = loop {
        let head = streams.head(id).await?;
        if head.status == 100 || head.status >= 200 {
            streams.streams.borrow_mut().get_mut(&id).expect("it is open").invited = true;
        }
        if head.status >= 200 {
            break head;
        }
        if head.status != 100 && is_own(&head) != Some(true) {
            problem("another's interim response");
        }
    };
    let own = is_own(&head);
    match own {
        Some(true) if head.status == plan.status => {}
        None if matches!(head.status, 400 | 408 | 502..=504) => {}
        _ => problem(&format!("another's response: {head:?}")),
    }
    let (mut at, mut right) = (0, true);
    streams
        .body(id, |bytes| {
            right &= own.is_none() || bytes.iter().enumerate().all(|(i, b)| *b == byte(exchange, at + i, true));
            at += bytes.len();
        })
        .await?;
    if !right {
        problem("the response has another body");
    }
    let expected = if plan.has_body() { plan.response.len() } else { 0 };
    if own.is_some() && at != expected {
        problem(&format!("a truncated response looks complete: {at} of {expected} bytes, {plan:?}"));
    }
    Ok(if own.is_some() { Outcome::Whole } else { Outcome::Refused })
}
