//! The committed instruction counts, and the comparison with new ones.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// How often a piece is repeated for one count; the counts below are for one of these.
pub const CALLS: u32 = 100;

/// The counts that a change may not raise by more than [`LIMIT_PERCENT`]. The others tell where to look.
pub const GUARDED: [&str; 4] = [
    "whole_exchange/small",
    "whole_exchange/browser",
    "exchanges_of_32_streams/to_http1",
    "exchanges_of_32_streams/to_http2",
];

pub const LIMIT_PERCENT: f64 = 3.0;

/// What a count may be above another one: what it costs to have something in force.
pub const ABOVE: [(&str, &str, f64); 2] = [
    ("whole_exchange/small_unsampled_w3c", "whole_exchange/small", 400.0),
    ("whole_exchange/small_unsampled_b3", "whole_exchange/small", 800.0),
];

/// What was counted, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub environment: Environment,
    /// By `function/id` of benches/instructions.rs: instructions for one call, the mean of [`CALLS`].
    pub instructions: BTreeMap<String, f64>,
}

/// What besides our own code decides how many instructions there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// `rustc --version`.
    pub rustc: String,
    /// `valgrind --version`.
    pub valgrind: String,
    /// The C library, whose memcpy and malloc are counted.
    pub libc: String,
    /// The architecture and the vector extensions for which libraries have code of its own.
    pub cpu: String,
}

/// How new counts compare with the baseline.
#[derive(Debug, PartialEq)]
pub struct Comparison {
    /// In the order of the names.
    pub lines: Vec<Line>,
    /// What is not as it was when the baseline was made. While there is any of it, nothing is a regression.
    pub differences: Vec<String>,
    /// Guarded counts past the limit.
    pub regressions: Vec<String>,
    /// Counts that are too far above another one.
    pub excesses: Vec<String>,
    /// Names on one side only: the baseline belongs to other benches.
    pub unmatched: Vec<String>,
}

/// One count.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub name: String,
    pub before: f64,
    pub now: f64,
}

impl Line {
    fn percent(&self) -> f64 {
        (self.now / self.before - 1.0) * 100.0
    }

    fn is_guarded(&self) -> bool {
        GUARDED.contains(&self.name.as_str())
    }

    fn is_regression(&self) -> bool {
        self.is_guarded() && self.percent() > LIMIT_PERCENT
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = if self.is_guarded() { "  guarded" } else { "" };
        write!(f, "{:<48}{:>12.1}{:>12.1}{:>+9.2} %{guard}", self.name, self.before, self.now, self.percent())
    }
}

impl Comparison {
    /// Whether the change must not go in like this.
    pub fn has_failed(&self) -> bool {
        !self.unmatched.is_empty()
            || (self.differences.is_empty() && !(self.regressions.is_empty() && self.excesses.is_empty()))
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        const WRITES: &str = "a String takes text";
        let mut text = format!("{:<48}{:>12}{:>12}{:>11}\n", "instructions for one call", "baseline", "now", "change");
        self.lines.iter().for_each(|line| writeln!(text, "{line}").expect(WRITES));
        for name in &self.unmatched {
            writeln!(text, "{name} stands on one side only: bless the baseline").expect(WRITES);
        }
        for difference in &self.differences {
            writeln!(text, "not comparable: {difference}").expect(WRITES);
        }
        for name in &self.regressions {
            writeln!(text, "{name} takes more than {LIMIT_PERCENT} % more instructions").expect(WRITES);
        }
        for excess in &self.excesses {
            writeln!(text, "{excess}").expect(WRITES);
        }
        let verdict = match (self.has_failed(), self.differences.is_empty()) {
            (true, _) => "FAILED. If that is meant: bench/instructions.sh --bless, and say why in the commit.",
            (false, true) => "ok",
            (false, false) => "Reported only: the check holds again once the baseline is blessed with these versions.",
        };
        writeln!(text, "{verdict}").expect(WRITES);
        text
    }
}

impl Baseline {
    pub fn compare(&self, now: &Self) -> Comparison {
        let mut lines = Vec::new();
        let mut unmatched = Vec::new();
        for (name, &before) in &self.instructions {
            match now.instructions.get(name) {
                Some(&now) => lines.push(Line { name: name.clone(), before, now }),
                None => unmatched.push(name.clone()),
            }
        }
        unmatched.extend(now.instructions.keys().filter(|name| !self.instructions.contains_key(*name)).cloned());
        let is_nowhere = |name: &&str| !self.instructions.contains_key(*name) && !now.instructions.contains_key(*name);
        unmatched.extend(GUARDED.into_iter().filter(is_nowhere).map(str::to_owned));
        let regressions = lines.iter().filter(|line| line.is_regression()).map(|line| line.name.clone()).collect();
        let differences = self.environment.differences(&now.environment);
        Comparison { lines, differences, regressions, excesses: now.excesses(), unmatched }
    }
}

impl Baseline {
    fn excesses(&self) -> Vec<String> {
        let excess = |(name, base, max): &(&str, &str, f64)| {
            let above = self.instructions.get(*name)? - self.instructions.get(*base)?;
            (above > *max).then(|| format!("{name} takes {above:.1} instructions more than {base}, {max} are allowed"))
        };
        ABOVE.iter().filter_map(excess).collect()
    }
}

impl Environment {
    fn differences(&self, now: &Self) -> Vec<String> {
        let parts = [
            ("rustc", &self.rustc, &now.rustc),
            ("valgrind", &self.valgrind, &now.valgrind),
            ("libc", &self.libc, &now.libc),
            ("cpu", &self.cpu, &now.cpu),
        ];
        let differing = parts.into_iter().filter(|(_, before, now)| before != now);
        differing.map(|(name, before, now)| format!("{name} is {now:?}, the baseline's {before:?}")).collect()
    }
}

/// Read what gungraun's runner prints with `--output-format=json`: one summary for each line.
///
/// # Errors
/// A sentence that names what is not as expected.
pub fn parse_counts(output: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut counts = BTreeMap::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let summary: Value = serde_json::from_str(line).map_err(|error| format!("not a summary: {error}"))?;
        let part = |key: &str| summary[key].as_str().ok_or_else(|| format!("a summary without {key}"));
        let name = format!("{}/{}", part("function_name")?, part("id")?);
        let total = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
        let total = total.as_f64().filter(|total| *total > 0.0).ok_or_else(|| format!("{name}: no count"))?;
        if counts.insert(name.clone(), total / f64::from(CALLS)).is_some() {
            return Err(format!("{name} was counted twice"));
        }
    }
    if counts.is_empty() {
        return Err("no counts: the benches did not run".into());
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Of the guarded counts, those of HTTP/2 are the same in all of these.
    fn baseline(rustc: &str, counts: &[(&str, f64)]) -> Baseline {
        let environment =
            Environment { rustc: rustc.into(), valgrind: "v".into(), libc: "l".into(), cpu: "x86_64".into() };
        let others = GUARDED[2..].iter().map(|name| ((*name).into(), 1.0));
        let instructions = counts.iter().map(|(name, count)| ((*name).into(), *count)).chain(others).collect();
        Baseline { environment, instructions }
    }

    const BEFORE: [(&str, f64); 3] =
        [("piece/x", 10.0), ("whole_exchange/browser", 2000.0), ("whole_exchange/small", 1000.0)];

    #[test]
    fn three_percent_pass_and_more_fail() {
        let before = baseline("1", &BEFORE);
        let now = |small| {
            baseline("1", &[("piece/x", 20.0), ("whole_exchange/browser", 1.0), ("whole_exchange/small", small)])
        };
        for (small, fails) in [(1.0, false), (1000.0, false), (1029.9, false), (1030.1, true), (9000.0, true)] {
            let comparison = before.compare(&now(small));
            assert_eq!(comparison.has_failed(), fails, "{small}");
            assert_eq!(comparison.to_text().contains("FAILED"), fails, "{small}");
        }
    }

    #[test]
    fn other_versions_are_reported_and_do_not_fail() {
        let now =
            baseline("2", &[("piece/x", 10.0), ("whole_exchange/browser", 1.0), ("whole_exchange/small", 9000.0)]);
        let comparison = baseline("1", &BEFORE).compare(&now);
        assert!(!comparison.has_failed());
        assert_eq!(comparison.regressions, ["whole_exchange/small"]);
        let text = comparison.to_text();
        assert!(text.contains("rustc is \"2\", the baseline's \"1\"") && text.contains("+800.00 %"), "{text}");
    }

    #[test]
    fn counts_without_a_partner_fail() {
        let before = baseline("1", &BEFORE);
        assert_eq!(before.compare(&baseline("1", &BEFORE[..2])).unmatched, ["whole_exchange/small"]);
        assert_eq!(baseline("1", &BEFORE[1..]).compare(&before).unmatched, ["piece/x"]);
        let none = baseline("1", &BEFORE[..1]);
        assert_eq!(none.compare(&none).unmatched, GUARDED[..2]);
        assert!(none.compare(&none).has_failed());
    }

    #[test]
    fn what_something_in_force_may_cost_is_bounded() {
        let counts = |above| {
            let traced = ("whole_exchange/small_unsampled_w3c", 1000.0 + above);
            baseline("1", &[BEFORE[0], BEFORE[1], BEFORE[2], traced])
        };
        assert!(!counts(0.0).compare(&counts(400.0)).has_failed());
        let comparison = counts(0.0).compare(&counts(400.1));
        assert!(comparison.has_failed() && comparison.to_text().contains("400.1 instructions more than"));
    }

    #[test]
    fn summaries_are_read() {
        let line = |id: &str, values: Value| {
            let metrics = json!({ "Ir": { "values": values } });
            let profiles = json!([{ "data": { "total": { "metrics": metrics } } }]);
            json!({ "function_name": "piece", "id": id, "profiles": profiles }).to_string()
        };
        let (first, second) = (line("a", json!({ "new": 1250 })), line("b", json!({ "new": 300, "old": 200 })));
        let counts = parse_counts(&format!("noise\n{first}\n{second}\n")).expect("two summaries");
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("piece/a".into(), 12.5), ("piece/b".into(), 3.0)]);
        assert!(parse_counts(&line("a", json!({ "old": 1 }))).is_err());
        assert!(parse_counts("").is_err());
        assert!(parse_counts(&format!("{first}\n{first}")).is_err());
    }
}
