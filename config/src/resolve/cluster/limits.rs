//! Circuit breakers.

use crate::diagnostic::Problem;
use crate::document::{self, RetryBudget};
use crate::model::{self, CircuitBreakers};
use crate::reader::{Int, Located, Slot};
use crate::resolve::Resolver;

type Count = Slot<Int<1, 4_294_967_295>>;

/// The limits that both priorities have.
struct Written<'d> {
    max_connections: &'d Count,
    max_pending_requests: &'d Count,
    max_requests: &'d Count,
    max_retries: &'d Count,
    retry_budget: &'d Slot<RetryBudget>,
    max_connections_per_host: &'d Count,
}

macro_rules! written {
    ($table:expr) => {
        Written {
            max_connections: &$table.max_connections,
            max_pending_requests: &$table.max_pending_requests,
            max_requests: &$table.max_requests,
            max_retries: &$table.max_retries,
            retry_budget: &$table.retry_budget,
            max_connections_per_host: &$table.max_connections_per_host,
        }
    };
}

impl Resolver<'_, '_, '_> {
    /// For normal priority and for high.
    pub(super) fn circuit_breakers(&mut self, written: &Slot<document::CircuitBreakers>) -> [CircuitBreakers; 2] {
        let Some(normal) = written.given() else { return Default::default() };
        let high = normal.high.given().map(|high| self.thresholds(written!(high)));
        let normal = CircuitBreakers { max_mirrors: normal.max_mirrors.to_u32(), ..self.thresholds(written!(normal)) };
        [normal, high.unwrap_or_default()]
    }

    fn thresholds(&mut self, written: Written<'_>) -> CircuitBreakers {
        if let (Some(_), Some(budget)) = (written.max_retries.origin(), written.retry_budget.origin()) {
            let problem = Problem::at_key(budget, "`retry_budget` and `max_retries` exclude each other");
            self.problems.push(problem.hint(Some("keep one of them")));
        }
        let count = |slot: &Count| slot.given().map(|count| count.to_u32());
        CircuitBreakers {
            max_connections: count(written.max_connections),
            max_pending_requests: count(written.max_pending_requests),
            max_requests: count(written.max_requests),
            max_retries: count(written.max_retries),
            retry_budget: written.retry_budget.given().map(retry_budget),
            max_connections_per_host: count(written.max_connections_per_host),
            ..CircuitBreakers::default()
        }
    }
}

fn retry_budget(written: &Located<RetryBudget>) -> model::RetryBudget {
    model::RetryBudget {
        budget_per_10_000: written.budget_percent.of(10_000),
        min_retry_concurrency: written.min_retry_concurrency.to_u32(),
    }
}
