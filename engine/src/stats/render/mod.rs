//! Statistics as text, in the formats of the admin endpoint, piece by piece: a rendering holds a scope or two, however many
//! there are.

mod json;
mod prometheus;
mod shown;
mod text;

pub use prometheus::TIME_BOUNDS;
pub(super) use shown::{find, prefix};

use super::registry::{Key, Registry};
use regex::Regex;
use shown::Choice;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `name: value` lines sorted by name, then histograms with their quantiles (Envoy: GET /stats).
    Text,
    /// Envoy: GET /stats?format=json.
    Json,
    /// Prometheus' text format 0.0.4 with Envoy's names and labels (Envoy: GET /stats/prometheus).
    Prometheus,
}

/// Statistics on their way to a reader. Values are read when their piece is made. A scope that is new or gone meanwhile may
/// be missing.
#[derive(Debug)]
pub struct Rendering {
    keys: Arc<[Key]>,
    filter: Option<Regex>,
    used_only: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Text(text::Sorted),
    Json(json::Part),
    Prometheus(prometheus::Position),
}

impl Rendering {
    pub fn new(registry: &Registry, format: Format, filter: Option<Regex>, used_only: bool) -> Self {
        let state = match format {
            Format::Text => State::Text(text::Sorted::default()),
            Format::Json => State::Json(json::Part::default()),
            Format::Prometheus => State::Prometheus(prometheus::Position::default()),
        };
        Self { keys: registry.keys(), filter, used_only, state }
    }

    /// Whether something else with this name is to be shown, too.
    pub fn chooses(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name))
    }

    /// Writes what one scope adds at most, perhaps nothing. Returns whether there may be more.
    pub fn step(&mut self, registry: &Registry, out: &mut String) -> bool {
        let choice = Choice { filter: self.filter.as_ref(), used_only: self.used_only };
        let walk = Walk { registry, keys: &self.keys, choice };
        match &mut self.state {
            State::Text(sorted) => sorted.step(&walk, out),
            State::Json(part) => part.step(&walk, out),
            State::Prometheus(position) => position.step(&walk, out),
        }
    }
}

/// What all formats walk over.
struct Walk<'a> {
    registry: &'a Registry,
    keys: &'a [Key],
    choice: Choice<'a>,
}

#[cfg(test)]
mod tests;
