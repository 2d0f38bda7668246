//! A scenario's results as a table of plain text or of HTML cells.
use crate::compare::result::{Medians, PeerResult, Run, ScenarioResult, Spread};
use crate::compare::storm;
use crate::generator::recorder::Handshakes;
use crate::units;

/// Column heads; [`row`] gives the cells under them.
pub const COLUMNS: [&str; 12] =
    ["peer", "req/s", "ratio", "CPU us/req", "ratio", "user", "system", "p50", "p99", "p99.9", "max", "RSS peak"];

/// One peer's cells. `ratio` is this peer's value divided by the baseline's.
pub fn row(peer: &PeerResult, median: &Medians, baseline: &str) -> [String; 12] {
    let ratios = median.ratios.get(baseline);
    let ratio = |value: Option<f64>| match value {
        _ if peer.peer == baseline => "1".to_owned(),
        Some(value) => format!("{value:.2}"),
        None => String::new(),
    };
    let number = |spread: Option<Spread>| spread.map_or_else(String::new, |spread| format!("{:.1}", spread.median));
    [
        peer.peer.clone(),
        format!("{} {}", units::count(median.requests_per_second.median), plus_minus(median.requests_per_second)),
        ratio(ratios.map(|ratios| ratios.requests_per_second)),
        median.cpu_us.map_or_else(String::new, |cpu| format!("{} {}", cost(cpu.median), plus_minus(cpu))),
        if median.cpu_us.is_some() { ratio(ratios.and_then(|ratios| ratios.cpu_us)) } else { String::new() },
        number(median.cpu_user_us),
        number(median.cpu_system_us),
        latency(median.p50_us),
        latency(median.p99_us),
        latency(median.p99_9_us),
        latency(median.max_us),
        median.memory_peak.map_or_else(String::new, |peak| units::bytes(peak.median)),
    ]
}

/// Microseconds of CPU time: two decimals where they tell something.
pub fn cost(us: f64) -> String {
    if us < 100.0 { format!("{us:.2}") } else { format!("{us:.0}") }
}

/// Empty where no exchange became whole.
fn latency(spread: Spread) -> String {
    if spread.median > 0.0 { units::micros(spread.median) } else { String::new() }
}

/// Half the distance between the best and the worst round.
fn plus_minus(spread: Spread) -> String {
    format!("±{:.0}%", spread.half_width() * 100.0)
}

/// Notes that explain the numbers of one peer.
pub fn notes(peer: &PeerResult) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &peer.error {
        notes.push(format!("did not run: {error}"));
    }
    let Some(median) = &peer.median else { return notes };
    if median.load_bound {
        notes
            .push("LOAD SIDE FULL: req/s and latency are limited by generator and origin, not by this peer".to_owned());
    }
    if median.stolen > 0.02 {
        notes.push(format!("{:.0} % of the cores' time was taken by other guests of the host", median.stolen * 100.0));
    }
    if median.others > 0.05 {
        notes.push(format!(
            "OTHER PROGRAMS had {:.0} % of the proxy's cores: repeat it undisturbed",
            median.others * 100.0
        ));
    }
    if median.wrong > 0 {
        notes.push(format!("{} WRONG ANSWERS: {}", median.wrong, failures(peer)));
    } else if median.failed > 0 {
        notes.push(format!("{} failed: {}", median.failed, failures(peer)));
    }
    if let Some(capacity) = peer.capacity {
        notes.push(format!("capacity in a closed loop: {}/s", units::count(capacity)));
    }
    if let Some(lag) = Spread::of(peer.runs.iter().filter_map(|run| run.lag_p99_us)) {
        notes.push(format!("the generator sent late: p99 {}", units::micros(lag.median)));
    }
    notes.extend(storm::notes(peer));
    notes.extend(middle_run(peer).into_iter().flat_map(extras));
    if let Some(syscalls) = &peer.syscalls {
        let mut by_name: Vec<_> = syscalls.by_name.iter().filter(|(_, count)| **count >= 0.005).collect();
        by_name.sort_by(|a, b| b.1.total_cmp(a.1));
        let names: Vec<String> = by_name.iter().map(|(name, count)| format!("{name} {count:.2}")).collect();
        notes.push(format!("{:.2} system calls/req ({}): {}", syscalls.total, syscalls.tool, names.join(", ")));
    }
    notes
}

/// The run whose throughput is the median, for what no median is formed of.
fn middle_run(peer: &PeerResult) -> Option<&Run> {
    let mut runs: Vec<&Run> = peer.runs.iter().collect();
    runs.sort_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second));
    runs.get(runs.len() / 2).copied()
}

fn extras(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(idle) = &run.idle {
        let each = idle.bytes_each.map_or_else(String::new, |each| format!(", {} of memory each", units::bytes(each)));
        let of = if idle.opened < idle.asked { format!(" of {} asked for", idle.asked) } else { String::new() };
        notes.push(format!("{} idle connections{of}{each}, {} open at the end", idle.opened, idle.open_at_end));
    }
    if let Some(handshakes) = run.handshakes.filter(|handshakes| *handshakes != Handshakes::default()) {
        notes.push(format!("TLS handshakes: {} full, {} resumed", handshakes.full, handshakes.resumed));
    }
    if let Some(slow) = &run.slow {
        notes.push(format!(
            "slow clients: {} read by {}, {} answers whole, {} failed",
            units::bytes(slow.received as f64),
            slow.clients,
            slow.completed,
            slow.failed
        ));
    }
    if let Some(restart) = &run.restart {
        notes.push(format!(
            "{} failed after the origin's return, the last within {:.0} ms",
            restart.failed_after_return, restart.last_failure_after_ms
        ));
    }
    let memory = run.memory.filter(|_| run.idle.is_some() || run.slow.is_some());
    if let Some(memory) = memory {
        let [start, settled] = [memory.start, memory.settled].map(|bytes| units::bytes(bytes as f64));
        notes.push(format!("memory without files' images: {start} at start, {settled} settled"));
    }
    notes
}

fn failures(peer: &PeerResult) -> String {
    let mut total = crate::generator::recorder::Failures::default();
    peer.runs.iter().for_each(|run| total.add(&run.failed));
    let kinds = [
        ("connect", total.connect),
        ("closed", total.closed),
        ("timeout", total.timeout),
        ("status", total.status),
        ("length", total.length),
        ("bytes", total.bytes),
        ("malformed", total.malformed),
    ];
    let named: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    named.join(", ")
}

/// One scenario as text.
pub fn scenario(result: &ScenarioResult, baseline: &str) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for peer in &result.peers {
        match &peer.median {
            Some(median) => rows.push(row(peer, median, baseline)),
            None => rows.push(std::array::from_fn(|i| if i == 0 { peer.peer.clone() } else { String::new() })),
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let scenario = &result.scenario;
    let mut text = format!("\n{}: {} ({} s a run)\n", scenario.name, scenario.title, result.seconds);
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        text += &format!("  {}\n", cells.join("  ").trim_end());
    }
    for (peer, reason) in &scenario.left_out {
        text += &format!("    {peer}: left out: {reason}\n");
    }
    for peer in &result.peers {
        for note in notes(peer) {
            text += &format!("    {}: {}\n", peer.peer, note.replace('\n', "\n      "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::result::Ratios;

    fn median(rate: f64, cpu: Option<f64>) -> Medians {
        let spread = |value: f64| Spread { median: value, low: value * 0.9, high: value * 1.1 };
        Medians {
            requests_per_second: spread(rate),
            cpu_us: cpu.map(spread),
            cpu_user_us: None,
            cpu_system_us: None,
            p50_us: spread(100.0),
            p99_us: spread(200.0),
            p99_9_us: spread(300.0),
            p99_99_us: spread(400.0),
            max_us: spread(2_000.0),
            memory_peak: None,
            memory_settled: None,
            failed: 0,
            wrong: 0,
            load_bound: true,
            stolen: 0.0,
            others: 0.0,
            ratios: [("a".to_owned(), Ratios { requests_per_second: 0.5, cpu_us: Some(2.0), p99_us: 1.0 })].into(),
        }
    }

    #[test]
    fn rows_carry_median_spread_and_ratio() {
        let peer = PeerResult { peer: "b".into(), ..PeerResult::default() };
        let cells = row(&peer, &median(20_000.0, Some(12.0)), "a");
        assert_eq!(cells[1..5], ["20.0k ±10%", "0.50", "12.00 ±10%", "2.00"]);
        let own = row(&PeerResult { peer: "a".into(), ..PeerResult::default() }, &median(1.0, Some(1.0)), "a");
        assert_eq!((own[2].as_str(), own[4].as_str()), ("1", "1"));
    }

    #[test]
    fn a_full_load_side_and_a_failed_start_are_said() {
        let mut peer = PeerResult { peer: "b".into(), error: Some("no".into()), ..PeerResult::default() };
        assert_eq!(notes(&peer), ["did not run: no"]);
        peer.error = None;
        peer.median = Some(median(1.0, None));
        assert!(notes(&peer)[0].starts_with("LOAD SIDE FULL"));
    }
}
