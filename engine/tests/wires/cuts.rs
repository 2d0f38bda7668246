//! One exchange that is cut at each of its moments in turn: its bytes come a few at a time, and after each of these pieces comes
//! everything that a client or an endpoint may do to it. It comes out whole, or visibly fails, or is asked for again; the next
//! one is served, and nothing of it is left.

use crate::peer::{End, Wire};
use crate::support::{Bench, Got, Pair, Sent};
use ringway::net::PipeEnd;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    ClientResets,
    ClientCloses,
    ClientBreaks,
    ClientHalfCloses,
    ClientGoesAway,
    OriginResets,
    OriginRefuses,
    /// With a response that it may go on with.
    OriginGoesAway,
    /// It says that it has not looked at the request.
    OriginGoesAwayWithout,
    OriginCloses,
    OriginBreaks,
}

use Cut::{
    ClientBreaks, ClientCloses, ClientGoesAway, ClientHalfCloses, ClientResets, OriginBreaks, OriginCloses,
    OriginGoesAway, OriginGoesAwayWithout, OriginRefuses, OriginResets,
};

const CUTS: [Cut; 11] = [
    ClientResets,
    ClientCloses,
    ClientBreaks,
    ClientHalfCloses,
    ClientGoesAway,
    OriginResets,
    OriginRefuses,
    OriginGoesAway,
    OriginGoesAwayWithout,
    OriginCloses,
    OriginBreaks,
];

impl Cut {
    fn is_of_client(self) -> bool {
        matches!(self, ClientResets | ClientCloses | ClientBreaks | ClientHalfCloses | ClientGoesAway)
    }

    /// HTTP/1 has no such thing.
    fn needs_streams(self) -> bool {
        matches!(
            self,
            ClientResets | ClientGoesAway | OriginResets | OriginRefuses | OriginGoesAway | OriginGoesAwayWithout
        )
    }

    fn is_possible(self, pair: Pair) -> bool {
        let wire = if self.is_of_client() { pair.0 } else { pair.1 };
        wire == Wire::H2 || !self.needs_streams()
    }
}

/// Pieces of the request's body, and of the response's.
const PARTS: usize = 2;
const REQUEST: &[u8] = b"asked";
const RESPONSE: &[u8] = b"answered";
const LENGTH: usize = PARTS * RESPONSE.len();

/// Bytes that an end sends in one turn.
const PIECE: usize = 13;

/// How the exchange goes.
#[derive(Clone, Copy, Debug)]
struct Way {
    method: &'static str,
    /// The response comes before the request's end.
    is_early: bool,
    has_lengths: bool,
}

const WAYS: [Way; 3] = [
    Way { method: "GET", is_early: false, has_lengths: true },
    Way { method: "POST", is_early: false, has_lengths: false },
    Way { method: "PUT", is_early: true, has_lengths: true },
];

/// An exchange on its way. Both ends do one thing in each turn.
struct Run {
    bench: Bench,
    way: Way,
    sent: Option<Sent>,
    /// What the client has done, and the origin.
    up: usize,
    got: Option<Got>,
    down: usize,
    is_cut: bool,
}

impl Run {
    fn new(pair: Pair, way: Way) -> Self {
        let mut bench = Bench::new(pair);
        bench.client();
        bench.clients[0].trickle = Some(PIECE);
        Self { bench, way, sent: None, up: 0, got: None, down: 0, is_cut: false }
    }

    fn act(&mut self) {
        self.ask();
        if let Some(got) = self.bench.try_arrived() {
            // The first one, or another try.
            (self.got, self.down) = (Some(got), 0);
            self.bench.origins[got.0].trickle = Some(PIECE);
        }
        if let Some(got) = self.got {
            self.answer(got);
        }
    }

    fn ask(&mut self) {
        let client = &mut self.bench.clients[0];
        let has_body = self.way.method != "GET";
        match (self.up, self.sent) {
            (0, _) => {
                let length = if has_body { PARTS * REQUEST.len() } else { 0 };
                let length = (self.way.has_lengths || !has_body).then_some(length);
                self.sent = Some(Sent(0, client.request(self.way.method, "/cut", &Vec::new(), length)));
            }
            (1..=PARTS, Some(sent)) if has_body => client.data(sent.1, REQUEST),
            (3, Some(sent)) if has_body => client.end(sent.1, &Vec::new()),
            _ => {}
        }
        self.up += 1;
    }

    fn answer(&mut self, got: Got) {
        let is_whole = self.bench.request(got).end == End::Whole;
        let origin = &mut self.bench.origins[got.0];
        match self.down {
            0 if !(is_whole || self.way.is_early) => return,
            0 => origin.response(got.1, 200, &Vec::new(), self.way.has_lengths.then_some(LENGTH)),
            1..=PARTS => origin.data(got.1, RESPONSE),
            3 => origin.end(got.1, &Vec::new()),
            _ => return,
        }
        self.down += 1;
    }

    fn cut(&mut self, cut: Cut) {
        self.is_cut = true;
        let (Bench { clients, origins, .. }, sent) = (&mut self.bench, self.sent);
        let client = &mut clients[0];
        match (cut, self.got) {
            (ClientResets, _) => sent.iter().for_each(|sent| client.reset_stream(sent.1, 8)),
            (ClientCloses, _) => client.hang_up(),
            (ClientBreaks, _) => client.reset(),
            (ClientHalfCloses, _) => client.pipe.iter().for_each(PipeEnd::shutdown_write),
            (ClientGoesAway, _) => client.go_away(0),
            (OriginResets, Some(got)) => origins[got.0].reset_stream(got.1, 2),
            (OriginRefuses, Some(got)) => origins[got.0].refuse(got.1),
            (OriginGoesAway, Some(got)) => {
                let id = origins[got.0].exchanges[got.1].id;
                origins[got.0].go_away(id);
            }
            (OriginGoesAwayWithout, Some(got)) => origins[got.0].go_away(0),
            (OriginCloses | OriginBreaks, _) => {
                for origin in origins {
                    if cut == OriginCloses { origin.hang_up() } else { origin.reset() }
                }
            }
            (_, None) => self.is_cut = false,
        }
        // What is given up is not gone on with.
        let is_given_up =
            matches!(cut, OriginResets | OriginRefuses | OriginGoesAwayWithout | OriginCloses | OriginBreaks);
        if self.is_cut && is_given_up {
            self.got = None;
        }
        if self.is_cut && matches!(cut, ClientResets | ClientHalfCloses) {
            self.up = usize::MAX / 2;
        }
    }

    /// Turn by turn, with time standing still, up to this turn, or until the client has its response. The turns it took.
    fn play_until(&mut self, at: usize) -> usize {
        let (stands, reactor) = (Rc::new(Cell::new(true)), self.bench.shard.reactor.clone());
        let goes_on = stands.clone();
        self.bench.shard.reactor.spawn(async move {
            while goes_on.get() {
                reactor.yield_now().await;
            }
        });
        let mut turns = 0;
        while turns < at && !self.has_ended() {
            self.act();
            self.bench.turn();
            turns += 1;
        }
        stands.set(false);
        turns
    }

    /// What comes after the cut.
    fn finish(&mut self) {
        let Bench { clients, origins, .. } = &mut self.bench;
        clients.iter_mut().chain(origins).for_each(|end| end.trickle = Some(usize::MAX));
        for _ in 0..12 {
            self.act();
            self.bench.settle();
        }
        self.bench.advance(Duration::from_secs(2));
    }

    fn has_ended(&self) -> bool {
        self.sent.is_some_and(|sent| self.bench.seen(sent).end == End::Whole)
    }

    /// What came of it is true, and the proxy goes on.
    #[track_caller]
    fn judge(mut self, cut: Cut, at: usize, had_answered: bool, was_whole: bool) {
        let what = format!("{cut:?} at turn {at} of {:?}, {:?}", self.way, self.bench.pair);
        let Some(sent) = self.sent else { unreachable!("it begins in the first turn") };
        let body = RESPONSE.repeat(PARTS);
        let seen = self.bench.seen(sent);
        let is_answered = seen.end == End::Whole && seen.status() == 200;
        match seen.end {
            End::Whole if is_answered => assert_eq!(seen.body, body, "{what}"),
            End::Whole => assert!(matches!(seen.status(), 400 | 502 | 503), "{what}: {seen:?}"),
            End::Broken(_) | End::Refused => assert!(body.starts_with(&seen.body), "{what}: {:?}", seen.body),
            End::None => assert!(self.bench.clients[0].is_over || cut == ClientResets, "{what}: it hangs"),
        }
        // What has no reason to fail does not.
        let goes_well = match cut {
            ClientGoesAway | OriginGoesAway => true,
            ClientHalfCloses => was_whole,
            OriginResets | OriginRefuses | OriginGoesAwayWithout => had_answered,
            // A close is a reset where the rest of a request is unread.
            OriginCloses => had_answered && !self.way.is_early,
            ClientResets | ClientCloses | ClientBreaks | OriginBreaks => false,
        };
        assert!(is_answered || !goes_well && self.is_cut, "{what}: {seen:?}");
        let next = self.bench.client();
        self.bench.works(next);
        self.bench.finish();
    }
}

fn cut_everywhere(pair: Pair) {
    for way in WAYS {
        let mut whole = Run::new(pair, way);
        let turns = whole.play_until(100);
        assert!(whole.has_ended() && turns >= 10, "{way:?} over {pair:?} takes {turns} turns");
        for cut in CUTS.into_iter().filter(|cut| cut.is_possible(pair)) {
            for at in 1..=turns {
                let mut run = Run::new(pair, way);
                run.play_until(at);
                let has_said_all = run.bench.clients[0].is_flushed();
                let was_whole = has_said_all && (way.method == "GET" || run.up > PARTS + 1);
                let had_answered =
                    run.down > PARTS + 1 && run.got.is_some_and(|got| run.bench.origins[got.0].is_flushed());
                run.cut(cut);
                run.finish();
                run.judge(cut, at, had_answered, was_whole);
            }
        }
    }
}

#[test]
fn an_exchange_of_http1_is_cut_everywhere() {
    cut_everywhere((Wire::H1, Wire::H1));
}

#[test]
fn an_exchange_of_http1_on_a_stream_is_cut_everywhere() {
    cut_everywhere((Wire::H1, Wire::H2));
}

#[test]
fn a_stream_to_an_endpoint_of_http1_is_cut_everywhere() {
    cut_everywhere((Wire::H2, Wire::H1));
}

#[test]
fn a_stream_on_a_stream_is_cut_everywhere() {
    cut_everywhere((Wire::H2, Wire::H2));
}
