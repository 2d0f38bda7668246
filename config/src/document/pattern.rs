//! Regular expressions, what replaces their matches, and URI templates.

use regex::bytes::Regex;

use super::scalar::{Fault, FromText};
use super::shape::Shape;
use super::table::table;
use crate::model::{TemplatePiece, UriTemplate};

/// Compiled patterns may take this many bytes, so that a config cannot exhaust memory with nested repetitions.
const REGEX_SIZE_MAX: usize = 1 << 20;
/// Envoy: UriTemplateMatchConfig.path_template, and the limits of its parser.
const TEMPLATE_LENGTH_MAX: usize = 256;
const TEMPLATE_VARIABLES_MAX: usize = 5;
const TEMPLATE_NAME_LENGTH_MAX: usize = 16;
/// Characters of a path segment that a template may hold or match, as a character class: `pchar` of RFC 3986 without
/// '*' and '='.
const TEMPLATE_CLASS: &str = r"a-zA-Z0-9\-._~%!$&'()+,;:@";

table! {
    /// Replaces every match of a pattern (Envoy: RegexMatchAndSubstitute). It is written as `regex_rewrite` in `route` and
    /// `redirect`, and as `host_rewrite_path_regex`.
    RegexRewrite at "listeners[].http.virtual_hosts[].routes[].route.regex_rewrite", example "rewrites.toml" {
        /// What is replaced; it need not match all of the path.
        pattern: SearchPattern, required;
        /// What takes its place. `\1` is what the first group matched, `\0` all of the match, `\\` a backslash.
        substitution: Substitution, required;
    }
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl FromText for Pattern {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a regular expression",
            allowed: "a pattern in the syntax of the Rust crate regex (like RE2)",
        }
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        // Compiled alone first: `a)(b` must not become valid by the anchors' group.
        compile(text)?;
        compile(&format!("^(?:{text})$")).map(Self)
    }
}

/// A regular expression that is searched for in the text.
#[derive(Clone, Debug)]
pub struct SearchPattern(pub Regex);

impl FromText for SearchPattern {
    fn shape() -> Shape {
        <Pattern as FromText>::shape()
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new("an empty pattern matches between all characters"));
        }
        compile(text).map(Self)
    }
}

fn compile(pattern: &str) -> Result<Regex, Fault> {
    // Bytes, not code points: a path need not be UTF-8, and `.` must not let such a one slip past a route.
    let built = regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE_MAX).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            Fault::new(format!("the pattern is too large: compiled it takes more than {limit} bytes"))
                .hint(Some("use smaller repetition counts".into()))
        }
        regex::Error::Syntax(report) => {
            let reason = report.lines().rev().find_map(|line| line.strip_prefix("error: "));
            let reason = reason.unwrap_or("the pattern cannot be parsed").to_owned();
            let hint = regex_hint(&reason);
            Fault::new(format!("bad regular expression: {reason}")).hint(hint)
        }
        other => Fault::new(format!("bad regular expression: {other}")),
    })
}

fn regex_hint(reason: &str) -> Option<String> {
    if reason.contains("look-around") || reason.contains("backreference") {
        return Some("patterns take linear time: there is no look-around and no backreference".into());
    }
    if reason.contains("Unicode") {
        return Some("patterns match bytes: escape other characters as \\xNN, or percent-encoded in a path".into());
    }
    if reason.contains("escape") {
        return Some("in TOML, write patterns in single quotes, so that \\ stands for itself: '/v\\d+'".into());
    }
    None
}

/// What replaces a match: literals, each followed by a group of the pattern.
#[derive(Clone, Debug)]
pub struct Substitution(pub Vec<(String, Option<u16>)>);

impl FromText for Substitution {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a substitution",
            allowed: "visible ASCII characters, with \\0 to \\9 for groups of the pattern",
        }
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => match rest.next() {
                    Some('\\') => literal.push('\\'),
                    Some(digit) if digit.is_ascii_digit() => {
                        pieces.push((std::mem::take(&mut literal), Some(u16::from(digit as u8 - b'0'))));
                    }
                    _ => {
                        let fault = Fault::new("after a backslash stands the number of a group, or another backslash");
                        return Err(fault.hint(Some("write '\\1' in single quotes, or \"\\\\1\"".into())));
                    }
                },
                '?' | '#' => {
                    let fault = Fault::new(format!("a path has no '{c}'"));
                    return Err(fault.hint(Some("the query is not rewritten and goes on as it came".into())));
                }
                '$' if rest.clone().next().is_some_and(|next| next.is_ascii_digit() || next == '{') => {
                    let hint = "groups are written with a backslash: '\\1'";
                    return Err(Fault::new("'$' does not name a group").hint(Some(hint.into())));
                }
                c if c.is_ascii_graphic() => literal.push(c),
                c => return Err(Fault::new(format!("a path cannot hold {c:?}"))),
            }
        }
        if !literal.is_empty() {
            pieces.push((literal, None));
        }
        Ok(Self(pieces))
    }
}

/// A URI template that paths are matched with.
#[derive(Clone, Debug)]
pub struct Template(pub UriTemplate);

impl FromText for Template {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a URI template",
            allowed: "a path with *, ** (the last operator), {name}, {name=*}, {name=a/*} or {name=**} in the place of \
                      segments, such as \"/videos/{id}/*.ts\"",
        }
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        if !text.starts_with('/') {
            return Err(Fault::new(format!("{text:?} does not start with '/'"))
                .hint(Some(format!("did you mean \"/{text}\"?"))));
        }
        if text.len() > TEMPLATE_LENGTH_MAX {
            return Err(Fault::new(format!("a template has at most {TEMPLATE_LENGTH_MAX} characters")));
        }
        let mut template = TemplateReader { rest: &text[1..], regex: String::from("^/"), ..TemplateReader::default() };
        template.segments()?;
        template.regex.push('$');
        Ok(Self(UriTemplate { text: text.to_owned(), regex: compile(&template.regex)? }))
    }
}

/// Turns a template into a pattern, segment by segment.
#[derive(Default)]
struct TemplateReader<'t> {
    rest: &'t str,
    regex: String,
    names: Vec<&'t str>,
    has_text_glob: bool,
}

impl<'t> TemplateReader<'t> {
    fn segments(&mut self) -> Result<(), Fault> {
        while !self.rest.is_empty() {
            if self.rest.starts_with('{') {
                self.variable()?;
            } else if self.rest.starts_with('*') {
                self.operator()?;
            } else {
                let literal = self.until_slash();
                self.literal(literal)?;
            }
            match self.rest.strip_prefix('/') {
                Some(rest) => {
                    self.regex.push('/');
                    self.rest = rest;
                }
                None => {
                    let suffix = self.until_slash();
                    if suffix.is_empty() {
                        continue;
                    }
                    if !self.rest.is_empty() {
                        let fault = Fault::new(format!("{suffix:?} follows an operator in the middle of the template"));
                        return Err(fault.hint(Some("text may follow an operator in the last segment only".into())));
                    }
                    self.literal(suffix)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what stands before the next '/'.
    fn until_slash(&mut self) -> &'t str {
        let (taken, rest) = self.rest.split_at(self.rest.find('/').unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn literal(&mut self, literal: &str) -> Result<(), Fault> {
        if literal.is_empty() {
            return Err(Fault::new("a template has no empty segment: two slashes stand together"));
        }
        if let Some(bad) = literal.chars().find(|c| !is_template_literal(*c)) {
            let hint = match bad {
                '{' | '}' => Some("a variable is a whole segment: \"/{name}/\"".to_owned()),
                '*' => Some("an operator begins its segment: \"/*.ts\"".to_owned()),
                '?' | '#' => Some("the path is matched without its query".to_owned()),
                _ => None,
            };
            return Err(Fault::new(format!("{bad:?} cannot stand here in a template")).hint(hint));
        }
        self.regex.push_str(&regex::escape(literal));
        Ok(())
    }

    fn operator(&mut self) -> Result<(), Fault> {
        if self.has_text_glob {
            return Err(Fault::new("an operator follows \"**\", which takes all that is left"));
        }
        let class = TEMPLATE_CLASS;
        if let Some(rest) = self.rest.strip_prefix("**") {
            self.has_text_glob = true;
            self.regex.push_str(&format!("[{class}/]*"));
            self.rest = rest;
        } else {
            self.regex.push_str(&format!("[{class}]+"));
            self.rest = &self.rest[1..];
        }
        Ok(())
    }

    /// `{name}` or `{name=pattern}`, where the pattern may have several segments.
    fn variable(&mut self) -> Result<(), Fault> {
        let Some((inside, after)) = self.rest[1..].split_once('}') else {
            return Err(Fault::new("a '{' has no '}'"));
        };
        let (name, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
        if !is_variable_name(name) || name.len() > TEMPLATE_NAME_LENGTH_MAX {
            let allowed = format!("a letter, then letters, digits and '_'; at most {TEMPLATE_NAME_LENGTH_MAX}");
            return Err(Fault::new(format!("{name:?} is not the name of a variable: {allowed}")));
        }
        if self.names.contains(&name) {
            return Err(Fault::new(format!("the variable {name:?} stands in it twice")));
        }
        self.names.push(name);
        if self.names.len() > TEMPLATE_VARIABLES_MAX {
            return Err(Fault::new(format!("a template has at most {TEMPLATE_VARIABLES_MAX} variables")));
        }
        self.regex.push_str(&format!("(?P<{name}>"));
        for (index, segment) in pattern.split('/').enumerate() {
            if index > 0 {
                self.regex.push('/');
            }
            match segment {
                "*" | "**" => {
                    self.rest = segment;
                    self.operator()?;
                }
                literal => self.literal(literal)?,
            }
        }
        self.regex.push(')');
        self.rest = after;
        Ok(())
    }
}

fn is_template_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@".contains(c)
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A path made of literals and the variables of the match's template.
#[derive(Clone, Debug)]
pub struct TemplateRewrite(pub Vec<TemplatePiece>);

impl FromText for TemplateRewrite {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a path with variables",
            allowed: "a path that starts with '/', with {name} for variables of match.template, such as \"/v2/{id}\"",
        }
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        if !text.starts_with('/') {
            return Err(Fault::new(format!("{text:?} does not start with '/'")));
        }
        if text.contains("//") {
            return Err(Fault::new("two slashes stand together"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if let Some(bad) = literal.chars().find(|c| !is_template_literal(*c) && *c != '/') {
                let hint = (bad == '*').then(|| "name what the match captured: {name}".to_owned());
                return Err(Fault::new(format!("{bad:?} cannot stand here")).hint(hint));
            }
            if !literal.is_empty() {
                pieces.push(TemplatePiece::Literal(literal.to_owned()));
            }
            let Some(variable) = after.strip_prefix('{') else {
                break;
            };
            let Some((name, after)) = variable.split_once('}') else {
                return Err(Fault::new("a '{' has no '}'"));
            };
            if !is_variable_name(name) {
                return Err(Fault::new(format!("{name:?} is not the name of a variable")));
            }
            pieces.push(TemplatePiece::Variable(name.to_owned()));
            rest = after;
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
        let Template(template) = Template::from_text(template).unwrap_or_else(|fault| panic!("{template}: {fault:?}"));
        let captures = template.regex.captures(path.as_bytes())?;
        Some(captures.iter().skip(1).flatten().map(|group| std::str::from_utf8(group.as_bytes()).unwrap()).collect())
    }

    #[test]
    fn templates_match_segments() {
        assert_eq!(captures("/videos/*/*/*.m4s", "/videos/123414/hls/1080p5000_00001.m4s"), Some(vec![]));
        assert_eq!(captures("/videos/{file}", "/videos/1080p5000_00001.m4s"), Some(vec!["1080p5000_00001.m4s"]));
        assert_eq!(captures("/**.mpd", "/content/123/india/dash/55/manifest.mpd"), Some(vec![]));
        assert_eq!(captures("/**.mpd", "/manifest.mpdx"), None);
        assert_eq!(captures("/{a}/x/{b=**}", "/1/x/2/3"), Some(vec!["1", "2/3"]));
        assert_eq!(captures("/{a}/x/{b=**}", "/1/x/"), Some(vec!["1", ""]));
        assert_eq!(captures("/{v=videos/*}/end", "/videos/7/end"), Some(vec!["videos/7"]));
        assert_eq!(captures("/a.b/*", "/aXb/c"), None);
        for (path, expected) in [("/a/", true), ("/a", false), ("/a/b", false)] {
            assert_eq!(captures("/a/", path).is_some(), expected, "{path}");
        }
        assert_eq!((captures("/*", "/"), captures("/**", "/")), (None, Some(vec![])));
        assert!(captures("/", "/").is_some() && captures("/", "/a").is_none());
    }

    #[test]
    fn wrong_templates_are_refused() {
        let long = format!("/{}", "a".repeat(256));
        for text in [
            "",
            "a",
            "//",
            "/a//b",
            "/**/*",
            "/**/{a}",
            "/{a=**}/*",
            "/{a}/{a}",
            "/{a",
            "/{a=}",
            "/{}",
            "/{1}",
            "/a{b}",
            "/a*",
            "/*.ts/b",
            "/{a}b/c",
            "/a?b",
            "/a b",
            "/ü",
            "/{a=/b}",
            "/{a=b/}",
            "/{a=***}",
            "/***",
            "/{abcdefghijklmnopq}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/a=b",
            &long,
        ] {
            assert!(Template::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rewrites_are_literals_and_variables() {
        let TemplateRewrite(pieces) = TemplateRewrite::from_text("/v2/{id}-{name}/x").unwrap();
        assert_eq!(
            format!("{pieces:?}"),
            r#"[Literal("/v2/"), Variable("id"), Literal("-"), Variable("name"), Literal("/x")]"#
        );
        for text in ["", "v2", "//", "/{", "/{}", "/{a b}", "/*", "/a?b", "/}"] {
            assert!(TemplateRewrite::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn substitutions_are_literals_and_groups() {
        let Substitution(pieces) = Substitution::from_text(r"/a\1\2\\b").unwrap();
        assert_eq!(pieces, [("/a".into(), Some(1)), (String::new(), Some(2)), (r"\b".into(), None)]);
        assert_eq!(Substitution::from_text("").unwrap().0, []);
        for text in [r"\", r"\x", "$1", "${name}", "a b", "?x=1", "ü", "\n"] {
            assert!(Substitution::from_text(text).is_err(), "{text:?}");
        }
    }
}
