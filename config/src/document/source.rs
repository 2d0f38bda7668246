//! Conditions on where a request comes from.

use toml::de::DeValue;

use crate::diagnostic::Problems;
use crate::model::Cidr;
use crate::reader::{Input, List, Located, Read, Shape, Slot, table};

table! {
    /// Ranges of addresses, and whether the address must be in one of them or in none.
    AddressRanges at "listeners[].http.virtual_hosts[].routes[].match.remote_ip", example "allow-lists.toml" {
        /// The ranges.
        ranges: List<Cidr>, required;
        /// Match addresses that are in none of the ranges. A connection on a Unix socket has no address, which is in no
        /// range.
        invert: bool, default "false";
    }
}

/// A list of ranges, or a table that can say more.
#[derive(Clone, Debug)]
pub enum AddressCondition {
    List(Located<List<Cidr>>),
    Table(Box<AddressRanges>),
}

impl AddressCondition {
    pub fn ranges(&self) -> Option<&Located<List<Cidr>>> {
        match self {
            Self::List(list) => Some(list),
            Self::Table(table) => table.ranges.given(),
        }
    }

    pub fn invert(&self) -> bool {
        match self {
            Self::List(_) => false,
            Self::Table(table) => table.invert.value,
        }
    }
}

/// The ranges that could be read.
pub fn ranges(slot: &Slot<AddressCondition>) -> &[Located<Cidr>] {
    slot.given().and_then(|condition| condition.ranges()).map_or(&[], |list| &list.items)
}

impl Read for AddressCondition {
    fn shape() -> Shape {
        Shape::Either(vec![List::<Cidr>::shape(), AddressRanges::shape()])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::Array(_) => {
                let value = List::read(input, problems)?;
                Some(Self::List(Located { value, origin: input.origin.clone() }))
            }
            DeValue::Table(_) => AddressRanges::read(input, problems).map(|table| Self::Table(Box::new(table))),
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}
