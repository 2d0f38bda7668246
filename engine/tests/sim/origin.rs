//! The simulation's origins: they check what they receive and answer as the exchange's plan says.

use crate::covered;
use crate::message::{Delimited, Ended, Head, Wire, write};
use crate::plan::{Fault, Framing, Plan, body, byte, frame};
use crate::world::World;
use ringway::net::{MemoryListener, PipeEnd};
use std::future::poll_fn;
use std::rc::Rc;

/// Serve until the world ends; its connections' tasks are the world's, too.
pub async fn listen(world: Rc<World>, listener: MemoryListener) {
    loop {
        let end = poll_fn(|_| listener.poll_accept(&world.reactor)).await;
        let end = Rc::new(covered::of_origin(&world, end));
        let task = world.reactor.spawn(serve(world.clone(), end));
        world.origins.borrow_mut().push(task);
    }
}

async fn serve(world: Rc<World>, end: Rc<PipeEnd>) {
    let mut wire = Wire::new(&world, &end);
    loop {
        let head = match wire.head().await {
            Ok(head) => head,
            Err(Ended::Malformed) => return world.problem("an origin received what is no request".into()),
            Err(_) => return,
        };
        let Some(id) = exchange_of(&head) else {
            return world.problem(format!("an origin received a request that nobody made: {}", head.start));
        };
        let plan = world.plans.borrow()[id].clone();
        if !head.start.starts_with(&format!("{} /x/{id} HTTP/1.1", plan.method)) {
            world.problem(format!("exchange {id}: request line {:?}", head.start));
        }
        world.ledger.borrow_mut()[id].delivered += 1;
        if !answer(&world, &end, &mut wire, &head, id, &plan).await {
            return;
        }
    }
}

fn exchange_of(head: &Head) -> Option<usize> {
    head.start.split(' ').nth(1)?.strip_prefix("/x/")?.parse().ok()
}

/// Read the request's rest and respond. False when the connection is over.
async fn answer(world: &Rc<World>, end: &Rc<PipeEnd>, wire: &mut Wire, head: &Head, id: usize, plan: &Plan) -> bool {
    let framing_fits = match (Delimited::of(head), plan.request) {
        (Some(Delimited::None), Framing::None) | (Some(Delimited::Chunked), Framing::Chunked(_)) => true,
        (Some(Delimited::Length(length)), Framing::Length(planned)) => length == planned,
        _ => false,
    };
    if !framing_fits {
        world.problem(format!("exchange {id}: the origin received another framing than {:?}", plan.request));
    }
    if let Fault::Early { close } = plan.fault {
        respond(world, end, id, plan).await;
        if close {
            return false;
        }
    } else if plan.expect {
        end.write(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let mut at = 0;
    let mut right = true;
    let delimited = Delimited::of(head).unwrap_or(Delimited::None);
    let read = wire
        .body(delimited, |bytes| {
            right &= bytes.iter().enumerate().all(|(i, b)| *b == byte(id, at + i, false));
            at += bytes.len();
        })
        .await;
    if !right {
        world.problem(format!("exchange {id}: the origin received another body"));
    }
    match read {
        Ok(()) if at != plan.request.len() => {
            world.problem(format!(
                "exchange {id}: a body of {at} bytes looks complete, {} were sent",
                plan.request.len()
            ));
        }
        Ok(()) => world.ledger.borrow_mut()[id].completed += 1,
        Err(Ended::Malformed) => world.problem(format!("exchange {id}: the origin received invalid chunks")),
        Err(_) => return false,
    }
    match plan.fault {
        Fault::Early { .. } => return true,
        Fault::Hangs => {
            let _ = wire.fill().await;
            return false;
        }
        _ => {}
    }
    world.pause(40).await;
    respond(world, end, id, plan).await
}

/// False when the connection is over.
async fn respond(world: &Rc<World>, end: &Rc<PipeEnd>, id: usize, plan: &Plan) -> bool {
    for _ in 0..plan.interim {
        write(world, end, format!("HTTP/1.1 103 Early Hints\r\nX-Id: {id}\r\n\r\n").as_bytes()).await;
    }
    let framing = match plan.response {
        Framing::None | Framing::UntilClose(_) => String::new(),
        Framing::Length(len) => format!("Content-Length: {len}\r\n"),
        Framing::Chunked(_) => "Transfer-Encoding: chunked\r\n".into(),
    };
    let close = if plan.closes { "Connection: close\r\n" } else { "" };
    let mut head = format!("HTTP/1.1 {} Status\r\nX-Id: {id}\r\n{framing}{close}\r\n", plan.status).into_bytes();
    let data = body(id, plan.response.len(), true);
    let mut wire = if plan.has_body() { frame(&world.rng, plan.response, &data) } else { Vec::new() };
    let until_close = plan.has_body() && matches!(plan.response, Framing::UntilClose(_));
    match plan.fault {
        Fault::NoResponse { reset } => return give_up(end, reset),
        Fault::CutHead { reset } => {
            head.truncate(1 + world.rng.below(head.len() as u64 - 2) as usize);
            write(world, end, &head).await;
            return give_up(end, reset);
        }
        Fault::CutBody { reset } if !wire.is_empty() => {
            wire.truncate(world.rng.below(wire.len() as u64) as usize);
            write(world, end, &head).await;
            write(world, end, &wire).await;
            // A close would be the end of a body that ends with the connection.
            return give_up(end, reset || until_close);
        }
        Fault::Garbage => {
            head.splice(9..10, *b"x");
            write(world, end, &head).await;
            return false;
        }
        _ => {}
    }
    head.extend_from_slice(&wire);
    // Behind a body that ends with the connection everything is body.
    if plan.fault == Fault::Excess && !until_close {
        // In one piece with the response's last byte: what comes after the next request cannot be told from its response.
        let last = head.split_off(head.len() - 1);
        write(world, end, &head).await;
        end.write(&[&last[..], b"HTTP/1.1 200 OK\r\nX-Id: 999999\r\nContent-Length: 4\r\n\r\nevil"].concat());
    } else {
        write(world, end, &head).await;
    }
    if plan.fault == Fault::SilentClose {
        world.pause(20).await;
    }
    !(until_close || plan.closes || plan.fault == Fault::SilentClose)
}

fn give_up(end: &PipeEnd, reset: bool) -> bool {
    if reset {
        end.reset();
    }
    false
}
