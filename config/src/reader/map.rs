//! Tables whose keys are the user's: names with values.

use toml::de::DeValue;

use super::read::{Input, Located, Read};
use super::scalar::FromText;
use super::shape::Shape;
use crate::diagnostic::Problems;
use crate::place::Origin;

/// Keys and values in the order of the file; entries that could not be read have been reported and are left out.
#[derive(Clone, Debug)]
pub struct Map<K, V> {
    pub entries: Vec<(Located<K>, Located<V>)>,
    /// Whether the file wrote no key at all.
    pub is_empty: bool,
    /// Whether an entry could not be read; if something seems to be missing, it may be this entry.
    pub is_incomplete: bool,
}

impl<K: FromText, V: Read> Read for Map<K, V> {
    fn shape() -> Shape {
        Shape::Map(Box::new(V::shape()))
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::Table(table) = input.value else {
            input.refuse_type::<Self>(problems);
            return None;
        };
        // The parser sorts by name.
        let mut written: Vec<_> = table.iter().collect();
        written.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Vec::with_capacity(written.len());
        for (key, value) in written {
            let member = Input::new(value, key.span(), input.origin.path.key(key.get_ref().to_string()));
            let place = Origin { path: member.origin.path.clone(), key: key.span(), span: key.span() };
            let name = K::from_text(key.get_ref()).map_err(|refusal| refusal.report::<K>(&place, problems)).ok();
            let value = V::read(&member, problems);
            if let (Some(name), Some(value)) = (name, value) {
                let name = Located { value: name, origin: place };
                entries.push((name, Located { value, origin: member.origin }));
            }
        }
        let is_incomplete = entries.len() < table.len();
        Some(Self { entries, is_empty: table.is_empty(), is_incomplete })
    }
}
