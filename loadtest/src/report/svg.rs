//! Plots as SVG text: bars and lines, in the page's own colours, so that they work on light and dark alike.
use std::fmt::Write;

/// Colours that stay apart for colour-blind readers too (Okabe and Ito 2008), in the order of the peers.
pub const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#b2a800"];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 62.0;

/// One axis; positions are in the units that the caller has chosen (say, decimal logarithms).
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<(f64, String)>,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// Index into [`COLOURS`].
    pub colour: usize,
    pub points: Vec<(f64, f64)>,
    pub dashed: bool,
    /// Mark each point; for measured points that a line merely connects.
    pub marked: bool,
}

/// One bar: a dark part below, a light one on top, and how far the rounds lay apart.
#[derive(Clone, Debug)]
pub struct Bar {
    pub name: String,
    pub colour: usize,
    pub lower: f64,
    pub upper: f64,
    pub low: f64,
    pub high: f64,
}

impl Axis {
    /// A logarithmic axis over `values`, which must be above 0; positions are log10.
    pub fn logarithmic(label: &str, values: impl Iterator<Item = f64>, format: fn(f64) -> String) -> Axis {
        let positive: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        let low = positive.iter().copied().fold(f64::MAX, f64::min).min(1e12).log10();
        let high = positive.iter().copied().fold(f64::MIN_POSITIVE, f64::max).max(1e-3).log10();
        let (low, high) = if high - low < 0.3 { (low - 0.2, high + 0.2) } else { (low - 0.05, high + 0.05) };
        let mut ticks = Vec::new();
        for decade in low.floor() as i32..=high.ceil() as i32 {
            for step in [1.0, 2.0, 5.0] {
                let value = step * 10f64.powi(decade);
                let wide = high - low > 2.5 && step > 1.0;
                if !wide && (low..=high).contains(&value.log10()) {
                    ticks.push((value.log10(), format(value)));
                }
            }
        }
        Axis { label: label.to_owned(), low, high, ticks }
    }

    /// A linear axis from 0 over `values`.
    pub fn linear(label: &str, values: impl Iterator<Item = f64>, format: fn(f64) -> String) -> Axis {
        let high = values.fold(0.0, f64::max).max(1e-9) * 1.06;
        let rough = high / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0) * power;
        let ticks = (0..).map(|i| f64::from(i) * step).take_while(|v| *v <= high).map(|v| (v, format(v))).collect();
        Axis { label: label.to_owned(), low: 0.0, high, ticks }
    }

    /// Percentiles spread by their nines: 0 is the minimum, 1 is p90, 2 is p99.
    pub fn nines(most: f64) -> Axis {
        let names = [
            (0.0, "min"),
            (std::f64::consts::LOG10_2, "p50"),
            (1.0, "p90"),
            (2.0, "p99"),
            (3.0, "p99.9"),
            (4.0, "p99.99"),
        ];
        let more = [(5.0, "p99.999"), (6.0, "p99.9999")];
        let ticks = names.iter().chain(&more).filter(|(at, _)| *at <= most).map(|(at, n)| (*at, (*n).to_owned()));
        Axis { label: "percentile".to_owned(), low: 0.0, high: most.max(1.0), ticks: ticks.collect() }
    }
}

/// Where something stands in the drawing.
fn x_at(axis: &Axis, value: f64) -> f64 {
    LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT)
}

fn y_at(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - (value - axis.low) / (axis.high - axis.low) * (HEIGHT - TOP - BOTTOM)
}

/// Lines over two axes, with a legend.
pub fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let mut svg = frame(title, y);
    let bottom = HEIGHT - BOTTOM;
    for (at, name) in &x.ticks {
        let at = x_at(x, *at);
        let _ = write!(svg, r#"<line class="grid" x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}"/>"#);
        text(&mut svg, at, bottom + 15.0, "middle", name);
    }
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, bottom + 31.0, "middle", &x.label);
    for line in series {
        let colour = COLOURS[line.colour % COLOURS.len()];
        let at = |&(px, py): &(f64, f64)| (x_at(x, px), y_at(y, py));
        let points: Vec<String> = line.points.iter().map(at).map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
        let dash = if line.dashed { r#" stroke-dasharray="5 4""# } else { "" };
        let points = points.join(" ");
        let name = escape(&line.name);
        let _ = write!(
            svg,
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}><title>{name}</title></polyline>"#
        );
        for point in line.points.iter().filter(|_| line.marked) {
            let (px, py) = at(point);
            let _ = write!(svg, r#"<circle cx="{px:.1}" cy="{py:.1}" r="3.5" fill="{colour}"/>"#);
        }
    }
    let named = series.iter().filter(|line| !line.name.is_empty() && !line.points.is_empty());
    let names: Vec<_> = named.map(|line| (line.name.as_str(), line.colour, line.dashed)).collect();
    legend(&mut svg, &names);
    svg + "</svg>"
}

/// Groups of bars, each with a label.
pub fn bars(title: &str, y: &Axis, groups: &[(String, Vec<Bar>)]) -> String {
    let mut svg = frame(title, y);
    let bottom = HEIGHT - BOTTOM;
    let group_width = (WIDTH - LEFT - RIGHT) / groups.len().max(1) as f64;
    let mut names: Vec<(&str, usize, bool)> = Vec::new();
    for (index, (label, bars)) in groups.iter().enumerate() {
        let left = LEFT + group_width * index as f64;
        let width = (group_width * 0.84 / bars.len().max(1) as f64).min(46.0);
        let first = left + (group_width - width * bars.len() as f64) / 2.0;
        for (position, bar) in bars.iter().enumerate() {
            one_bar(&mut svg, y, bar, first + width * position as f64, width * 0.88);
            if !names.iter().any(|(name, ..)| *name == bar.name) {
                names.push((&bar.name, bar.colour, false));
            }
        }
        text(&mut svg, left + group_width / 2.0, bottom + 15.0, "middle", label);
    }
    legend(&mut svg, &names);
    svg + "</svg>"
}

fn one_bar(svg: &mut String, y: &Axis, bar: &Bar, x: f64, width: f64) {
    let colour = COLOURS[bar.colour % COLOURS.len()];
    let (base, middle, top) = (y_at(y, 0.0), y_at(y, bar.lower), y_at(y, bar.lower + bar.upper));
    let (name, total) = (escape(&bar.name), bar.lower + bar.upper);
    let _ = write!(svg, "<g><title>{name}: {total:.2} ({:.2} user, {:.2} system)</title>", bar.lower, bar.upper);
    for (from, to, opacity) in [(base, middle, 1.0), (middle, top, 0.55)] {
        let height = (from - to).max(0.0);
        let _ = write!(
            svg,
            r#"<rect x="{x:.1}" y="{to:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}" fill-opacity="{opacity}"/>"#
        );
    }
    let (centre, low, high) = (x + width / 2.0, y_at(y, bar.low), y_at(y, bar.high));
    let _ = write!(svg, r#"<line class="error" x1="{centre:.1}" y1="{low:.1}" x2="{centre:.1}" y2="{high:.1}"/></g>"#);
    if width > 18.0 {
        let number = if total < 99.5 { format!("{total:.1}") } else { format!("{total:.0}") };
        text(svg, centre, top.min(high) - 4.0, "middle", &number);
    }
}

fn frame(title: &str, y: &Axis) -> String {
    let label = escape(title);
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">"#);
    let _ = write!(svg, r#"<text class="title" x="{LEFT}" y="18">{label}</text>"#);
    let right = WIDTH - RIGHT;
    for (at, name) in &y.ticks {
        let at = y_at(y, *at);
        let _ = write!(svg, r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}"/>"#);
        text(&mut svg, LEFT - 6.0, at + 4.0, "end", name);
    }
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let _ = write!(
        svg,
        r#"<text text-anchor="middle" transform="translate(13 {middle:.1}) rotate(-90)">{}</text>"#,
        escape(&y.label)
    );
    svg
}

fn legend(svg: &mut String, names: &[(&str, usize, bool)]) {
    let mut x = LEFT;
    let y = HEIGHT - 10.0;
    for (name, colour, dashed) in names {
        let colour = COLOURS[colour % COLOURS.len()];
        let dash = if *dashed { r#" stroke-dasharray="5 3""# } else { "" };
        let (end, line) = (x + 18.0, y - 4.0);
        let _ = write!(
            svg,
            r#"<line x1="{x:.1}" y1="{line:.1}" x2="{end:.1}" y2="{line:.1}" stroke="{colour}" stroke-width="4"{dash}/>"#
        );
        text(svg, x + 23.0, y, "start", name);
        x += 42.0 + 6.6 * name.chars().count() as f64;
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = escape(content);
    let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{content}</text>"#);
}

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_ticks_within_their_range() {
        let axis = Axis::logarithmic("x", [30.0, 4_000.0].into_iter(), |v| v.to_string());
        let names: Vec<&str> = axis.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["50", "100", "200", "500", "1000", "2000"]);
        let axis = Axis::linear("x", [0.0, 47.0].into_iter(), |v| v.to_string());
        assert_eq!(axis.ticks.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(Axis::nines(2.2).ticks.last().unwrap().1, "p99");
    }

    #[test]
    fn drawings_are_closed_and_escaped() {
        let axis = Axis::linear("y", [1.0].into_iter(), |v| v.to_string());
        let bar = Bar { name: "<a>".into(), colour: 0, lower: 0.4, upper: 0.6, low: 0.9, high: 1.1 };
        let svg = bars("a & b", &axis, &[("g".into(), vec![bar])]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;a&gt;") && !svg.contains("<a>"));
        // A bar of 1.0 on an axis to 1.06 reaches from the base to near the top of the field.
        let top = y_at(&axis, 1.0);
        assert!((TOP..TOP + 20.0).contains(&top), "{top}");
    }
}
