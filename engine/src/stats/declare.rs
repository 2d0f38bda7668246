//! The macro with which every statistic is declared once, and what it generates for readers.

use std::sync::Arc;

use super::{AnyScope, Cell, Kind};

/// The kind of a statistic's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    Counter,
    Gauge,
    Time,
    Codes,
    Statuses,
}

/// Everything about a statistic but its value.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// The last part of the dotted name; may itself have dots (`health_check.attempt`).
    pub name: &'static str,
    pub cell: CellKind,
    /// One sentence; Prometheus shows it.
    pub help: &'static str,
}

impl Descriptor {
    /// The digit of a `_2xx` counter, which becomes a label.
    pub fn class(&self) -> Option<char> {
        self.name.strip_suffix("xx").and_then(|head| head.chars().last()).filter(char::is_ascii_digit)
    }
}

/// A set of statistics that exists once for each thing of a kind (listener, cluster, ...) and each shard.
pub trait Scope: Default + Send + Sync + 'static {
    const KIND: Kind;
    /// In the order in which `for_each_cell` visits.
    const DESCRIPTORS: &'static [Descriptor];

    /// Shows each cell with its index in `DESCRIPTORS`.
    fn for_each_cell(&self, visit: impl FnMut(usize, Cell<'_>));
    /// The cell with this index in `DESCRIPTORS`.
    fn cell(&self, index: usize) -> Option<Cell<'_>>;
    fn wrap(scope: Arc<Self>) -> AnyScope;
    /// `None` when `scope` is of another kind.
    fn unwrap(scope: &AnyScope) -> Option<&Arc<Self>>;
}

/// Declares the kinds of scopes, each with its statistics, from one list:
///
/// ```text
/// /// Documentation of the struct.
/// Kind Struct ["first part of the dotted name", "first part of Prometheus' name", "label that holds the scope's name"] {
///     /// Documentation of the field and Prometheus' help text.
///     counter the_last_part_of_the_name;
///     counter health_check_attempt as "health_check.attempt";
/// }
/// ```
///
/// The kinds of cells: `counter`, `gauge`, `time` (a histogram of microseconds, shown in milliseconds), `codes`
/// (one counter for each status code, shown as the name with `_<code>`) and `statuses` (one counter for each status of gRPC,
/// shown by its number alone).
macro_rules! declare_statistics {
    ($(
        $(#[doc = $doc:literal])+
        $kind:ident $scope:ident [$dotted:literal, $family:literal, $label:literal] {
            $( $(#[doc = $help:literal])+ $cell:ident $field:ident $(as $shown:literal)?; )+
        }
    )+) => {
        /// What a scope describes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($kind,)+
        }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)+];

            /// First part of the dotted name: `listener` of `listener.0.0.0.0_80.downstream_cx_total`.
            pub fn dotted(self) -> &'static str {
                match self { $(Kind::$kind => $dotted,)+ }
            }

            /// First part of the name in Prometheus' format: `envoy_listener`.
            pub fn family(self) -> &'static str {
                match self { $(Kind::$kind => $family,)+ }
            }

            /// Prometheus' label for the scope's name.
            pub fn label(self) -> &'static str {
                match self { $(Kind::$kind => $label,)+ }
            }

            pub fn descriptors(self) -> &'static [Descriptor] {
                match self { $(Kind::$kind => $scope::DESCRIPTORS,)+ }
            }
        }

        /// One shard's copy of one scope.
        #[derive(Clone, Debug)]
        pub enum AnyScope {
            $($kind(Arc<$scope>),)+
        }

        impl AnyScope {
            /// Shows each cell with its index in the kind's descriptors.
            pub fn for_each_cell(&self, visit: impl FnMut(usize, Cell<'_>)) {
                match self { $(AnyScope::$kind(scope) => scope.for_each_cell(visit),)+ }
            }

            /// The cell with this index in the kind's descriptors.
            pub fn cell(&self, index: usize) -> Option<Cell<'_>> {
                match self { $(AnyScope::$kind(scope) => scope.cell(index),)+ }
            }
        }

        $(
            $(#[doc = $doc])+
            // Two cache lines, since processors prefetch the neighbouring one: shards never share either.
            #[derive(Debug, Default)]
            #[repr(align(128))]
            pub struct $scope {
                $( $(#[doc = $help])+ pub $field: declare_statistics!(@type $cell), )+
            }

            impl Scope for $scope {
                const KIND: Kind = Kind::$kind;
                const DESCRIPTORS: &'static [Descriptor] = &[
                    $( Descriptor {
                        name: declare_statistics!(@name $field $($shown)?),
                        cell: declare_statistics!(@kind $cell),
                        help: concat!($($help),+).trim_ascii(),
                    }, )+
                ];

                fn for_each_cell(&self, mut visit: impl FnMut(usize, Cell<'_>)) {
                    let mut index = 0;
                    $(
                        visit(index, declare_statistics!(@view $cell, &self.$field));
                        index += 1;
                    )+
                    debug_assert_eq!(index, Self::DESCRIPTORS.len());
                }

                fn cell(&self, index: usize) -> Option<Cell<'_>> {
                    let mut at = 0;
                    $(
                        if at == index {
                            return Some(declare_statistics!(@view $cell, &self.$field));
                        }
                        at += 1;
                    )+
                    debug_assert!(index >= at);
                    None
                }

                fn wrap(scope: Arc<Self>) -> AnyScope {
                    AnyScope::$kind(scope)
                }

                fn unwrap(scope: &AnyScope) -> Option<&Arc<Self>> {
                    match scope {
                        AnyScope::$kind(scope) => Some(scope),
                        _ => None,
                    }
                }
            }
        )+
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $shown:literal) => { $shown };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type time) => { Histogram };
    (@type codes) => { StatusCodes };
    (@type statuses) => { GrpcStatuses };
    (@kind counter) => { CellKind::Counter };
    (@kind gauge) => { CellKind::Gauge };
    (@kind time) => { CellKind::Time };
    (@kind codes) => { CellKind::Codes };
    (@kind statuses) => { CellKind::Statuses };
    (@view counter, $cell:expr) => { Cell::Counter($cell) };
    (@view gauge, $cell:expr) => { Cell::Gauge($cell) };
    (@view time, $cell:expr) => { Cell::Time($cell) };
    (@view codes, $cell:expr) => { Cell::Codes($cell) };
    (@view statuses, $cell:expr) => { Cell::Statuses($cell) };
}
pub(super) use declare_statistics;
