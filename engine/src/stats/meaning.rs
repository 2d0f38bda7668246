//! Statistics with a meaning beyond their number: states, versions, status classes.

use super::{ClusterStats, HttpStats, ServerStats};

/// Values of `server.state` (Envoy: admin.v3 ServerInfo.State).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum ServerState {
    Live = 0,
    Draining = 1,
    PreInitializing = 2,
    Initializing = 3,
}

impl ServerStats {
    /// Sets `state` and `live`, which follows from it.
    pub fn set_state(&self, state: ServerState) {
        self.state.set(state as i64);
        self.live.set(i64::from(state == ServerState::Live));
    }
}

/// The value of `server.version` for "major.minor.patch"; parts that are missing or not numbers count as 0.
pub fn server_version(text: &str) -> i64 {
    let release = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse::<i64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() * 1_000_000 + next() * 1_000 + next()
}

impl HttpStats {
    /// Counts a response's status class.
    #[inline]
    pub fn count_status(&self, status: u16) {
        match status {
            100..200 => self.downstream_rq_1xx.inc(),
            200..300 => self.downstream_rq_2xx.inc(),
            300..400 => self.downstream_rq_3xx.inc(),
            400..500 => self.downstream_rq_4xx.inc(),
            // What is above the classes counts as 5xx (RFC 9110 section 15).
            500.. => self.downstream_rq_5xx.inc(),
            _ => {}
        }
    }
}

impl ClusterStats {
    /// Counts a response's status class and code, also for responses that the router makes in place of the upstream.
    #[inline]
    pub fn count_status(&self, status: u16) {
        match status {
            100..200 => self.upstream_rq_1xx.inc(),
            200..300 => self.upstream_rq_2xx.inc(),
            300..400 => self.upstream_rq_3xx.inc(),
            400..500 => self.upstream_rq_4xx.inc(),
            500.. => self.upstream_rq_5xx.inc(),
            _ => {}
        }
        self.upstream_rq.inc(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "A client that receives a response with an invalid status code SHOULD process the response as if it had a 5xx"
    /// (RFC 9110 section 15).
    #[test]
    fn codes_above_the_classes_count_as_5xx() {
        let (http, cluster) = (HttpStats::default(), ClusterStats::default());
        for status in [199, 200, 499, 500, 599, 600, 799, 999] {
            http.count_status(status);
            cluster.count_status(status);
        }
        assert_eq!((http.downstream_rq_5xx.get(), cluster.upstream_rq_5xx.get()), (5, 5));
        assert_eq!((http.downstream_rq_4xx.get(), cluster.upstream_rq_1xx.get()), (1, 1));
    }
}
