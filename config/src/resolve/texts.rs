//! Values as the file writes them.

use super::{Resolver, is_written};
use crate::model::Texts;
use crate::place::Origin;
use crate::reader::{Presence, TableSpec};

impl Resolver<'_, '_, '_> {
    /// Adds the values of keys of the table at `table`, or their defaults.
    pub(super) fn add_texts(
        &self,
        texts: &mut Texts,
        spec: &'static TableSpec,
        table: &Origin,
        keys: &[(&'static str, Option<&Origin>)],
    ) {
        for (key, origin) in keys {
            if let Some(origin) = origin.filter(|origin| is_written(origin, table)) {
                texts.add(key, unquoted(self.problems.written(origin)).to_owned());
            } else if let Some(Presence::Default(text)) =
                spec.keys.iter().find(|known| known.name == *key).map(|known| &known.presence)
                && *text != "\"off\""
            {
                texts.add(key, unquoted(text));
            }
        }
    }

    pub(super) fn texts(
        &self,
        spec: &'static TableSpec,
        table: &Origin,
        keys: &[(&'static str, Option<&Origin>)],
    ) -> Texts {
        let mut texts = Texts::default();
        self.add_texts(&mut texts, spec, table, keys);
        texts
    }
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\'']).trim()
}
