//! TLS over the simulation's connections, where a run has it.

use crate::veil::Relay;
use crate::world::World;
use ringway::net::PipeEnd;
use rustls::Connection;
use std::future::poll_fn;
use std::rc::Rc;

/// The end of a client whose connection goes on in `wire`.
pub fn of_client(world: &Rc<World>, wire: PipeEnd) -> PipeEnd {
    match &world.veil {
        Some(veil) => cover(world, wire, veil.client()),
        None => wire,
    }
}

/// The same of an origin.
pub fn of_origin(world: &Rc<World>, wire: PipeEnd) -> PipeEnd {
    match &world.veil {
        Some(veil) => cover(world, wire, veil.server()),
        None => wire,
    }
}

fn cover(world: &Rc<World>, wire: PipeEnd, tls: Connection) -> PipeEnd {
    if !world.calm {
        // Records come in any pieces.
        wire.set_write_limit(world.rng.pick(&[1, 100, 4096, usize::MAX, usize::MAX]));
    }
    let (mut relay, near) = Relay::new(&world.reactor, wire, tls);
    let task = world.reactor.spawn(async move { poll_fn(|_| relay.poll()).await });
    world.origins.borrow_mut().push(task);
    near
}
