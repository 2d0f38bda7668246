//! report.html: one file without network resources, made to be read and to be sent around.
use std::collections::BTreeMap;
use std::fmt::Write;

use super::svg::{self, Axis, Bar, Series, escape};
use super::table;
use crate::compare::result::{Comparison, Medians, PeerResult, ScenarioResult};
use crate::units;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --note: #a40; --best: #0a04; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin-bottom: .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.best { background: var(--best); font-weight: 600; }
.scroll { overflow-x: auto; } .note { font-size: 13px; color: var(--note); margin: .15rem 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg text.title { font-size: 13px; font-weight: 600; } svg .grid { stroke: var(--line); }
svg .error { stroke: currentColor; stroke-width: 1.2; }
pre { overflow-x: auto; font-size: 12px; border: 1px solid var(--line); padding: .6rem; } summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: 13px; } dd { margin: 0; }
";

pub fn page(comparison: &Comparison) -> String {
    let colours: BTreeMap<&str, usize> =
        comparison.peers.iter().enumerate().map(|(index, peer)| (peer.name.as_str(), index)).collect();
    let page = Page { comparison, colours };
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    let _ = writeln!(out, "<title>Ringway side by side</title><style>{STYLE}</style></head><body>");
    out += "<h1>Ringway side by side with other proxies</h1>\n";
    page.facts(&mut out);
    page.overview(&mut out);
    let mut families: Vec<&str> = Vec::new();
    for result in &comparison.scenarios {
        if families.last() != Some(&result.scenario.family()) {
            families.push(result.scenario.family());
        }
    }
    for family in families {
        page.family(&mut out, family);
    }
    page.configs(&mut out);
    out + "</body></html>\n"
}

struct Page<'a> {
    comparison: &'a Comparison,
    colours: BTreeMap<&'a str, usize>,
}

impl Page<'_> {
    fn colour(&self, peer: &str) -> usize {
        self.colours.get(peer).copied().unwrap_or(0)
    }

    fn facts(&self, out: &mut String) {
        let comparison = self.comparison;
        let machine = &comparison.machine;
        let cores = |cpus: &[usize]| crate::measure::cpus::join(cpus);
        let pinning = &comparison.pinning;
        let mut facts = vec![
            ("command", comparison.command.clone()),
            ("started", format!("{} UTC", utc(comparison.started_unix_s))),
            ("kernel", machine.kernel.clone()),
            ("processor", format!("{}, {} cores{}", machine.cpu, machine.cores, guest(machine.virtualised))),
            ("frequency governor", machine.governor.clone()),
            ("TCP congestion control", machine.congestion_control.clone()),
            ("load at start", machine.load_average_at_start.clone()),
            (
                "cores",
                format!(
                    "proxy {}, origin {}, generator {}",
                    cores(&pinning.proxy),
                    cores(&pinning.origin),
                    cores(&pinning.load)
                ),
            ),
            (
                "rounds",
                format!("{}; order rotated; medians, ± is half the distance of the extremes", comparison.rounds),
            ),
            ("ratios", format!("divided by {}", comparison.baseline)),
        ];
        facts.extend(comparison.peers.iter().map(|peer| (peer.name.as_str(), peer.version.clone())));
        if !comparison.missing.is_empty() {
            facts.push(("left out", comparison.missing.join(", ")));
        }
        if comparison.cut_short {
            facts.push(("incomplete", "ended early by an interrupt".to_owned()));
        }
        out.push_str("<dl>");
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        out.push_str("</dl>\n");
    }

    /// CPU time for each request, all scenarios and peers on one screen.
    fn overview(&self, out: &mut String) {
        let peers: Vec<&str> =
            self.comparison.peers.iter().map(|peer| peer.name.as_str()).filter(|name| *name != "direct").collect();
        out.push_str("<h2>CPU time of the proxy for each request, microseconds</h2>\n");
        out.push_str("<p>In brackets the ratio to the baseline. The lowest is marked.</p>");
        out.push_str("<div class=\"scroll\"><table><tr><th>scenario</th>");
        peers.iter().for_each(|peer| {
            let _ = write!(out, "<th>{}</th>", escape(peer));
        });
        out.push_str("</tr>\n");
        for result in &self.comparison.scenarios {
            let cpu = |name: &str| median_of(result, name).and_then(|median| median.cpu_us);
            let best = peers.iter().filter_map(|peer| cpu(peer)).map(|cpu| cpu.median).fold(f64::MAX, f64::min);
            let name = &result.scenario.name;
            let _ = write!(out, "<tr><td><a href=\"#{name}\">{name}</a></td>");
            for peer in &peers {
                let Some(value) = cpu(peer) else {
                    out.push_str("<td></td>");
                    continue;
                };
                let class = if value.median <= best { " class=\"best\"" } else { "" };
                let ratio = median_of(result, peer)
                    .and_then(|median| median.ratios.get(&self.comparison.baseline))
                    .and_then(|ratios| ratios.cpu_us)
                    .map_or_else(String::new, |ratio| format!(" ({ratio:.2})"));
                let _ = write!(out, "<td{class}>{}{ratio}</td>", table::cost(value.median));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
    }

    fn family(&self, out: &mut String, family: &str) {
        let results: Vec<&ScenarioResult> =
            self.comparison.scenarios.iter().filter(|result| result.scenario.family() == family).collect();
        let Some(first) = results.first() else { return };
        let _ = writeln!(out, "<h2>{}: {}</h2>", escape(family), escape(&first.scenario.title));
        let _ = writeln!(out, "<p>{}</p>", escape(&first.scenario.why));
        out.push_str("<div class=\"plots\">");
        if results.len() == 1 || magnitude(&results) < 12.0 {
            out.push_str(&self.cpu_bars(family, &results));
        } else {
            // Variants that differ by magnitudes would leave the small ones without a visible bar.
            results.iter().for_each(|result| out.push_str(&self.cpu_bars(&result.scenario.name, &[result])));
        }
        if results.len() > 1 && magnitude_of_content(&results) < 2.0 {
            out.push_str(&self.throughput_latency(&results));
        }
        out.push_str("</div>\n");
        for result in results {
            self.scenario(out, result);
        }
    }

    fn cpu_bars(&self, title: &str, results: &[&ScenarioResult]) -> String {
        let groups: Vec<(String, Vec<Bar>)> = results
            .iter()
            .map(|result| {
                let label = result.scenario.name.rsplit('/').next().unwrap_or_default().to_owned();
                (label, result.peers.iter().filter_map(|peer| self.bar(peer)).collect())
            })
            .collect();
        let tops = groups.iter().flat_map(|(_, bars)| bars.iter().map(|bar| bar.high.max(bar.lower + bar.upper)));
        let axis = Axis::linear("us of CPU a request", tops, |value| format!("{value}"));
        svg::bars(&format!("{title}: CPU per request (dark user, light system)"), &axis, &groups)
    }

    fn bar(&self, peer: &PeerResult) -> Option<Bar> {
        let median = peer.median.as_ref()?;
        let (cpu, user) = (median.cpu_us?, median.cpu_user_us?);
        let lower = user.median.min(cpu.median);
        Some(Bar {
            name: peer.peer.clone(),
            colour: self.colour(&peer.peer),
            lower,
            upper: cpu.median - lower,
            low: cpu.low,
            high: cpu.high,
        })
    }

    /// One line for each peer through the family's variants.
    fn throughput_latency(&self, results: &[&ScenarioResult]) -> String {
        let of_peer = |peer: &str| -> Vec<&Medians> { results.iter().filter_map(|r| median_of(r, peer)).collect() };
        // Direct is several times as fast and would leave the proxies a corner of the plot.
        let proxies: Vec<_> = self.comparison.peers.iter().filter(|peer| peer.name != "direct").collect();
        let all: Vec<&Medians> = proxies.iter().flat_map(|peer| of_peer(&peer.name)).collect();
        let rates = all.iter().map(|median| median.requests_per_second.median);
        let x = Axis::linear("requests a second", rates, units::count);
        let latencies = all.iter().flat_map(|median| [median.p50_us.median, median.p99_us.median]);
        let y = Axis::logarithmic("latency", latencies, tick);
        // Dashed lines first and without a name: ten names would not fit the legend, and the colours are the peers'.
        let mut series = Vec::new();
        for (dashed, value) in [(true, p50 as fn(&Medians) -> f64), (false, p99)] {
            for peer in &proxies {
                let points: Vec<(f64, f64)> = of_peer(&peer.name)
                    .iter()
                    .filter(|median| value(median) > 0.0)
                    .map(|median| (median.requests_per_second.median, value(median).log10()))
                    .collect();
                let name = if dashed { String::new() } else { peer.name.clone() };
                series.push(Series { name, colour: self.colour(&peer.name), points, dashed, marked: true });
            }
        }
        svg::lines("throughput against latency (solid p99, dashed p50)", &x, &y, &series)
    }

    fn scenario(&self, out: &mut String, result: &ScenarioResult) {
        let name = escape(&result.scenario.name);
        let _ = write!(out, "<h3 id=\"{name}\">{name}</h3>\n<div class=\"scroll\"><table><tr>");
        table::COLUMNS.iter().for_each(|column| {
            let _ = write!(out, "<th>{column}</th>");
        });
        out.push_str("</tr>\n");
        for (peer, median) in result.peers.iter().filter_map(|peer| Some((peer, peer.median.as_ref()?))) {
            out.push_str("<tr>");
            for cell in table::row(peer, median, &self.comparison.baseline) {
                let _ = write!(out, "<td>{}</td>", escape(&cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
        for (peer, reason) in &result.scenario.left_out {
            let _ = writeln!(out, "<p class=\"note\">{}: left out: {}</p>", escape(peer), escape(reason));
        }
        for peer in &result.peers {
            for note in table::notes(peer) {
                let _ = writeln!(out, "<p class=\"note\">{}: {}</p>", escape(&peer.peer), escape(&note));
            }
        }
        out.push_str("<div class=\"plots\">");
        out.push_str(&self.percentiles(result));
        if result.scenario.origin.restart.is_some() {
            out.push_str(&self.timeline(result));
        }
        out.push_str("</div>\n");
    }

    fn percentiles(&self, result: &ScenarioResult) -> String {
        let series: Vec<Series> = result
            .peers
            .iter()
            .filter(|peer| !peer.curve.is_empty())
            .map(|peer| Series {
                name: peer.peer.clone(),
                colour: self.colour(&peer.peer),
                points: peer.curve.iter().map(|(below, us)| (-(1.0 - below).log10(), us.max(0.1).log10())).collect(),
                dashed: false,
                marked: false,
            })
            .collect();
        let most = series.iter().flat_map(|line| line.points.iter().map(|point| point.0)).fold(1.0, f64::max);
        let latencies = result.peers.iter().flat_map(|peer| peer.curve.iter().map(|(_, us)| us.max(0.1)));
        let y = Axis::logarithmic("latency", latencies, tick);
        let from = if result.scenario.is_open_loop() { " (from the intended send time)" } else { "" };
        svg::lines(&format!("{}: latency by percentile{from}", result.scenario.name), &Axis::nines(most), &y, &series)
    }

    /// Failed exchanges over time, of each peer's first round.
    fn timeline(&self, result: &ScenarioResult) -> String {
        let series: Vec<Series> = result
            .peers
            .iter()
            .filter_map(|peer| {
                let timeline = &peer.runs.first()?.timeline;
                let width = result.seconds / timeline.len().max(1) as f64;
                let points = timeline.iter().enumerate();
                let points = points.map(|(i, slice)| (i as f64 * width, slice.failed as f64 / width)).collect();
                let colour = self.colour(&peer.peer);
                Some(Series { name: peer.peer.clone(), colour, points, dashed: false, marked: false })
            })
            .collect();
        let most = series.iter().flat_map(|line| line.points.iter().map(|point| point.1));
        let y = Axis::linear("failed a second", most, units::count);
        let x = Axis::linear("seconds", std::iter::once(result.seconds), |value| format!("{value}"));
        svg::lines(&format!("{}: failed exchanges over time", result.scenario.name), &x, &y, &series)
    }

    fn configs(&self, out: &mut String) {
        out.push_str(
            "<h2>Configs</h2>\n<p>As each peer ran its first scenario; those of all lie beside this report.</p>",
        );
        for peer in self.comparison.peers.iter().filter(|peer| !peer.config.is_empty()) {
            let _ = writeln!(
                out,
                "<details><summary>{} {}</summary><pre>{}</pre></details>",
                escape(&peer.name),
                escape(&peer.version),
                escape(&peer.config)
            );
        }
    }
}

fn median_of<'r>(result: &'r ScenarioResult, peer: &str) -> Option<&'r Medians> {
    result.peers.iter().find(|candidate| candidate.peer == peer)?.median.as_ref()
}

/// The highest CPU cost of the variants divided by the lowest, of the peer for which that is most.
fn magnitude(results: &[&ScenarioResult]) -> f64 {
    let highest = |result: &ScenarioResult| {
        result.peers.iter().filter_map(|p| p.median.as_ref()?.cpu_us).map(|cpu| cpu.median).fold(0.0, f64::max)
    };
    let tops: Vec<f64> = results.iter().map(|result| highest(result)).filter(|top| *top > 0.0).collect();
    tops.iter().copied().fold(0.0, f64::max) / tops.iter().copied().fold(f64::MAX, f64::min)
}

/// Whether the variants ask for the same content; throughput in requests says nothing across sizes.
fn magnitude_of_content(results: &[&ScenarioResult]) -> f64 {
    let size = |result: &&ScenarioResult| {
        (result.scenario.request.size.0 + result.scenario.request.upload.map_or(0, |size| size.0)).max(1) as f64
    };
    results.iter().map(size).fold(0.0, f64::max) / results.iter().map(size).fold(f64::MAX, f64::min)
}

/// A latency on an axis: round values without a fraction.
fn tick(us: f64) -> String {
    match us {
        v if v < 1e3 => format!("{} us", (v * 10.0).round() / 10.0),
        v if v < 1e6 => format!("{} ms", (v / 1e2).round() / 10.0),
        v => format!("{} s", (v / 1e5).round() / 10.0),
    }
}

fn p50(median: &Medians) -> f64 {
    median.p50_us.median
}

fn p99(median: &Medians) -> f64 {
    median.p99_us.median
}

fn guest(virtualised: bool) -> &'static str {
    if virtualised { ", virtual machine" } else { "" }
}

/// Seconds since 1970 as date and time (the civil calendar by H. Hinnant's days_from_civil, backwards).
fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3_600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(utc(0), "1970-01-01 00:00");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00");
        assert_eq!(utc(1_767_225_600), "2026-01-01 00:00");
    }
}
