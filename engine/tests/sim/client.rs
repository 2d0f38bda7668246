//! The simulation's clients: one writes while the other reads, and a third may break the connection at any time.

use crate::message::{Delimited, Ended, Head, Wire, write};
use crate::plan::{Plan, body, byte, frame};
use crate::world::{Outcome, World};
use ringway::net::PipeEnd;
use ringway::ring::TaskId;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What the writer and the reader of one connection know of each other.
struct Connection {
    world: Rc<World>,
    end: Rc<PipeEnd>,
    ids: Vec<usize>,
    /// Exchanges answered, and those with a 100.
    answered: Cell<usize>,
    continued: Cell<usize>,
    /// Requests whose first byte was written.
    begun: Cell<usize>,
    /// No more will be answered.
    over: Cell<bool>,
    /// This client broke the connection: whatever comes of it is its own fault.
    misbehaved: Cell<bool>,
    writer: Cell<TaskId>,
}

/// Run the exchanges `ids` on a connection.
pub fn start(world: &Rc<World>, end: PipeEnd, ids: Vec<usize>) {
    let connection = Rc::new(Connection {
        world: world.clone(),
        end: Rc::new(end),
        ids,
        answered: Cell::new(0),
        continued: Cell::new(0),
        begun: Cell::new(0),
        over: Cell::new(false),
        misbehaved: Cell::new(false),
        writer: Cell::new(TaskId::NONE),
    });
    world.clients.set(world.clients.get() + 2);
    world.reactor.spawn(write_requests(connection.clone()));
    world.reactor.spawn(read_responses(connection.clone()));
    if !world.calm && world.rng.one_in(6) {
        let connection = Rc::downgrade(&connection);
        let world = world.clone();
        world.reactor.clone().spawn(async move {
            world.pause(400).await;
            let Some(connection) = connection.upgrade() else { return };
            connection.misbehaved.set(true);
            match world.rng.one_in(2) {
                true => connection.end.reset(),
                false => connection.end.shutdown_write(),
            }
            connection.finish();
        });
    }
}

impl Connection {
    /// Nothing more can come.
    fn finish(&self) {
        self.over.set(true);
        self.world.reactor.wake(self.writer.get());
    }

    /// Wait until `done`, but not longer than `most`, and not when the connection is over.
    async fn wait(&self, most: Duration, done: impl Fn() -> bool) {
        let timer = ringway::ring::Timer::new(&self.world.reactor);
        timer.arm_in(most);
        poll_fn(|_| {
            self.writer.set(self.world.reactor.current_task());
            if done() || self.over.get() || timer.fired() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

async fn write_requests(connection: Rc<Connection>) {
    let world = connection.world.clone();
    let pipelined = world.rng.one_in(3);
    for (index, id) in connection.ids.iter().copied().enumerate() {
        if !pipelined {
            connection.wait(Duration::from_secs(1000), || connection.answered.get() >= index).await;
        }
        if connection.over.get() {
            break;
        }
        let plan = world.plans.borrow()[id].clone();
        connection.begun.set(index + 1);
        let (head, wire) = request(&world, id, &plan);
        if plan.expect && world.rng.one_in(2) {
            write(&world, &connection.end, &head).await;
            let seen = || connection.continued.get() > index || connection.answered.get() > index;
            connection.wait(Duration::from_secs(1), seen).await;
            if connection.answered.get() > index {
                break;
            }
            write(&world, &connection.end, &wire).await;
        } else {
            write(&world, &connection.end, &[head, wire].concat()).await;
        }
        if world.rng.one_in(3) {
            world.pause(50).await;
        }
    }
    // A client that has said everything may say so, and still wants its answers. Where that takes its requests back, it may
    // lose them, and then not all can be whole.
    let may_close = !(world.calm && world.fin_cancels);
    if may_close && !connection.over.get() && connection.begun.get() == connection.ids.len() && world.rng.one_in(3) {
        connection.end.shutdown_write();
    }
    world.clients.set(world.clients.get() - 1);
}

fn request(world: &World, id: usize, plan: &Plan) -> (Vec<u8>, Vec<u8>) {
    use crate::plan::Framing;
    let version = if plan.http10 { "1.0" } else { "1.1" };
    let framing = match plan.request {
        Framing::Length(len) => format!("Content-Length: {len}\r\n"),
        Framing::Chunked(_) => "Transfer-Encoding: chunked\r\n".into(),
        _ => String::new(),
    };
    let expect = if plan.expect { "Expect: 100-continue\r\n" } else { "" };
    let option = match (plan.keep_alive, plan.http10) {
        (false, false) => "Connection: close\r\n",
        (true, true) => "Connection: keep-alive\r\n",
        _ => "",
    };
    let head = format!("{} /x/{id} HTTP/{version}\r\nHost: h\r\n{expect}{option}{framing}\r\n", plan.method);
    (head.into_bytes(), frame(&world.rng, plan.request, &body(id, plan.request.len(), false)))
}

async fn read_responses(connection: Rc<Connection>) {
    let world = connection.world.clone();
    let mut wire = Wire::new(&world, &connection.end);
    for (index, id) in connection.ids.iter().copied().enumerate() {
        let (outcome, goes_on) = read_response(&connection, &mut wire, index, id).await;
        if matches!(outcome, Outcome::Broken(Ended::Timeout)) {
            world.problem(format!("exchange {id}: no end came, {:?}", world.plans.borrow()[id]));
        }
        world.ledger.borrow_mut()[id].outcome = Some(outcome);
        if !goes_on {
            break;
        }
        connection.answered.set(index + 1);
        world.reactor.wake(connection.writer.get());
    }
    connection.finish();
    world.clients.set(world.clients.get() - 1);
}

/// The head of the final response; interim ones are looked at on the way.
async fn final_head(
    connection: &Connection,
    wire: &mut Wire,
    index: usize,
    id: usize,
    plan: &Plan,
) -> Result<Head, Ended> {
    let world = &connection.world;
    let problem = |what: &str| world.problem(format!("exchange {id}: {what}"));
    loop {
        let head = wire.head().await.inspect_err(|ended| {
            if *ended == Ended::Malformed {
                problem("the client received what is no response");
            }
        })?;
        if !head.start.starts_with("HTTP/1.1 1") {
            return Ok(head);
        }
        if plan.http10 {
            problem("an interim response to HTTP/1.0");
        }
        if head.start.starts_with("HTTP/1.1 100 ") {
            connection.continued.set(index + 1);
            world.reactor.wake(connection.writer.get());
        } else if head.field("x-id") != Some(&id.to_string()) {
            problem("another's interim response");
        }
    }
}

/// How the exchange came out, and whether the connection can carry another.
async fn read_response(connection: &Connection, wire: &mut Wire, index: usize, id: usize) -> (Outcome, bool) {
    let world = &connection.world;
    let plan = world.plans.borrow()[id].clone();
    let problem = |what: &str| world.problem(format!("exchange {id}: {what}"));
    let head = match final_head(connection, wire, index, id, &plan).await {
        Ok(head) => head,
        Err(ended) => return (Outcome::Broken(ended), false),
    };
    if connection.begun.get() <= index && !connection.misbehaved.get() {
        problem("a response came before the request");
    }
    let status: u16 = head.start.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    let own = head.field("x-id").map(|other| other == id.to_string());
    match own {
        Some(true) if status == plan.status => {}
        None if matches!(status, 400 | 408 | 502..=504) => {}
        _ => problem(&format!("another's response: {:?}, x-id {:?}", head.start, head.field("x-id"))),
    }
    let closes = head.field("connection") == Some("close");
    let delimited = match Delimited::of(&head) {
        _ if plan.method == "HEAD" || matches!(status, 204 | 304) => Delimited::None,
        Some(Delimited::None) if closes => Delimited::UntilClose,
        Some(delimited @ (Delimited::Length(_) | Delimited::Chunked)) => delimited,
        _ => {
            problem("a response without framing");
            return (Outcome::Broken(Ended::Malformed), false);
        }
    };
    if delimited == Delimited::Chunked && plan.http10 {
        problem("chunks to HTTP/1.0");
    }
    let mut at = 0;
    let mut right = true;
    let read = wire
        .body(delimited, |bytes| {
            right &= own.is_none() || bytes.iter().enumerate().all(|(i, b)| *b == byte(id, at + i, true));
            at += bytes.len();
        })
        .await;
    if !right {
        problem("the response has another body");
    }
    if let Err(ended) = read {
        return (Outcome::Broken(ended), false);
    }
    if own.is_some() && plan.has_body() && at != plan.response.len() {
        problem(&format!("a truncated response looks complete: {at} of {} bytes, {plan:?}", plan.response.len()));
    }
    if closes {
        expect_end(connection, wire, id, index, delimited).await;
    }
    let whole = own.is_some();
    (if whole { Outcome::Whole } else { Outcome::Refused }, !closes)
}

/// After `connection: close` comes the end, and nothing else.
async fn expect_end(connection: &Connection, wire: &mut Wire, id: usize, index: usize, delimited: Delimited) {
    if delimited == Delimited::UntilClose {
        return;
    }
    let ended = wire.fill().await;
    // What is sent behind a request is read away for a while; more of it may turn the end into a reset (RFC 9112 section 9.6).
    let sends_on = connection.begun.get() > index + 1 && ended == Err(Ended::Reset);
    let clean = ended == Err(Ended::Fin) || sends_on || connection.misbehaved.get();
    if !clean || !wire.rest().is_empty() {
        connection.world.problem(format!("exchange {id}: after close came {ended:?} and {} bytes", wire.rest().len()));
    }
}
