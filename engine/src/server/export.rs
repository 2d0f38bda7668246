//! The thread that sends what the process tells other systems about itself.

use super::control;
use super::worker::{Order, Wake, Work};
use crate::base::span::Span;
use crate::net::{Loopback, Network};
use crate::ring::host::{Host, Turns};
use crate::ring::{Reactor, ReactorOptions};
use crate::shard::Plan;
use crate::stats::Registry;
use crate::telemetry::Telemetry;
use ringway_config::model;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

/// How long it sends at the end of the process.
const FINISH_MAX: Duration = Duration::from_secs(1);

pub(super) struct Exports;

impl Work for Exports {
    const NAME: &'static str = "export";

    type Subject = Arc<Plan>;

    fn is_needed(config: &model::Config) -> bool {
        Telemetry::is_needed(config)
    }

    fn run(registry: Arc<Registry>, orders: Receiver<Order<Arc<Plan>>>, started: Sender<Result<Wake, String>>) {
        let reactor = match Reactor::new(&reactor_options()) {
            Ok(reactor) => reactor,
            Err(why) => {
                // The server waits for the answer.
                let _ = started.send(Err(why));
                return;
            }
        };
        let telemetry = Telemetry::new(&reactor, Network::Kernel(Loopback::AsSystem), registry);
        let unpark = reactor.unpark_handle();
        let _ = started.send(Ok(Wake::new(move || unpark.unpark())));
        Host::new(Self::NAME).run(&reactor, async |turns| {
            serve(&reactor, &telemetry, &orders, &turns).await;
            finish(&reactor, telemetry, &turns).await;
        });
        reactor.shut_down();
    }

    fn warn_cold(waited: Duration, _: &str) {
        tracing::warn!(
            target: "ringway::telemetry", waited = %Span(waited),
            "the thread that exports is busy and has not switched over to the configuration yet"
        );
    }
}

pub(super) fn reactor_options() -> ReactorOptions {
    control::reactor_options()
}

/// Until the orders are closed.
async fn serve(reactor: &Reactor, telemetry: &Telemetry, orders: &Receiver<Order<Arc<Plan>>>, turns: &Turns) {
    loop {
        reactor.turn();
        turns.next().await;
        if reactor.take_event() {
            telemetry.wake();
            loop {
                match orders.try_recv() {
                    Ok(Order { subject: plan, .. }) => telemetry.apply(&plan),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }
}

/// Sends what there is, as far as the time allows.
async fn finish(reactor: &Rc<Reactor>, telemetry: Telemetry, turns: &Turns) {
    let finished = Rc::new(Cell::new(false));
    let (sent, late, clock) = (finished.clone(), finished.clone(), reactor.clone());
    reactor.spawn(async move {
        telemetry.finish().await;
        sent.set(true);
    });
    reactor.spawn(async move {
        clock.sleep(FINISH_MAX).await;
        late.set(true);
    });
    while !finished.get() {
        reactor.turn();
        turns.next().await;
    }
}
