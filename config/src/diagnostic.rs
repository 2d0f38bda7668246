//! Problems of a config file, and how they are shown: place, key, source line with a caret, what is allowed, a hint.

mod excerpt;

use std::cell::OnceCell;
use std::fmt;
use std::ops::Range;

use crate::place::{KeyPath, Origin, Place};
use excerpt::{Excerpt, excerpt};

/// After this number of problems similar names are no longer searched, so that the answer to a huge wrong file is still
/// fast.
const SUGGESTIONS_MAX: usize = 1_000;
/// Columns of text after which a list of allowed words is broken.
const WRAP_COLUMNS: usize = 110;
/// Characters of a message, path or hint.
const TEXT_MAX: usize = 1_000;

/// Everything that is wrong with a file, in the order of the file; never empty.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    problems: Vec<Diagnostic>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes of the file with the problem.
    pub span: Range<usize>,
    /// Such as `listeners[0].http.routes[1].route.cluster`; empty if the file is not TOML.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What may be written here.
    pub allowed: Option<String>,
    /// What to do about it, such as "did you mean `x`?".
    pub hint: Option<String>,
    excerpt: Excerpt,
}

impl Diagnostics {
    pub(crate) fn new(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        let lines = Lines::new(text);
        let mut problems: Vec<_> = problems.into_iter().map(|problem| lines.locate(file, problem)).collect();
        problems.sort_by(|a, b| (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message)));
        problems.dedup();
        Self { problems }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.problems.iter()
    }

    pub fn into_list(self) -> Vec<Diagnostic> {
        self.problems
    }

    /// Adds others of the same file. Where something is known to be wrong, nothing else is told of it.
    pub fn add(&mut self, others: Vec<Diagnostic>) {
        let is_known = |other: &Diagnostic| self.problems.iter().any(|known| known.span == other.span);
        let mut new: Vec<_> = others.into_iter().filter(|other| !is_known(other)).collect();
        self.problems.append(&mut new);
        self.problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
    }

    /// How many there are; at least 1.
    #[allow(clippy::len_without_is_empty)] // There is no empty one.
    pub fn len(&self) -> usize {
        self.problems.len()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match self.problems.len() {
            1 => writeln!(f, "1 problem"),
            count => writeln!(f, "{count} problems"),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, excerpt, .. } = self;
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        if !self.path.is_empty() {
            writeln!(f, "  in {}", self.path)?;
        }
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "  {margin} |")?;
        writeln!(f, "  {line} | {}", excerpt.line)?;
        let carets = "^".repeat(excerpt.caret_count);
        writeln!(f, "  {margin} | {}{carets}", " ".repeat(excerpt.caret_column))?;
        if let Some(allowed) = &self.allowed {
            writeln!(f, "{}", wrap("  allowed: ", allowed))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "{}", wrap("  hint: ", hint))?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// Without the excerpt, for logs.
    pub fn one_line(&self) -> String {
        let Self { file, line, column, message, path, .. } = self;
        let place = if path.is_empty() { String::new() } else { format!(", in {path}") };
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{file}:{line}:{column}: {message}{place}{hint}").replace('\n', " ")
    }
}

/// Breaks `text` at spaces; further lines are indented as far as the first one's text.
fn wrap(label: &str, text: &str) -> String {
    let mut out = label.to_owned();
    let mut column = label.len();
    for (index, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > WRAP_COLUMNS {
            out.push('\n');
            out.push_str(&" ".repeat(label.len()));
            column = label.len();
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

/// Collects problems while a file is read and resolved.
#[derive(Debug)]
pub struct Problems<'t> {
    text: &'t str,
    /// Made when the first place is needed.
    lines: OnceCell<Lines<'t>>,
    list: Vec<Problem>,
    warnings: Vec<Problem>,
    suggestions: usize,
    /// Whether a value is only tried.
    is_trial: bool,
}

impl<'t> Problems<'t> {
    pub fn new(text: &'t str) -> Self {
        let (list, warnings) = (Vec::new(), Vec::new());
        Self { text, lines: OnceCell::new(), list, warnings, suggestions: 0, is_trial: false }
    }

    /// Of a value that is read only to see whether it is accepted.
    pub fn trial(text: &'t str) -> Self {
        Self { is_trial: true, ..Self::new(text) }
    }

    pub fn is_trial(&self) -> bool {
        self.is_trial
    }

    pub fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Something that is valid, and that its author may not want.
    pub fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The file.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The value at `origin` as the file has it.
    pub fn written(&self, origin: &Origin) -> &'t str {
        self.text.get(origin.span.clone()).unwrap_or_default()
    }

    /// Takes out the warnings.
    pub fn take_warnings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes out the problems collected so far, to be put back with `push`.
    pub fn take(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.list)
    }

    pub fn into_list(self) -> Vec<Problem> {
        self.list
    }

    /// Line and column of the key at `origin` (of the value where it is a member of a list).
    pub fn place(&self, origin: &Origin) -> Place {
        self.place_of(&origin.key)
    }

    /// Line and column of the first of these bytes.
    pub fn place_of(&self, span: &Range<usize>) -> Place {
        let lines = self.lines.get_or_init(|| Lines::new(self.text));
        let start = lines.clamp(span.clone()).start;
        let index = lines.index(start);
        let column = lines.columns(lines.starts[index], start) + 1;
        let limited = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place { line: limited(index + 1), column: limited(column) }
    }

    /// The problem with its place in the file of this name.
    pub fn located(&self, file: &str, problem: Problem) -> Diagnostic {
        self.lines.get_or_init(|| Lines::new(self.text)).locate(file, problem)
    }

    /// The name that `written` probably stands for.
    pub fn suggest<'n>(&mut self, written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        self.suggestions += 1;
        if self.suggestions > SUGGESTIONS_MAX { None } else { closest(written, names) }
    }

    /// A problem with the bytes `part` of the string `value` at `origin`, or with the whole string if it has escapes.
    pub fn within(&self, origin: &Origin, value: &str, part: Range<usize>, message: impl Into<String>) -> Problem {
        let mut problem = Problem::at(origin, message);
        let written = self.written(origin);
        let quotes = written.len().saturating_sub(value.len()) / 2;
        if quotes > 0 && written.get(quotes..quotes + value.len()) == Some(value) {
            let start = origin.span.start + quotes;
            problem.span = start + part.start..start + part.end;
        }
        problem
    }
}

/// A problem before its line is known.
#[derive(Clone, Debug)]
pub struct Problem {
    span: Range<usize>,
    path: String,
    message: String,
    allowed: Option<String>,
    hint: Option<String>,
    /// Where the same thing was written, or (`false`) what this is about.
    earlier: Option<(usize, bool)>,
    about: Option<KeyFault>,
}

/// What is wrong with a key of a table, for the pass that explains unknown keys (`foreign::explain`).
#[derive(Clone, Debug)]
pub enum KeyFault {
    /// The table at `table` has no such key; `place` is that of its declaration.
    Unknown { table: KeyPath, place: &'static str, key: String },
    /// The table at `table` lacks a key that it must have.
    Missing { table: KeyPath, key: &'static str },
}

impl Problem {
    /// A problem with the value at `origin`.
    pub fn at(origin: &Origin, message: impl Into<String>) -> Self {
        Self { path: origin.path.to_string(), ..Self::in_text(origin.span.clone(), message) }
    }

    /// A problem with the key at `origin` being there at all.
    pub fn at_key(origin: &Origin, message: impl Into<String>) -> Self {
        Self { path: origin.path.to_string(), ..Self::in_text(origin.key.clone(), message) }
    }

    /// A problem with the text itself.
    pub fn in_text(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            path: String::new(),
            message: message.into(),
            allowed: None,
            hint: None,
            earlier: None,
            about: None,
        }
    }

    pub fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    pub fn hint(self, hint: Option<impl Into<String>>) -> Self {
        Self { hint: hint.map(Into::into).or(self.hint), ..self }
    }

    pub fn with_message(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { message: change(&self.message), ..self }
    }

    pub fn about(self, fault: KeyFault) -> Self {
        Self { about: Some(fault), ..self }
    }

    /// The unknown or missing key, if the problem is about one.
    pub fn key_fault(&self) -> Option<&KeyFault> {
        self.about.as_ref()
    }

    /// Adds the line of `origin` to the message.
    pub fn earlier(self, origin: &Origin) -> Self {
        Self { earlier: Some((origin.span.start, true)), ..self }
    }

    /// Adds the line of the byte `at` to the message.
    pub fn earlier_at(self, at: usize) -> Self {
        Self { earlier: Some((at, false)), ..self }
    }

    /// Where the problem begins.
    pub fn start(&self) -> usize {
        self.span.start
    }
}

/// The name nearest to `written`, if it is near.
pub fn closest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let length = written.chars().count();
    // A third of the letters may differ, at most three; in short names one.
    let limit = (length / 3).clamp(1, 3);
    let near = names.filter(|name| name.chars().count().abs_diff(length) <= limit);
    let ranked = near.map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name));
    ranked.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// A list of names for a message, cut if it is long.
pub fn name_list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<_> = names.collect();
    let mut list = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    list
}

/// Finds lines by byte offsets.
#[derive(Debug)]
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// Where the bytes are that only go on with a character.
    further: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let further = (0..text.len()).filter(|at| !text.is_char_boundary(*at)).collect();
        Self { text, starts: std::iter::once(0).chain(after_breaks).collect(), further }
    }

    /// Characters from one byte to another.
    fn columns(&self, from: usize, to: usize) -> usize {
        let further_before = |offset: usize| self.further.partition_point(|at| *at < offset);
        to - from - (further_before(to) - further_before(from))
    }

    /// Index of the line that holds `offset`.
    fn index(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) - 1
    }

    fn locate(&self, file: &str, problem: Problem) -> Diagnostic {
        let span = self.clamp(problem.span.clone());
        let index = self.index(span.start);
        let line_start = self.starts[index];
        let line_end = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        let line = &self.text[line_start..line_end];
        let line = line.strip_suffix('\r').unwrap_or(line);
        let from = (span.start - line_start).min(line.len());
        let to = (span.end - line_start).clamp(from, line.len());
        // Of a list of thousands on one line each value is looked up: nothing here may walk through the line for it.
        let before = self.columns(line_start, line_start + from);
        let message = match problem.earlier {
            Some((offset, is_same)) => {
                let word = if is_same && offset < problem.span.start { "first in" } else { "see" };
                format!("{} ({word} line {})", problem.message, self.index(offset) + 1)
            }
            None => problem.message,
        };
        Diagnostic {
            file: file.to_owned(),
            line: index + 1,
            column: before + 1,
            span,
            path: printable(&problem.path),
            message: printable(&message),
            allowed: problem.allowed.map(|allowed| printable(&allowed)),
            hint: problem.hint.map(|hint| printable(&hint)),
            excerpt: excerpt(line, before, from, to),
        }
    }

    /// The span moved into the text and to character boundaries; never on the empty line after a final line end.
    fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let body_end = self.text.trim_end_matches(['\n', '\r']).len();
        let mut start = span.start.min(body_end);
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = span.end.clamp(start, self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }
}

/// The text made fit for a terminal: quotes from the file may contain control characters or be very long.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(TEXT_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::excerpt::EXCERPT_COLUMNS;
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> Diagnostic {
        let diagnostics = Diagnostics::new("x.toml", text, vec![Problem::in_text(span, "wrong")]);
        diagnostics.iter().next().unwrap().clone()
    }

    #[test]
    fn columns_count_characters_and_tabs_are_widened() {
        let problem = shown("a = 1\n\tnäme = \"ü\"\n", 6 + 9..6 + 13);
        assert_eq!((problem.line, problem.column), (2, 9));
        assert_eq!(problem.excerpt.line, "    näme = \"ü\"");
        assert_eq!((problem.excerpt.caret_column, problem.excerpt.caret_count), (11, 3));
    }

    #[test]
    fn long_lines_are_cut_around_the_span() {
        let text = format!("{}wrong{}", "x".repeat(500), "y".repeat(500));
        let problem = shown(&text, 500..505);
        assert_eq!(problem.column, 501);
        assert!(problem.excerpt.line.chars().count() <= EXCERPT_COLUMNS + 1);
        let caret: String = problem.excerpt.line.chars().skip(problem.excerpt.caret_column).take(5).collect();
        assert_eq!((caret.as_str(), problem.excerpt.caret_count), ("wrong", 5));
    }

    #[test]
    fn characters_are_counted_wherever_they_are_in_a_long_line() {
        let text = format!("ä = 1\nb = [{}]", "\"é€xß\", ".repeat(100));
        for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            let problem = shown(&text, at..at + c.len_utf8());
            let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
            assert_eq!(problem.column, line.chars().count() + 1, "{at}");
            assert_eq!(problem.excerpt.line.chars().nth(problem.excerpt.caret_column), Some(c), "{at}");
        }
    }

    #[test]
    fn spans_outside_the_text_or_inside_a_character_are_moved() {
        assert_eq!(shown("a\n", 90..99).line, 1);
        assert_eq!(shown("", 0..0).column, 1);
        assert_eq!(shown("ü", 1..2).span, 0..2);
        assert_eq!(shown("a = '''\nb\n'''", 4..13).excerpt.caret_count, 3);
    }

    #[test]
    fn the_closest_name_is_near() {
        let names = ["address", "name", "http"];
        assert_eq!(closest("adress", names.into_iter()), Some("address"));
        assert_eq!(closest("NAME", names.into_iter()), Some("name"));
        assert_eq!(closest("port", names.into_iter()), None);
        assert_eq!(closest("", names.into_iter()), None);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a = \"\u{1b}[31m\"", 0..1).excerpt.line, "a = \"\u{fffd}[31m\"");
        let problem = Problem::in_text(0..0, format!("\u{1b}\n{}", "x".repeat(5_000)));
        let message = Diagnostics::new("x.toml", "", vec![problem]).to_string();
        assert!(message.contains("\u{fffd}\u{fffd}xx") && message.len() < 1_100, "{message}");
    }
}
