//! What a start or a reload waits for, and what of it is missing when its patience is over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Names that a line of the log has at most.
const NAMES_MAX: usize = 10;

/// Ends the wait when all clones of it, and all that is being looked at, are dropped: also where a thread dies with them.
#[derive(Clone)]
pub struct Warm(Arc<Missing>);

/// The other end, which waits.
pub struct Warming(Weak<Missing>);

/// Something that is looked at for the first time; dropped when that has ended.
pub struct FirstLook {
    warm: Warm,
    name: String,
}

/// How many first looks at each name have not ended.
#[derive(Default)]
struct Missing(Mutex<BTreeMap<String, usize>>);

impl Warm {
    pub fn new() -> (Self, Warming) {
        let missing = Arc::new(Missing::default());
        let warming = Warming(Arc::downgrade(&missing));
        (Self(missing), warming)
    }

    /// `what` is a host name or an endpoint of the cluster.
    pub fn first_look(&self, cluster: &str, what: &str) -> FirstLook {
        let name = format!("{what} (cluster {cluster})");
        *self.0.names().entry(name.clone()).or_default() += 1;
        FirstLook { warm: self.clone(), name }
    }
}

impl Drop for FirstLook {
    fn drop(&mut self) {
        let mut names = self.warm.0.names();
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

impl Missing {
    /// A panic leaves no name half written.
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Warming {
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// The names that are missing, the first ones of many; empty where the wait is over.
    pub fn missing(&self) -> String {
        let Some(missing) = self.0.upgrade() else { return String::new() };
        let names = missing.names();
        let mut list = names.keys().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = names.len().checked_sub(NAMES_MAX) {
            // Writing to a String cannot fail.
            let _ = write!(list, " and {more} more");
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_until_it_has_been_looked_at() {
        let (warm, warming) = Warm::new();
        let looks = [("app", "b.test"), ("app", "a.test"), ("db", "a.test"), ("db", "a.test")];
        let [b, a, db, again] = looks.map(|(cluster, name)| warm.first_look(cluster, name));
        drop(warm);
        assert_eq!(warming.missing(), "a.test (cluster app), a.test (cluster db), b.test (cluster app)");
        drop((a, db));
        assert_eq!(warming.missing(), "a.test (cluster db), b.test (cluster app)", "one of two has not ended");
        drop(again);
        assert!(!warming.is_over());
        drop(b);
        assert!(warming.is_over());
        assert_eq!(warming.missing(), "");
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        let (warm, warming) = Warm::new();
        let _looks: Vec<_> = (10..25).map(|index| warm.first_look("app", &format!("{index}.test"))).collect();
        let missing = warming.missing();
        assert!(missing.starts_with("10.test (cluster app), 11.test") && missing.ends_with("(cluster app) and 5 more"));
        assert_eq!(missing.matches(".test").count(), NAMES_MAX);
    }
}
