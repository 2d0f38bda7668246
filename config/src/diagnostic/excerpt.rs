//! The line of the file that a problem shows, with carets under the part that it is about.

/// Columns of source shown around a problem in a longer line.
pub(super) const EXCERPT_COLUMNS: usize = 110;
const TAB: &str = "    ";

/// A source line fit for a terminal, and the place of the carets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub line: String,
    pub caret_column: usize,
    pub caret_count: usize,
}

/// The part of `line` around the bytes `from..to`, with tabs widened and control characters replaced. `before`: characters
/// before them.
pub(super) fn excerpt(line: &str, before: usize, from: usize, to: usize) -> Excerpt {
    let mut shown = String::new();
    let (mut columns, mut caret_column, mut caret_end) = (0, None, None);
    // In a long line, begin shortly before the span.
    let is_cut = before + 20 > EXCERPT_COLUMNS;
    let kept = if is_cut { line[..from].char_indices().nth_back(EXCERPT_COLUMNS / 3 - 1) } else { None };
    let start = kept.map_or(0, |(at, _)| at);
    if is_cut {
        shown.push('…');
        columns += 1;
    }
    for (at, c) in line[start..].char_indices().map(|(at, c)| (start + at, c)) {
        if at >= from && caret_column.is_none() {
            caret_column = Some(columns);
        }
        if at >= to && caret_end.is_none() {
            caret_end = Some(columns);
        }
        if columns >= EXCERPT_COLUMNS {
            shown.push('…');
            break;
        }
        match c {
            '\t' => {
                shown.push_str(TAB);
                columns += TAB.len();
            }
            c => {
                shown.push(if c.is_control() { '\u{fffd}' } else { c });
                columns += width(c);
            }
        }
    }
    let caret_column = caret_column.unwrap_or(columns);
    let caret_count = caret_end.unwrap_or(columns).saturating_sub(caret_column).max(1);
    Excerpt { line: shown.trim_end().to_owned(), caret_column, caret_count }
}

/// Columns that a character takes in a terminal, by the common wide and combining ranges of Unicode's UAX 11, which are
/// enough to keep a caret under its word.
fn width(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{feff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}
