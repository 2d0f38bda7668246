//! Calls and bodies that take long and move all the time (traefik#10991: uploads that were cut by a limit for the whole request).

use crate::frames::{self, CANCEL, data, request, response};
use crate::support::{Bench, End, however_it_is_cut};
use std::time::Duration;

const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

fn call(id: u32) -> Vec<u8> {
    request(id, false, "POST", "/pkg.Service/Method", &[("content-type", "application/grpc"), ("te", "trailers")])
}

/// A message up and one down every half minute, and each passes as it comes.
#[track_caller]
fn talk(bench: &Bench, client: &mut End, origin: &mut End, rounds: usize) {
    let (up, down) = (origin.body(1).len(), client.body(1).len());
    for round in 1..=rounds {
        bench.advance(HALF_A_MINUTE);
        bench.say(client, &data(1, false, MESSAGE));
        bench.look(origin);
        assert_eq!(origin.body(1).len(), up + round * MESSAGE.len(), "{round}");
        bench.say(origin, &data(1, false, MESSAGE));
        bench.look(client);
        assert_eq!(client.body(1).len(), down + round * MESSAGE.len(), "{round}");
    }
}

however_it_is_cut! {
    /// An hour, with no limit but those that there are by default, and with others that are none for a call that is answered and moves.
    fn a_call_that_moves_lasts(cut) {
        for (http, route) in [
            ("", ""),
            ("request_timeout = \"20m\"", ""),
            ("", "stream_idle_timeout = \"40s\""),
            ("", "timeout = \"20m\""),
            ("", "retry_policy = { retry_on = [\"unavailable\"], per_try_idle_timeout = \"40s\" }"),
        ] {
            let bench = Bench::with(cut, http, route, "");
            let mut client = bench.client();
            bench.say(&mut client, &call(1));
            let mut origin = bench.accept();
            bench.say(&mut origin, &response(1, false, "200", &[("content-type", "application/grpc")]));
            talk(&bench, &mut client, &mut origin, 120);
            bench.say(&mut client, &data(1, true, b""));
            bench.look(&mut origin);
            assert!(origin.has_ended(1));
            bench.say(&mut origin, &frames::headers(1, true, &[("grpc-status", "0")]));
            bench.look(&mut client);
            assert_eq!((client.field(1, "grpc-status").as_deref(), client.has_ended(1)), (Some("0"), true), "{http} {route}");
            assert_eq!((client.resets(1), origin.resets(1)), (vec![], vec![]));
            bench.finish([client], [origin]);
        }
    }

    /// An upload whose endpoint says nothing before it is whole. Only calls may be slower than `min_request_body_rate`.
    fn an_upload_that_moves_lasts(cut) {
        for (kind, size, pause) in [("application/grpc", 7, HALF_A_MINUTE), ("text/plain", 24 * 6, HALF_A_MINUTE / 6)] {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            bench.say(&mut client, &request(1, false, "POST", "/", &[("content-type", kind)]));
            let mut origin = bench.accept();
            client.credits = [true; 2];
            origin.credits = [true; 2];
            for round in 1..=120 {
                bench.advance(pause);
                bench.say(&mut client, &data(1, round == 120, &vec![b'x'; size]));
                bench.look(&mut origin);
                assert_eq!(origin.body(1).len(), round * size, "{kind} {round}");
            }
            assert_eq!((client.status(1), client.resets(1), origin.has_ended(1)), (0, vec![], true));
            bench.say(&mut origin, &response(1, true, "200", &[]));
            bench.look(&mut client);
            assert_eq!((client.status(1), client.has_ended(1)), (200, true));
            bench.finish([client], [origin]);
        }
    }

    /// The limits that are written do count, the call being told by its status.
    fn a_limit_that_is_written_ends_a_call(cut) {
        for (route, seconds) in [("max_stream_duration = \"100s\"", 11), ("stream_idle_timeout = \"40s\"", 41)] {
            let bench = Bench::with(cut, "", route, "");
            let mut client = bench.client();
            bench.say(&mut client, &call(1));
            let mut origin = bench.accept();
            bench.say(&mut origin, &response(1, false, "200", &[("content-type", "application/grpc")]));
            talk(&bench, &mut client, &mut origin, 3);
            assert!(!client.has_ended(1), "{route}");
            bench.advance(Duration::from_secs(seconds));
            bench.look(&mut client);
            bench.look(&mut origin);
            assert_eq!((client.field(1, "grpc-status").as_deref(), client.has_ended(1)), (Some("4"), true), "{route}");
            assert_eq!((origin.resets(1), origin.goaways()), (vec![CANCEL], vec![]));
            bench.works(&mut client, 3);
            bench.finish([client], [origin]);
        }
    }
}
