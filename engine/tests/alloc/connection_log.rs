//! What the log of a listener takes for each connection that is open.

use super::{CONFIG, idle_connections};

/// What is noted of it for the log of its listener is there as long as it is, and only where there is such a log.
#[test]
fn an_idle_connection_that_will_be_logged_is_small() {
    const NOTES_MAX: i64 = 288;
    let logged = CONFIG.replacen("[listeners.http]", "access_log = [{ path = \"/dev/null\" }]\n[listeners.http]", 1);
    assert_ne!(logged, CONFIG);
    let [without, with] = [CONFIG, &logged].map(|config| idle_connections(false, config));
    println!("{} bytes of heap for the log of an idle connection", with - without);
    assert!((1..=NOTES_MAX).contains(&(with - without)), "{with} bytes; {without} without a log");
}
