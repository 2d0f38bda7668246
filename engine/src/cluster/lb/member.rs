//! What the policies are made from: the hosts that may be picked, and the cluster around them.

use super::hashed::Workshop;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::cluster::Endpoint;
use ringway_config::model;
use std::rc::Rc;
use xxhash_rust::xxh64::xxh64;

/// One host that may be picked.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// In the cluster's endpoints.
    pub index: u32,
    /// More than 0. For the consistent hashes, the weights of one balancer add up to 1.
    pub weight: f64,
}

/// What all balancers of one view are made from.
#[derive(Clone, Copy)]
pub(super) struct Build<'a> {
    pub policy: &'a model::LbPolicy,
    pub options: &'a model::LoadBalancing,
    pub endpoints: &'a [Rc<Endpoint>],
    /// Of all endpoints; `None` without endpoints.
    pub last_priority: Option<u32>,
    /// Whether any endpoint currently gets less than its weight.
    pub slow: bool,
    pub random: &'a Random,
    pub now: Nanos,
    pub workshop: Workshop<'a>,
    /// Names the hosts under consideration, such as those of one subset and priority, the same way in each view.
    pub place: u64,
}

impl Build<'_> {
    /// For a part of the hosts: those with this number.
    pub(super) fn at(&self, number: u64) -> Self {
        Self { place: xxh64(&number.to_ne_bytes(), self.place), ..*self }
    }
}
