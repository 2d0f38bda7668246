//! Listeners that a reload has removed, on in-memory pipes.

use super::MemoryShard;
use crate::base::logging::captured;
use crate::net::PipeEnd;
use std::task::Poll;
use std::time::Duration;

/// `second`: with a listener next to the one that answers at once, on which an exchange takes an hour.
fn config(second: bool) -> ringway_config::model::Config {
    let route = r#"routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "hello" } }]"#;
    let delay = r#"http_filters = [{ fault = { delay = { fixed_delay = "1h", percent = 100 } } }]"#;
    let mut text = format!("[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp = {{ {route} }}\n");
    if second {
        text += &format!(
            "[[listeners]]\naddress = \"127.0.0.1:2\"\nhttp = {{ stat_prefix = \"slow\", {delay}, {route} }}\n"
        );
    }
    let text = format!("[runtime]\ndrain_time = \"20s\"\n{text}");
    ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn ask(shard: &MemoryShard, listener: usize) -> PipeEnd {
    let client = shard.connect(listener, "192.0.2.1:1".parse().expect("an address"));
    client.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client
}

fn has_ended(client: &PipeEnd) -> bool {
    loop {
        match client.poll_recv() {
            Poll::Ready(Ok(Some(_))) => {}
            Poll::Ready(Ok(None) | Err(_)) => return true,
            Poll::Pending => return false,
        }
    }
}

/// What is left after the drain time is closed, as at a stop, and is told.
#[test]
fn a_listener_that_is_removed_drains_no_longer_than_the_process_would() {
    let log = captured(|| {
        let mut shard = MemoryShard::new(config(true), 1);
        let (kept, left) = (ask(&shard, 0), ask(&shard, 1));
        shard.advance(Duration::from_secs(1));
        shard.apply(config(false));
        shard.advance(Duration::from_secs(19));
        assert!(!has_ended(&left), "its exchange may take the drain time");
        assert_eq!(shard.connections(), 2);
        shard.advance(Duration::from_secs(2));
        assert!(has_ended(&left) && !has_ended(&kept));
        assert_eq!(shard.connections(), 1);
        assert_eq!(shard.registry.value("http.slow.downstream_rq_cut_off"), Some(1));
        shard.reactor.shut_down();
    });
    let told = "listener=127.0.0.1:2 connections=1 drain_time=20s";
    assert!(log.contains("WARN ringway::server") && log.contains(told), "{log}");
}

/// And nothing is told where all connections have ended by themselves.
#[test]
fn a_listener_that_has_drained_is_forgotten() {
    let log = captured(|| {
        let mut shard = MemoryShard::new(config(true), 1);
        drop(ask(&shard, 1));
        shard.advance(Duration::from_secs(1));
        shard.apply(config(false));
        shard.advance(Duration::from_secs(5));
        assert_eq!(shard.connections(), 0);
        shard.advance(Duration::from_secs(60));
        shard.reactor.shut_down();
    });
    assert!(!log.contains("is over"), "{log}");
}
