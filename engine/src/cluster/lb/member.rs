//! What the policies are made from: the hosts that may be picked, and the cluster around them.

use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::cluster::Endpoint;
use ringway_config::model;
use std::rc::Rc;

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
}
