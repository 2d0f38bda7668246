//! Pools: waiters are served in order, connections have limits, and a failed connect is one waiter's alone.

use crate::peer::{End, STREAMS, Wire};
use crate::support::{Bench, Sent, in_all_pairs};
use ringway::ring::Attempts;

/// Exchanges that one connection to the origin takes.
fn places(wire: Wire) -> usize {
    if wire == Wire::H2 { STREAMS as usize } else { 1 }
}

fn requests(bench: &mut Bench, count: usize) -> Vec<Sent> {
    (0..count)
        .map(|number| {
            let client = bench.client();
            bench.get(client, &format!("/{number}"))
        })
        .collect()
}

in_all_pairs! {
    /// Where descriptors are short, the connection that has been idle longest is closed, whatever is spoken on it.
    fn idle_connections_make_room(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        bench.works(client);
        assert_eq!(bench.cluster("upstream_cx_active"), 1);
        let make_room = || {
            let reactor = bench.shard.reactor.clone();
            let made = async move { reactor.make_room(&mut Attempts::default()).await };
            bench.shard.reactor.block_on(made)
        };
        assert_eq!([make_room(), make_room()], [true, false]);
        bench.settle();
        assert_eq!((bench.cluster("upstream_cx_active"), bench.cluster("upstream_cx_destroy_local")), (0, 1));
        bench.works(client);
        bench.finish();
    }

    /// Over the limit it is 503 at once, and a place that becomes free is used again.
    fn connections_have_a_limit(pair) {
        let mut bench = Bench::with(pair, "", "", "circuit_breakers = { max_connections = 1 }");
        let all = requests(&mut bench, places(pair.1) + 1);
        assert_eq!(bench.seen(*all.last().expect("one")).status(), 503);
        assert_eq!(bench.origins.len(), 1);
        let got = bench.arrived();
        bench.answer(got, 200, &[], b"ok");
        let client = bench.client();
        let sent = bench.get(client, "/next");
        assert_eq!((bench.seen(sent).end, bench.origins.len()), (End::None, 1));
        bench.finish();
    }

    fn exchanges_are_spread_over_the_least_loaded_connections(pair) {
        let mut bench = Bench::new(pair);
        let count = 2 * places(pair.1);
        requests(&mut bench, count);
        let load: Vec<usize> = bench.origins.iter().map(|origin| origin.exchanges.len()).collect();
        assert_eq!(load, [places(pair.1); 2]);
        // Two on the second connection end: the next go there.
        let mut ended = 0;
        while let Some(got) = bench.try_arrived() {
            if got.0 == 1 && ended < 2 {
                bench.answer(got, 200, &[], b"ok");
                ended += 1;
            }
        }
        requests(&mut bench, ended);
        assert_eq!((bench.origins.len(), bench.origins[1].exchanges.len()), (2, places(pair.1) + ended));
        bench.finish();
    }

    /// All come at once: one connection is enough for as many as it has places.
    fn one_connect_serves_as_many_as_it_has_places(pair) {
        let mut bench = Bench::new(pair);
        let count = places(pair.1) + 1;
        let clients: Vec<usize> = (0..count).map(|_| bench.client()).collect();
        for client in &clients {
            bench.clients[*client].request("GET", "/", &Vec::new(), Some(0));
        }
        bench.settle();
        assert_eq!(bench.origins.len(), 2);
        let arrived = std::iter::from_fn(|| bench.try_arrived()).count();
        assert_eq!(arrived, count);
        bench.finish();
    }

    /// Each of them has its own failure.
    fn each_failed_connect_is_told(pair) {
        let mut bench = Bench::new(pair);
        bench.stop_listening();
        let clients: Vec<usize> = (0..3).map(|_| bench.client()).collect();
        for client in &clients {
            bench.clients[*client].request("GET", "/", &Vec::new(), Some(0));
        }
        bench.settle();
        for client in &clients {
            assert_eq!(bench.clients[*client].exchanges[0].status(), 503);
        }
        assert_eq!((bench.cluster("upstream_cx_connect_fail"), bench.cluster("upstream_rq_pending_active")), (3, 0));
        bench.finish();
    }

    /// No idle connection is kept where none may be.
    fn idle_connections_have_a_limit(pair) {
        let mut bench = Bench::with(pair, "", "", "max_idle_connections = 1");
        let all = requests(&mut bench, 2 * places(pair.1));
        assert_eq!(bench.cluster("upstream_cx_active"), 2);
        while let Some(got) = bench.try_arrived() {
            bench.answer(got, 200, &[], b"ok");
        }
        bench.settle();
        assert!(all.iter().all(|sent| bench.seen(*sent).end == End::Whole));
        assert_eq!(bench.cluster("upstream_cx_active"), 1);
        let client = bench.client();
        bench.works(client);
        bench.finish();
    }
}
