//! One run: the shard, its clients and origins, what happens in the middle, and what must be true at the end.

use crate::balance::imbalances;
use crate::message::Ended;
use crate::plan::{Plan, Rng};
use crate::veil::{self, Veil};
use crate::{client, covered, h2_client, h2_origin, origin};
use ringway::net::Protocol;
use ringway::ring::{Facts, Reactor, TaskId};
use ringway::shard::MemoryShard;
use ringway_config::model::{Address, Config};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How an exchange came out for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin's response, all of it.
    Whole,
    /// The proxy's own response.
    Refused,
    /// The connection ended first.
    Broken(Ended),
}

#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Times the origin received the head, and the whole request.
    pub delivered: u64,
    pub completed: u64,
    /// `None`: the client never came to it.
    pub outcome: Option<Outcome>,
}

pub struct World {
    pub reactor: Rc<Reactor>,
    pub rng: Rng,
    /// Nothing goes wrong in this run, so every exchange must come out whole.
    pub calm: bool,
    /// A client's FIN takes back what it has asked for.
    pub fin_cancels: bool,
    /// What is spoken between client and proxy, and between proxy and origin.
    pub wires: (Protocol, Protocol),
    /// What lies over both.
    pub veil: Option<Veil>,
    pub plans: RefCell<Vec<Plan>>,
    pub ledger: RefCell<Vec<Entry>>,
    /// Tasks of clients that are not done.
    pub clients: Cell<usize>,
    pub origins: RefCell<Vec<TaskId>>,
    problems: RefCell<Vec<String>>,
}

impl World {
    pub fn problem(&self, what: String) {
        self.problems.borrow_mut().push(what);
    }

    /// Wait for up to `most` milliseconds.
    pub async fn pause(&self, most: u64) {
        self.reactor.sleep(Duration::from_micros(self.rng.below(most * 1000))).await;
    }
}

#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub exchanges: u64,
    pub whole: u64,
    pub refused: u64,
    pub broken: u64,
    pub unserved: u64,
    pub sent_twice: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.whole += other.whole;
        self.refused += other.refused;
        self.broken += other.broken;
        self.unserved += other.unserved;
        self.sent_twice += other.sent_twice;
    }
}

/// `variant` changes what a reload changes: routes, limits, and with it the pools.
fn config(variant: u64, fin_cancels: bool, upstream: Protocol, is_secure: bool) -> Config {
    let [certificate, key] = veil::files();
    let secure = |text: String| if is_secure { text } else { String::new() };
    let clients = secure(format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}"));
    let endpoints = secure(format!("tls = {{ sni = \"h\", ca = {certificate:?} }}"));
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:1\"\n{LOG}\n{clients}\n[listeners.http]\nvia = \"v{variant}\"\n\
         buffer_limit = \"{}KiB\"\nenable_trailers = {}\nstream_idle_timeout = \"60s\"\nclient_half_close = \"{}\"\nhttp2.max_concurrent_streams = 4\n\
         routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\", timeout = \"20s\" }} }}]\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\nconnect_timeout = \"{}s\"\n\
         protocol = \"{}\"\nhttp2.max_concurrent_streams = 4\n{endpoints}\n{LOGS}",
        [256, 16][variant as usize % 2],
        variant % 3 == 1,
        if fin_cancels { "cancel" } else { "serve" },
        5 + variant / 2,
        match upstream {
            _ if is_secure && fin_cancels => "auto",
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
        },
    );
    ringway_config::load_str("sim.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Each connection has a record.
const LOG: &str = "access_log = [{ format = \"%DURATION%\", otlp = { cluster = \"logs\" } }]";
const LOGS: &str = "[[clusters]]\nname = \"logs\"\nendpoints = [\"127.0.0.1:4\"]\n";

/// No cluster for requests: pools and their tasks must go.
fn empty_config() -> Config {
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:1\"\n{LOG}\n\
         http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 503 }} }}]\n{LOGS}"
    );
    ringway_config::load_str("sim.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Which of the four pairs of wires a seed is for. Apart from what makes a run calm.
pub fn pair(seed: u64) -> usize {
    (seed >> 2 & 3) as usize
}

/// Whether it runs over TLS.
fn is_secure(seed: u64) -> bool {
    (seed >> 5) % 3 == 2
}

/// # Errors
/// What went wrong, in sentences.
pub fn run(seed: u64) -> Result<Totals, Vec<String>> {
    let calm = seed.is_multiple_of(4);
    let fin_cancels = (seed >> 4).is_multiple_of(2);
    let wire = |bit: usize| if pair(seed) >> bit & 1 == 1 { Protocol::Http2 } else { Protocol::Http1 };
    let wires = (wire(0), wire(1));
    let mut shard = MemoryShard::new(empty_config(), seed);
    shard.apply(config(0, fin_cancels, wires.1, is_secure(seed)));
    let baseline = shard.reactor.facts();
    let world = Rc::new(World {
        reactor: shard.reactor.clone(),
        rng: Rng::new(seed),
        calm,
        fin_cancels,
        wires,
        veil: is_secure(seed).then(|| Veil::new(wires, &shard.reactor)),
        plans: RefCell::default(),
        ledger: RefCell::default(),
        clients: Cell::new(0),
        origins: RefCell::default(),
        problems: RefCell::default(),
    });
    for port in [2, 3] {
        let address = Address::Ip(([127, 0, 0, 1], port).into());
        let listener = shard.network.listen(address, 1 << world.rng.pick(&[10, 14, 16]));
        let task = match wires.1 {
            Protocol::Http1 => world.reactor.spawn(origin::listen(world.clone(), listener)),
            Protocol::Http2 => world.reactor.spawn(h2_origin::listen(world.clone(), listener)),
        };
        world.origins.borrow_mut().push(task);
    }
    play(&world, &mut shard);
    finish(&world, &mut shard, &baseline);
    shard.reactor.shut_down();
    let totals = judge(&world);
    let problems = world.problems.take();
    if problems.is_empty() { Ok(totals) } else { Err(problems) }
}

/// Clients come; in the middle the configuration changes or the shard drains.
fn play(world: &Rc<World>, shard: &mut MemoryShard) {
    let rng = &world.rng;
    let clients = 2 + rng.below(8);
    let event_at = if rng.one_in(2) { rng.below(clients) } else { u64::MAX };
    for number in 0..clients {
        let count = 1 + rng.below(5);
        let first = world.plans.borrow().len();
        for index in 0..count {
            world.plans.borrow_mut().push(Plan::new(rng, index + 1 == count, world.calm));
            world.ledger.borrow_mut().push(Entry::default());
        }
        let end = shard.connect(0, ([192, 0, 2, 1], 2000 + number as u16).into());
        let end = covered::of_client(world, end);
        end.set_read_limit(rng.pick(&[1, 100, 4096, usize::MAX, usize::MAX, usize::MAX]).max(if world.calm {
            4096
        } else {
            1
        }));
        let ids = (first..first + count as usize).collect();
        match world.wires.0 {
            Protocol::Http1 => client::start(world, end, ids),
            Protocol::Http2 => h2_client::start(world, end, ids),
        }
        pass(world, rng.below(120));
        if number == event_at {
            match world.calm || rng.one_in(2) {
                true => shard.apply(config(1 + rng.below(5), world.fin_cancels, world.wires.1, world.veil.is_some())),
                false => shard.drain(),
            }
        }
    }
    let reactor = world.reactor.clone();
    reactor.run_until(|| world.clients.get() == 0 || reactor.facts().panics > 0);
}

/// Let up to `milliseconds` pass.
fn pass(world: &Rc<World>, milliseconds: u64) {
    let reactor = world.reactor.clone();
    let done = Rc::new(Cell::new(false));
    let told = done.clone();
    world.reactor.spawn(async move {
        reactor.sleep(Duration::from_millis(milliseconds)).await;
        told.set(true);
        // As long as a task is ready, time stands still.
        reactor.yield_now().await;
    });
    world.reactor.run_until(|| done.get());
}

/// All clients leave, and nothing may be left of them.
fn finish(world: &Rc<World>, shard: &mut MemoryShard, baseline: &Facts) {
    pass(world, 3000);
    let open = shard.connections();
    if open > 0 {
        world.problem(format!("{open} downstream connections are left"));
    }
    world.origins.take().into_iter().for_each(|task| world.reactor.cancel(task));
    pass(world, 1000);
    shard.apply(empty_config());
    pass(world, 1000);
    // One more turn for the task of `pass` itself.
    world.reactor.run_until({
        let turns = Cell::new(0);
        move || turns.replace(turns.get() + 1) > 2
    });
    shard.trim();
    let facts = world.reactor.facts();
    for (what, now, before) in [
        // The listener has one, up to a drain.
        ("tasks", facts.tasks, baseline.tasks - u64::from(shard.listener(0).drain.is_draining())),
        ("timers", facts.timers, baseline.timers),
        ("buffers in use", facts.buffers_in_use, baseline.buffers_in_use),
        ("panics", facts.panics, 0),
    ] {
        if now != before {
            world.problem(format!("{what}: {now} at the end, {before} at the start"));
        }
    }
    let value = |name: &str| shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"));
    for gauge in [
        "http.ingress_http.downstream_cx_active",
        "http.ingress_http.downstream_cx_http1_active",
        "http.ingress_http.downstream_cx_http2_active",
        "http.ingress_http.downstream_rq_active",
        "cluster.app.upstream_cx_active",
        "cluster.app.upstream_rq_active",
        "cluster.app.upstream_rq_pending_active",
    ] {
        if value(gauge) != 0 {
            world.problem(format!("{gauge} is {} at the end", value(gauge)));
        }
    }
    for imbalance in imbalances(|name| value(&format!("cluster.app.{name}"))) {
        world.problem(imbalance);
    }
    let sum =
        |names: &[&str]| names.iter().map(|name| value(&format!("http.ingress_http.downstream_{name}"))).sum::<i64>();
    let (requests, ended) = (sum(&["rq_total"]), sum(&["rq_completed", "rq_rx_reset", "rq_tx_reset"]));
    if requests != ended {
        world.problem(format!("{requests} requests, but {ended} responses and resets"));
    }
    shard.flush_logs();
    let queues = shard.log_queues().take();
    let records: u64 =
        queues.iter().flat_map(|queue| std::iter::from_fn(|| queue.next())).map(|records| records.count()).sum();
    let accepted = value("listener.127.0.0.1_1.downstream_cx_total");
    if records != accepted as u64 {
        world.problem(format!("{accepted} connections were accepted, and the log has {records}"));
    }
    let (opened, destroyed) = (sum(&["cx_total"]), sum(&["cx_destroy"]));
    if opened != destroyed {
        world.problem(format!("{opened} connections, but {destroyed} ended"));
    }
}

fn judge(world: &World) -> Totals {
    let mut totals = Totals::default();
    let plans = world.plans.borrow();
    for (id, (plan, entry)) in plans.iter().zip(world.ledger.borrow().iter()).enumerate() {
        totals.exchanges += 1;
        totals.sent_twice += u64::from(entry.delivered > 1);
        match entry.outcome {
            Some(Outcome::Whole) => totals.whole += 1,
            Some(Outcome::Refused) => totals.refused += 1,
            Some(Outcome::Broken(_)) => totals.broken += 1,
            None => totals.unserved += 1,
        }
        // RFC 9110 section 9.2.2. A shared connection may be stale more than once in a row.
        let most = match (plan.method, world.wires.1) {
            ("POST", _) => 1,
            (_, Protocol::Http1) => 2,
            (_, Protocol::Http2) => 4,
        };
        if entry.delivered > most {
            world.problem(format!("exchange {id}: {} was delivered {} times", plan.method, entry.delivered));
        }
        if entry.outcome == Some(Outcome::Whole) && entry.delivered == 0 {
            world.problem(format!("exchange {id}: answered, but never delivered"));
        }
        if world.calm && (entry.outcome != Some(Outcome::Whole) || entry.delivered != 1 || entry.completed != 1) {
            world.problem(format!("exchange {id} of a calm run: {entry:?}, {plan:?}"));
        }
    }
    totals
}
