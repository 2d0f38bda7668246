//! How often the proxy sends: what a turn of the loop has for a connection goes out together, however many exchanges it is of.

use crate::frames::{data, get, response};
use crate::support::{Bench, Cut, End};

/// Exchanges at a time.
const STREAMS: u32 = 32;

const ROUNDS: u32 = 10;

/// The streams of a round.
fn ids(round: u32) -> impl Iterator<Item = u32> {
    (0..STREAMS).map(move |index| 1 + 2 * (round * STREAMS + index))
}

#[track_caller]
fn are_answered(client: &End, round: u32, body: &[u8]) {
    for id in ids(round) {
        assert_eq!((client.status(id), client.body(id).as_slice(), client.has_ended(id)), (200, body, true), "{id}");
    }
}

/// Requests of a round, in one piece.
fn requests(round: u32, path: &str) -> Vec<u8> {
    ids(round).flat_map(|id| get(id, path)).collect()
}

#[test]
fn replies_of_a_turn_leave_in_one_send() {
    let bench = Bench::new(Cut::Whole);
    let mut client = bench.client();
    for round in 0..ROUNDS {
        let before = client.sends();
        bench.say(&mut client, &requests(round, "/direct"));
        are_answered(&client, round, b"direct");
        assert_eq!(client.sends() - before, 1, "{round}");
    }
    bench.finish([client], []);
}

#[test]
fn requests_and_responses_of_a_turn_leave_in_one_send() {
    let bench = Bench::new(Cut::Whole);
    let mut client = bench.client();
    // The first one makes the connection.
    bench.say(&mut client, &get(1, "/"));
    let mut origin = bench.accept();
    bench.say(&mut origin, &response(1, true, "200", &[]));
    origin.answered.push(1);
    bench.look(&mut client);
    for round in 1..ROUNDS {
        let before = (client.sends(), origin.sends());
        bench.say(&mut client, &requests(round, "/"));
        bench.look(&mut origin);
        let asked: Vec<u32> = origin.requests().into_iter().filter(|id| !origin.answered.contains(id)).collect();
        assert_eq!((asked.len(), origin.sends() - before.1), (STREAMS as usize, 1), "{round}");
        let answer = |id: &u32| [response(*id, false, "200", &[]), data(*id, true, b"ok")].concat();
        let answers: Vec<u8> = asked.iter().flat_map(answer).collect();
        bench.say(&mut origin, &answers);
        origin.answered.extend(asked);
        bench.look(&mut client);
        are_answered(&client, round, b"ok");
        assert_eq!(client.sends() - before.0, 1, "{round}");
    }
    bench.finish([client], [origin]);
}

#[test]
fn responses_of_many_connections_leave_in_one_send() {
    let bench = Bench::of(Cut::Whole, "http1", "", "", "");
    let mut client = bench.client();
    let mut origins = Vec::new();
    for round in 0..ROUNDS {
        let before = client.sends();
        bench.say(&mut client, &requests(round, "/"));
        origins.extend(bench.origins());
        assert_eq!(origins.len(), STREAMS as usize);
        for origin in &mut origins {
            assert_eq!(origin.text().matches("GET / HTTP/1.1").count(), 1);
            assert_eq!(origin.sends(), u64::from(round) + 1);
            origin.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        bench.look(&mut client);
        are_answered(&client, round, b"ok");
        assert_eq!(client.sends() - before, 1, "{round}");
    }
    bench.finish([client], origins);
}
