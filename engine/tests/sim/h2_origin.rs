//! The simulation's origins that speak HTTP/2: each exchange is answered by a task of its own.

use crate::covered;
use crate::h2::{self, Head};
use crate::plan::{Fault, Framing, Plan, body, byte};
use crate::streams::Streams;
use crate::world::World;
use ringway::net::MemoryListener;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

/// Serve until the world ends; its connections' tasks are the world's, too.
pub async fn listen(world: Rc<World>, listener: MemoryListener) {
    loop {
        let end = poll_fn(|_| listener.poll_accept(&world.reactor)).await;
        let end = covered::of_origin(&world, end);
        let streams = Streams::new(&world, end, false);
        let last = Rc::new(Cell::new(u32::MAX));
        let begin = {
            let (world, streams) = (world.clone(), streams.clone());
            move |id| {
                // GOAWAY has said that it is not served.
                if id <= last.get() {
                    let task = world.reactor.spawn(serve(streams.clone(), id, last.clone()));
                    world.origins.borrow_mut().push(task);
                }
            }
        };
        let tasks = [world.reactor.spawn(streams.clone().write()), world.reactor.spawn(streams.clone().read(begin))];
        world.origins.borrow_mut().extend(tasks);
    }
}

async fn serve(streams: Rc<Streams>, id: u32, last: Rc<Cell<u32>>) {
    let world = streams.world.clone();
    let Ok(head) = streams.head(id).await else { return };
    let Some(exchange) = head.target.strip_prefix("/x/").and_then(|number| number.parse::<usize>().ok()) else {
        return world.problem(format!("an origin received a request that was not made: {head:?}"));
    };
    let plan = world.plans.borrow()[exchange].clone();
    let scheme = if world.veil.is_some() { "https" } else { "" };
    if head.method != plan.method || head.scheme != scheme {
        world.problem(format!("exchange {exchange}: {head:?}"));
    }
    if !world.calm && world.rng.one_in(12) {
        return streams.send(&h2::refuse(id));
    }
    world.ledger.borrow_mut()[exchange].delivered += 1;
    let announced = head.field("content-length").map(|length| length.parse::<usize>());
    let fits = match plan.request {
        Framing::None => head.ends && announced.is_none(),
        Framing::Length(len) => announced == Some(Ok(len)),
        Framing::Chunked(_) | Framing::UntilClose(_) => announced.is_none() && !head.ends,
    };
    if !fits {
        world.problem(format!("exchange {exchange}: the origin received another framing than {:?}", plan.request));
    }
    answer(&streams, id, exchange, &plan).await;
    if plan.closes && last.get() == u32::MAX {
        // A calm origin leaves out nothing that is under way.
        let highest = streams.streams.borrow().keys().last().copied().unwrap_or_default();
        last.set(if world.calm { h2::LAST } else { highest });
        streams.send(&h2::go_away(last.get()));
    }
}

/// Read the request's rest and respond.
async fn answer(streams: &Rc<Streams>, id: u32, exchange: usize, plan: &Plan) {
    let world = &streams.world;
    if let Fault::Early { close } = plan.fault {
        respond(streams, id, exchange, plan).await;
        if close {
            return streams.reset(id, 0);
        }
    } else if plan.expect {
        let head = Head { ends: true, status: 100, ..Head::default() };
        streams.send(&head.frame(id));
    }
    let (mut at, mut right) = (0, true);
    let read = streams.body(id, |bytes| {
        right &= bytes.iter().enumerate().all(|(i, b)| *b == byte(exchange, at + i, false));
        at += bytes.len();
    });
    let read = read.await;
    if !right {
        world.problem(format!("exchange {exchange}: the origin received another body"));
    }
    if read.is_err() {
        return;
    }
    if at != plan.request.len() {
        world.problem(format!("exchange {exchange}: a body of {at} bytes looks complete, {plan:?}"));
    }
    world.ledger.borrow_mut()[exchange].completed += 1;
    if !matches!(plan.fault, Fault::Early { .. } | Fault::Hangs) {
        world.pause(40).await;
        respond(streams, id, exchange, plan).await;
    }
}

async fn respond(streams: &Rc<Streams>, id: u32, exchange: usize, plan: &Plan) {
    let world = &streams.world;
    let mut fields = vec![("x-id".to_owned(), exchange.to_string())];
    for _ in 0..plan.interim {
        let head = Head { ends: true, status: 103, fields: fields.clone(), ..Head::default() };
        streams.send(&head.frame(id));
    }
    if let Framing::Length(len) = plan.response {
        fields.push(("content-length".to_owned(), len.to_string()));
    }
    let data = if plan.has_body() { body(exchange, plan.response.len(), true) } else { Vec::new() };
    let head = Head { ends: !plan.has_body(), status: plan.status, fields, ..Head::default() };
    let frame = head.frame(id);
    match plan.fault {
        Fault::NoResponse { reset: true } => return streams.reset(id, 2),
        Fault::NoResponse { reset: false } => return close(streams),
        Fault::CutHead { reset } => {
            streams.send(&frame[..1 + world.rng.below(frame.len() as u64 - 2) as usize]);
            world.reactor.yield_now().await;
            // Nothing can follow half a frame.
            return if reset { streams.end.reset() } else { close(streams) };
        }
        Fault::CutBody { reset } if plan.has_body() && !data.is_empty() => {
            streams.send(&frame);
            let part = &data[..world.rng.below(data.len() as u64) as usize];
            let _ = streams.send_body(id, part, false).await;
            return if reset { streams.reset(id, 2) } else { close(streams) };
        }
        Fault::Garbage => return streams.send(&[99; 12]),
        _ => {}
    }
    streams.send(&frame);
    if !head.ends && streams.send_body(id, &data, true).await.is_err() {
        return;
    }
    match plan.fault {
        Fault::Excess => streams.send(&h2::data(id, b"evil")),
        Fault::SilentClose => {
            world.pause(20).await;
            close(streams);
        }
        _ => {}
    }
}

/// End the connection as it is.
fn close(streams: &Streams) {
    streams.end.shutdown_write();
    streams.finish();
}
