//! Flow control (RFC 9113 sections 5.2 and 6.9): nothing stalls for another's sake, and no byte of a window is lost.

use crate::frames::{
    self, CANCEL, FLOW_CONTROL_ERROR, Frame, INITIAL_WINDOW, NO_ERROR, STREAMS_MAX, data, padded, post,
};
use crate::support::{Bench, Cut, End, STREAMS, WINDOW, however_it_is_cut, pattern};
use std::time::Duration;

/// Answer all requests that have come whole, as a server that takes `most` at a time and refuses what is beyond. The requests
/// answered so far.
fn serve(origin: &mut End, answered: &mut Vec<u32>, most: usize) {
    let open: Vec<u32> = origin.requests().into_iter().filter(|id| !answered.contains(id)).collect();
    for (place, id) in open.into_iter().enumerate() {
        if place >= most {
            origin.write(&frames::reset(id, frames::REFUSED_STREAM));
            answered.push(id);
        } else if origin.has_ended(id) {
            origin.write(&frames::response(id, true, "200", &[]));
            answered.push(id);
        }
    }
}

/// Send a body as far as the windows allow, reading what comes, until it is out or nothing moves.
fn upload(bench: &Bench, client: &mut End, id: u32, body: &[u8], sent_before: usize) -> usize {
    let mut sent = 0;
    for _ in 0..10_000 {
        let of_stream = WINDOW + client.credited(id) as usize - sent;
        let of_connection = WINDOW + client.credited(0) as usize - sent_before - sent;
        let now = (body.len() - sent).min(of_stream).min(of_connection).min(16_384);
        if now == 0 && client.unsent() == 0 {
            break;
        }
        if now > 0 {
            client.write(&data(id, sent + now == body.len(), &body[sent..sent + now]));
        }
        sent += now;
        bench.look(client);
    }
    sent
}

however_it_is_cut! {
    /// pingora#910: a client's reset is seen while the upstream takes nothing, and the connection's window comes back.
    fn uploads_that_stall_are_reset_and_cost_no_credit(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let size = cut.size(48 * 1024);
        bench.say(&mut client, &post(1, "/"));
        let mut origin = bench.accept_with(&[(INITIAL_WINDOW, 0)]);
        for id in (1..40).step_by(2) {
            if id > 1 {
                bench.say(&mut client, &post(id, "/"));
            }
            for part in pattern(size).chunks(16_384) {
                bench.say(&mut client, &data(id, false, part));
            }
        }
        bench.look(&mut origin);
        assert_eq!((origin.requests().len(), origin.body(1).len()), (20, 0));
        assert!(20 * size as u64 - client.credited(0) <= WINDOW as u64 / 2, "{}", client.credited(0));
        for id in (1..40).step_by(2) {
            bench.say(&mut client, &frames::reset(id, CANCEL));
        }
        bench.look(&mut origin);
        for id in origin.requests() {
            assert_eq!(origin.resets(id), [CANCEL], "{id}");
        }
        assert_eq!((bench.http("downstream_rq_active"), bench.cluster("upstream_rq_active")), (0, 0));
        bench.say(&mut origin, &frames::settings(&[(INITIAL_WINDOW, 1 << 20)]));
        let body = pattern(size);
        bench.say(&mut client, &post(41, "/"));
        assert_eq!(upload(&bench, &mut client, 41, &body, 20 * size), size);
        bench.look(&mut origin);
        let id = origin.asked();
        assert_eq!((origin.body(id) == body, origin.has_ended(id)), (true, true));
        bench.say(&mut origin, &frames::response(id, true, "200", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(41), client.goaways()), (200, vec![]));
        bench.finish([client], [origin]);
    }

    /// envoy#40085: DATA that comes behind a reset of this side counts for the connection, and is given back.
    fn data_behind_a_reset_is_credited(cut) {
        let bench = Bench::with(cut, "max_request_body = \"1000B\"", "", "");
        let mut client = bench.client();
        bench.say(&mut client, &[post(1, "/"), data(1, false, &[b'x'; 2000])].concat());
        assert_eq!(client.status(1), 413);
        bench.look(&mut client);
        assert_eq!(client.resets(1), [NO_ERROR], "the rest is not wanted");
        let size = cut.size(1 << 20);
        let mut sent = 2000;
        // A client that has not read the reset sends on as far as the connection's window allows.
        while sent < size {
            assert!(sent as u64 - client.credited(0) <= WINDOW as u64 / 2, "{sent}: {}", client.credited(0));
            bench.say(&mut client, &data(1, false, &[b'x'; 1000]));
            sent += 1000;
        }
        assert_eq!(client.goaways(), []);
        bench.works(&mut client, 3);
        let origins = bench.origins();
        bench.finish([client], origins);
    }

    /// h2 0.4.14 and 0.4.16: whatever becomes of a stream, its bytes and their padding are given back to the connection.
    fn credit_is_conserved_over_random_operations(cut) {
        let bench = Bench::of(cut, "http1", "", "", "");
        let mut client = bench.client();
        let (mut seed, mut last, mut flow) = (7_u64, 0, 0_u64);
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut open: Vec<(u32, u64)> = Vec::new();
        for _ in 0..cut.size(4000) {
            let at = random(open.len().max(1) as u64) as usize;
            match random(10) {
                0..2 if open.len() < 10 => {
                    last = if last == 0 { 1 } else { last + 2 };
                    let path = if random(2) == 0 { "/direct" } else { "/" };
                    client.write(&post(last, path));
                    open.push((last, 0));
                }
                2 if !open.is_empty() => client.write(&frames::reset(open.swap_remove(at).0, CANCEL)),
                3 if !open.is_empty() => client.write(&data(open.swap_remove(at).0, true, b"")),
                4 if !open.is_empty() => client.write(&frames::headers(open.swap_remove(at).0, true, &[("a", "b")])),
                5..8 if !open.is_empty() => {
                    let (len, padding) = (random(600), random(256));
                    if open[at].1 + len + padding < 60_000 {
                        client.write(&padded(open[at].0, false, &vec![b'x'; len as usize], padding as u8));
                        open[at].1 += len + padding + 1;
                        flow += len + padding + 1;
                    }
                }
                // Late: what is reset early or in this turn counts as abuse.
                _ => bench.advance(Duration::from_millis(300)),
            }
            bench.look(&mut client);
            // What the proxy has ended is not to be sent on.
            open.retain(|(id, _)| client.resets(*id).is_empty());
            assert!(flow - client.credited(0) <= WINDOW as u64 / 2, "{flow}: {}", client.credited(0));
        }
        assert_eq!(client.goaways(), []);
        bench.works(&mut client, last + 2);
        let origins = bench.origins();
        bench.finish([client], origins);
    }

    /// haproxy#3354: padding is neither body nor the next frame.
    fn padding_is_not_read(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let body = pattern(300);
        bench.say(&mut client, &post(1, "/"));
        for padding in [0, 1, 8, 9, 255] {
            client.write(&padded(1, false, &body, padding));
        }
        // Padding that is all there is.
        client.write(&padded(1, false, b"", 255));
        bench.say(&mut client, &padded(1, true, b"", 0));
        let mut origin = bench.accept();
        bench.look(&mut origin);
        assert_eq!((origin.body(1), origin.has_ended(1)), (body.repeat(5), true));
        bench.say(&mut origin, &frames::response(1, false, "200", &[]));
        for padding in [255, 9, 8, 1, 0] {
            origin.write(&padded(1, false, &body, padding));
        }
        bench.say(&mut origin, &padded(1, true, b"", 200));
        bench.look(&mut client);
        assert_eq!((client.status(1), client.body(1), client.has_ended(1)), (200, body.repeat(5), true));
        bench.finish([client], [origin]);
    }

    /// h2#860, linkerd2#14908: uploads that wait for a stream hold no credit of those that have one, and an endpoint that takes few
    /// at a time is heeded once it has said so.
    fn more_uploads_than_an_endpoint_takes_at_a_time_all_finish(cut) {
        let bench = Bench::with(cut, "", "", "");
        let mut client = bench.client();
        let body = pattern(cut.size(20 * 1024));
        let ids: Vec<u32> = (0..if cut == Cut::Whole { 100 } else { 20 }).map(|index| index * 2 + 1).collect();
        for id in &ids {
            client.write(&post(*id, "/"));
        }
        bench.look(&mut client);
        let (mut origins, mut sent) = (Vec::new(), 0);
        let serve = |origins: &mut Vec<(End, Vec<u32>)>| {
            while let Some(mut origin) = bench.try_accept() {
                origin.begin(&[(STREAMS_MAX, 4)]);
                origin.credits = [true; 2];
                origins.push((origin, Vec::new()));
            }
            for (origin, answered) in origins {
                bench.look(origin);
                serve(origin, answered, 4);
            }
        };
        for id in &ids {
            sent += upload(&bench, &mut client, *id, &body, sent);
            serve(&mut origins);
        }
        for _ in 0..100 {
            serve(&mut origins);
            bench.look(&mut client);
        }
        let statuses: Vec<u16> = ids.iter().map(|id| client.status(*id)).collect();
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        let whole = |origin: &End| origin.requests().into_iter().filter(|id| origin.body(*id) == body).count();
        assert_eq!(origins.iter().map(|(origin, _)| whole(origin)).sum::<usize>(), ids.len(), "each body is delivered once");
        // Only the first connection was asked for more than it takes, and each exchange was refused once.
        let refused = |origin: &End, answered: &[u32]| answered.iter().filter(|id| !origin.has_ended(**id)).count();
        for (origin, answered) in origins.iter().skip(1) {
            assert_eq!(refused(origin, answered), 0);
        }
        bench.finish([client], origins.into_iter().map(|(origin, _)| origin));
    }

    /// hyper#4003: an endpoint that gives credit only when there is none left.
    fn credit_that_comes_only_at_zero_is_enough(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let window = 1000;
        let body = pattern(cut.size(30_000));
        bench.say(&mut client, &[post(1, "/"), post(3, "/")].concat());
        let mut origin = bench.accept_with(&[(INITIAL_WINDOW, window as u32)]);
        let (mut given, mut sent) = ([window; 2], 0);
        for id in [1, 3] {
            sent += upload(&bench, &mut client, id, &body, sent);
        }
        for _ in 0..200 {
            bench.look(&mut origin);
            for (place, id) in [1, 3].into_iter().enumerate() {
                let got = origin.body(id).len();
                assert!(got <= given[place], "{got} bytes of {}", given[place]);
                if got == given[place] {
                    given[place] += window;
                    bench.say(&mut origin, &[frames::credit(id, window as u32), frames::credit(0, window as u32)].concat());
                }
            }
        }
        for id in [1, 3] {
            assert_eq!((origin.body(id) == body, origin.has_ended(id)), (true, true), "{id}");
            bench.say(&mut origin, &frames::response(id, true, "200", &[]));
        }
        bench.look(&mut client);
        assert_eq!((client.status(1), client.status(3)), (200, 200));
        bench.finish([client], [origin]);
    }

    /// HAProxy b1c9edc57: a larger initial window wakes streams that wait, and a smaller one makes windows negative.
    fn the_initial_window_holds_for_streams_that_are_open(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client_with(&[(INITIAL_WINDOW, 0)]);
        bench.say(&mut client, &frames::get(1, "/"));
        let mut origin = bench.accept();
        let body = pattern(3000);
        bench.say(&mut origin, &[frames::response(1, false, "200", &[]), data(1, true, &body)].concat());
        bench.look(&mut client);
        assert_eq!((client.status(1), client.body(1).len()), (200, 0));
        bench.say(&mut client, &frames::settings(&[(INITIAL_WINDOW, 100)]));
        assert_eq!(client.body(1).len(), 100);
        bench.say(&mut client, &frames::settings(&[(INITIAL_WINDOW, 20)]));
        bench.say(&mut client, &frames::credit(1, 80));
        assert_eq!(client.body(1).len(), 100, "it has 80 less than none, and then none");
        bench.say(&mut client, &frames::credit(1, 1));
        assert_eq!(client.body(1).len(), 101);
        // Several in one frame: in their order.
        bench.say(&mut client, &frames::settings(&[(INITIAL_WINDOW, 0), (INITIAL_WINDOW, 1 << 20)]));
        assert_eq!((client.body(1), client.has_ended(1)), (body, true));
        bench.finish([client], [origin]);
    }

    /// HAProxy e31640368: bits that are reserved mean nothing.
    fn reserved_bits_are_ignored(cut) {
        const RESERVED: u32 = 1 << 31;
        let bench = Bench::new(cut);
        let mut client = bench.client_with(&[(INITIAL_WINDOW, 0)]);
        bench.say(&mut client, &post(RESERVED | 1, "/"));
        bench.say(&mut client, &data(RESERVED | 1, true, b"body"));
        let mut origin = bench.accept();
        assert_eq!((origin.body(1), origin.has_ended(1)), (b"body".to_vec(), true));
        bench.say(&mut origin, &frames::response(RESERVED | 1, false, "200", &[]));
        bench.say(&mut origin, &data(RESERVED | 1, true, &pattern(200)));
        bench.say(&mut client, &frames::credit(RESERVED | 1, RESERVED | 100));
        assert_eq!(client.body(1).len(), 100);
        bench.say(&mut client, &frames::frame(frames::WINDOW_UPDATE, 0xff, 1, &(RESERVED | 1000).to_be_bytes()));
        assert_eq!((client.body(1), client.has_ended(1)), (pattern(200), true));
        bench.finish([client], [origin]);
    }

    /// nghttp2#1722: large windows are not given and used in ever smaller pieces.
    fn frames_stay_large_however_windows_run_out(cut) {
        if cut == Cut::Whole {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            let body = pattern(1 << 20);
            bench.say(&mut client, &post(1, "/"));
            let mut origin = bench.accept();
            origin.credits = [true; 2];
            let mut sent = 0;
            while sent < body.len() {
                let window = |id| WINDOW + client.credited(id) as usize - sent;
                let now = (body.len() - sent).min(window(1)).min(window(0)).min(16_384);
                if now > 0 {
                    client.write(&data(1, sent + now == body.len(), &body[sent..sent + now]));
                }
                sent += now;
                bench.look(&mut client);
                bench.look(&mut origin);
            }
            bench.look(&mut origin);
            assert_eq!((origin.body(1) == body, origin.has_ended(1)), (true, true));
            let frames = origin.frames.iter().filter(|frame| matches!(frame, Frame::Data { .. })).count();
            assert!(frames <= 2 * body.len() / 16_384, "{frames} frames");
            bench.say(&mut origin, &frames::response(1, true, "200", &[]));
            bench.finish([client], [origin]);
        }
    }

    /// HAProxy 12edcccc8: a client that asks without reading is served once it reads.
    fn a_client_that_reads_late_gets_all(cut) {
        let bench = Bench::of(cut, "http2", "", "", "");
        let mut client = bench.client();
        client.credits = [true; 2];
        bench.say(&mut client, &frames::get(1, "/"));
        let mut origin = bench.accept();
        let body = pattern(cut.size(60_000));
        for id in (3..2 * STREAMS).step_by(2) {
            client.write(&frames::get(id, "/"));
        }
        for _ in 0..3 {
            bench.look(&mut origin);
        }
        assert_eq!(origin.requests().len(), STREAMS as usize);
        for id in origin.requests() {
            origin.write(&frames::response(id, false, "200", &[]));
            for part in body.chunks(16_384) {
                origin.write(&data(id, false, part));
            }
            bench.say(&mut origin, &data(id, true, b""));
        }
        client.write(&frames::ping(*b"are you?"));
        for _ in 0..60 {
            bench.look(&mut client);
            bench.look(&mut origin);
        }
        assert!(client.frames.contains(&Frame::PingAck(*b"are you?")));
        for id in (1..2 * STREAMS).step_by(2) {
            assert_eq!((client.body(id) == body, client.has_ended(id)), (true, true), "{id}");
        }
        bench.finish([client], [origin]);
    }

    /// linkerd#1704, h2#573: streams that are not read are in no other's way.
    fn stalled_downloads_are_in_no_others_way(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        client.credits = [false, true];
        for id in (1..11).step_by(2) {
            client.write(&frames::get(id, "/"));
        }
        bench.look(&mut client);
        let mut origin = bench.accept();
        let size = cut.size(1 << 20);
        let mut sent = [0; 5];
        for id in origin.requests() {
            bench.say(&mut origin, &frames::response(id, false, "200", &[]));
        }
        // Until the proxy takes no more of any.
        for _ in 0..40 {
            for (place, id) in origin.requests().into_iter().enumerate() {
                let total: usize = sent.iter().sum();
                let window = (WINDOW + origin.credited(id) as usize - sent[place]).min(size - sent[place]);
                let now = window.min(WINDOW + origin.credited(0) as usize - total).min(16_384);
                if now > 0 {
                    sent[place] += now;
                    bench.say(&mut origin, &data(id, false, &pattern(now)));
                    bench.look(&mut client);
                }
            }
        }
        assert!(cut == Cut::Bytes || sent.iter().all(|sent| *sent < size), "{sent:?}");
        for id in (11..61).step_by(2) {
            bench.say(&mut client, &frames::get(id, "/"));
            bench.look(&mut origin);
            let asked = origin.asked();
            bench.say(&mut origin, &[frames::response(asked, false, "200", &[]), data(asked, true, b"small")].concat());
            bench.look(&mut client);
            assert_eq!((client.body(id), client.has_ended(id)), (b"small".to_vec(), true));
        }
        bench.finish([client], [origin]);
    }

    /// "A receiver MAY respond with a stream error or connection error of type FLOW_CONTROL_ERROR if it is unable to accept
    /// a frame" (section 6.9), and windows "MUST NOT" exceed 2^31-1.
    fn windows_are_kept_and_do_not_overflow(cut) {
        let beyond = |id: u32| -> Vec<u8> { (0..5).flat_map(|_| data(id, false, &[b'x'; 16_000])).collect() };
        let bench = Bench::with(cut, "buffer_limit = \"16KiB\"", "", "");
        let mut client = bench.client();
        // Nothing reads it: the origin gives no credit.
        bench.say(&mut client, &post(1, "/"));
        let mut origin = bench.accept_with(&[(INITIAL_WINDOW, 0)]);
        for _ in 0..4 {
            bench.say(&mut client, &beyond(1));
        }
        assert!(client.resets(1) == [FLOW_CONTROL_ERROR] || client.goaways() == [(1, FLOW_CONTROL_ERROR)]);
        bench.look(&mut origin);
        assert_eq!(origin.resets(1), [CANCEL]);
        let mut other = bench.client();
        bench.say(&mut other, &[post(1, "/"), frames::credit(1, (1 << 31) - 1)].concat());
        assert_eq!((other.resets(1), other.goaways()), (vec![FLOW_CONTROL_ERROR], vec![]));
        bench.works(&mut other, 3);
        bench.say(&mut other, &frames::credit(0, (1 << 31) - 1));
        assert_eq!((other.goaways(), other.is_over), (vec![(3, FLOW_CONTROL_ERROR)], true));
        let mut third = bench.client();
        bench.say(&mut third, &frames::settings(&[(INITIAL_WINDOW, 1 << 31)]));
        assert_eq!((third.goaways(), third.is_over), (vec![(0, FLOW_CONTROL_ERROR)], true));
        bench.finish([client, other, third], [origin]);
    }
}
