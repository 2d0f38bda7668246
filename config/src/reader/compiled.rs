//! Regular expressions, with what it may cost to compare a text with them.

use regex::bytes::{Captures, Regex};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use std::fmt;
use std::sync::Arc;

/// Steps that the comparisons of one request may take together, its routes, filters and rewrites: one for each byte that an
/// automaton looks at, or for each byte that is looked through for a text, a cookie or a parameter. A step takes about
/// two nanoseconds. A request that asks for more is refused, whatever it may have matched.
pub const MATCH_STEPS_MAX: u64 = 1_000_000;

/// Bytes of a pattern's automaton. Patterns whose automata are larger are run by the regex crate, which keeps a part of the
/// automaton and may, for texts that are made for it, look at every state of the pattern for every byte.
const AUTOMATON_MAX: usize = 2 * 1024 * 1024;

/// What looking at one state costs the regex crate, in steps.
const STATE_COST: u32 = 4;

/// A pattern of a whole text, or one that is searched for.
#[derive(Clone)]
pub struct CompiledPattern {
    regex: Regex,
    /// Only of a pattern of whole texts.
    automaton: Option<Arc<dense::DFA<Vec<u32>>>>,
    cost: u32,
    states: u32,
    /// Bytes of the longest match, if there is one.
    longest: Option<usize>,
}

impl fmt::Debug for CompiledPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.regex.fmt(f)
    }
}

/// The text decides: what is made of it is the same, too.
impl PartialEq for CompiledPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for CompiledPattern {}

impl CompiledPattern {
    /// A pattern of whole texts: anchored at both ends, and compiled without Unicode.
    pub fn whole(regex: Regex) -> Self {
        let automaton = automaton(regex.as_str(), StartKind::Anchored);
        Self::new(regex, automaton.map(Arc::new))
    }

    /// A pattern that is searched for.
    pub fn search(regex: Regex) -> Self {
        let is_small = automaton(regex.as_str(), StartKind::Unanchored);
        Self { automaton: None, ..Self::new(regex, is_small.map(Arc::new)) }
    }

    fn new(regex: Regex, automaton: Option<Arc<dense::DFA<Vec<u32>>>>) -> Self {
        let nfa = NFA::compiler().syntax(syntax()).configure(nfa()).build(regex.as_str());
        let states = nfa.map_or(u32::MAX / STATE_COST, |nfa| nfa.states().len() as u32);
        let cost = if automaton.is_some() { 1 } else { states * STATE_COST };
        let longest = parse_pattern(regex.as_str()).and_then(|hir| hir.properties().maximum_len());
        Self { regex, automaton, cost, states, longest }
    }

    /// Steps for each byte of a text, at most.
    #[inline]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// States that finding groups may look at for each byte.
    pub fn states(&self) -> u32 {
        self.states
    }

    /// Bytes of the longest match, if there is one.
    pub fn longest(&self) -> Option<usize> {
        self.longest
    }

    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }

    #[inline]
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.automaton {
            Some(automaton) => {
                let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
                automaton.try_search_fwd(&input).map_or_else(|_| self.regex.is_match(text), |found| found.is_some())
            }
            None => self.regex.is_match(text),
        }
    }
}

/// The steps of a pattern with this cost over a text of this length.
pub fn steps(cost: u32, bytes: usize) -> u64 {
    u64::from(cost) * bytes as u64
}

/// What a pattern says, read as it is compiled.
pub fn parse_pattern(pattern: &str) -> Option<Hir> {
    ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()
}

fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

fn nfa() -> thompson::Config {
    thompson::Config::new().utf8(false).which_captures(WhichCaptures::None)
}

fn automaton(pattern: &str, start: StartKind) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .accelerate(false)
        .start_kind(start)
        .dfa_size_limit(Some(AUTOMATON_MAX))
        .determinize_size_limit(Some(2 * AUTOMATON_MAX));
    dense::Builder::new().configure(config).syntax(syntax()).thompson(nfa()).build(pattern).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::bytes::RegexBuilder;

    fn regex(text: &str) -> Regex {
        RegexBuilder::new(text).unicode(false).build().expect("valid")
    }

    #[test]
    fn the_automaton_says_what_the_pattern_says() {
        let texts: [&[u8]; 9] = [b"", b"/", b"/a", b"/a/b.js", b"/\xff\xfe", b"/a\nb", b"/123", b"a/", b"/aaaaab"];
        for pattern in
            ["", "/.*", "/[^/]+", "(?i)/A.*", "/[0-9]{1,3}", ".*\\.js", "(?s)/.*", "/a+b?", "/\\b.*", "(?u)/.+"]
        {
            let regex = regex(&format!("^(?:{pattern})$"));
            let whole = CompiledPattern::whole(regex.clone());
            assert!(whole.automaton.is_some() || pattern.contains("(?u)"), "{pattern}");
            for text in texts {
                assert_eq!(whole.is_match(text), regex.is_match(text), "{pattern} {}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn what_patterns_cost() {
        let cost = |pattern: &str| CompiledPattern::whole(regex(&format!("^(?:{pattern})$"))).cost();
        for small in ["/a/[^/]+", "/.{300}", ".*\\.(?:jpg|png)", ".*[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}.*"] {
            assert_eq!(cost(small), 1, "{small}");
        }
        // What may have begun at each of the last bytes: two to the power of these are the states of the automaton.
        assert!(cost(".*a.{300}b.*") > 1200);
        let search = |pattern: &str| CompiledPattern::search(regex(pattern));
        assert_eq!((search("one").cost(), search("one").longest()), (1, Some(3)));
        assert_eq!((search("^/old/(.*)$").cost(), search("^/old/(.*)$").longest()), (1, None));
        assert!(search("a.{200}b").cost() > 800);
    }
}
