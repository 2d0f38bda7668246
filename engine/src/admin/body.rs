//! What a response consists of, made piece by piece as the client takes it: a slow reader holds one piece, however long the
//! whole is.

use super::clusters::Clusters;
use crate::http::Length;
use crate::stats::{Registry, Rendering};
use std::sync::Arc;

/// Bytes from which a piece is sent. A step may add some KiB.
const PIECE: usize = 16 * 1024;
/// Steps in which a piece is made: those that write nothing take time, too.
const STEPS: usize = 256;

pub(super) enum Body {
    Text(String),
    /// A text that all its readers share, from this byte on.
    Shared(Arc<str>, usize),
    /// `first` comes before them.
    Statistics {
        first: String,
        statistics: Rendering,
    },
    Clusters(Clusters),
}

impl Body {
    pub(super) fn length(&self) -> Length {
        match self {
            Self::Text(text) => Length::Known(text.len() as u64),
            Self::Shared(text, at) => Length::Known((text.len() - at) as u64),
            Self::Statistics { .. } | Self::Clusters(_) => Length::Unknown,
        }
    }

    /// Adds the next piece to `out`. Returns whether there may be more.
    pub(super) fn piece(&mut self, registry: &Registry, out: &mut String) -> bool {
        for _ in 0..STEPS {
            if out.len() >= PIECE {
                return true;
            }
            if !self.step(registry, out) {
                return false;
            }
        }
        true
    }

    fn step(&mut self, registry: &Registry, out: &mut String) -> bool {
        match self {
            Self::Text(text) => {
                out.push_str(&std::mem::take(text));
                false
            }
            Self::Shared(text, at) => {
                let end = (*at + PIECE..text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
                out.push_str(&text[*at..end]);
                *at = end;
                end < text.len()
            }
            Self::Statistics { first, statistics } => {
                out.push_str(&std::mem::take(first));
                statistics.step(registry, out)
            }
            Self::Clusters(clusters) => clusters.step(registry, out),
        }
    }
}
