//! The cluster's accounting of one request to one endpoint.

use super::Cluster;

/// How a request to an endpoint ends without a response that is passed on. Each request is counted under one ending, so
/// that the statistics of a cluster balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// There was no connection for it.
    NoConnection,
    /// The upstream ended it.
    ReceivedReset,
    /// This side ended it.
    SentReset,
    /// Its response is dropped, and the request is tried again.
    Retried,
    /// Its response is a redirect that is followed, which the caller has counted.
    Redirected,
}

/// Counts a request from its beginning to its end. One that is dropped before it ended counts as reset by this side.
pub struct Accounting<'a> {
    cluster: &'a Cluster,
    ended: bool,
}

impl<'a> Accounting<'a> {
    pub fn new(cluster: &'a Cluster) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        Self { cluster, ended: false }
    }

    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The whole response has come. `sent` and `received`: bytes on the wire; `micros`: from the request's end.
    pub fn completed(&mut self, status: u16, sent: u64, received: u64, micros: u64) {
        let stats = &self.cluster.stats;
        stats.upstream_cx_tx_bytes_total.add(sent);
        stats.upstream_cx_rx_bytes_total.add(received);
        stats.upstream_rq_completed.inc();
        stats.count_status(status);
        stats.upstream_rq_time.record(micros);
        self.ended = true;
    }

    /// It ended in another way.
    pub fn ended(&mut self, ending: RequestEnd) {
        let stats = &self.cluster.stats;
        match ending {
            RequestEnd::NoConnection => stats.upstream_rq_pending_failure_eject.inc(),
            RequestEnd::ReceivedReset => stats.upstream_rq_rx_reset.inc(),
            RequestEnd::SentReset => stats.upstream_rq_tx_reset.inc(),
            RequestEnd::Retried => stats.retry_upstream_rq_completed.inc(),
            RequestEnd::Redirected => {}
        }
        self.ended = true;
    }
}

impl Drop for Accounting<'_> {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        stats.upstream_rq_active.dec();
        stats.upstream_rq_tx_reset.add(u64::from(!self.ended));
    }
}
