//! URI templates that match paths, and paths that are built of their variables.

use crate::model::{Pattern, TemplatePiece, UriTemplate};
use crate::reader::{FromText, Refusal, Shape, compile, holds, not_from_root};

/// Envoy: UriTemplateMatchConfig.path_template, and the limits of its parser.
const TEMPLATE_LENGTH_MAX: usize = 256;
const TEMPLATE_VARIABLES_MAX: usize = 5;
const TEMPLATE_NAME_LENGTH_MAX: usize = 16;
/// What an operator takes: every byte, or every byte but the slash. Envoy's take the characters of RFC 3986 without `*` and
/// `=`, so that a route that guards `/files/{id}` would not see `/files/YWJj=`.
const TEXT: &str = "(?s:.)*";
const SEGMENT: &str = "[^/]+";

/// A URI template that paths are matched with.
#[derive(Clone, Debug)]
pub struct Template(pub UriTemplate);

holds! { [] Template: UriTemplate; }

impl FromText for Template {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a URI template",
            allowed: "a path with *, ** (the last operator), {name}, {name=*}, {name=a/*} or {name=**} in the place of \
                      segments, such as \"/videos/{id}/*.ts\"",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if !text.starts_with('/') {
            return Err(not_from_root(text));
        }
        if text.len() > TEMPLATE_LENGTH_MAX {
            return Err(Refusal::new(format!("a template has at most {TEMPLATE_LENGTH_MAX} characters")));
        }
        let mut template = TemplateReader { rest: &text[1..], regex: String::from("^/"), ..TemplateReader::default() };
        template.segments()?;
        template.regex.push('$');
        Ok(Self(UriTemplate { text: text.to_owned(), regex: Pattern::whole(compile(&template.regex)?) }))
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
    fn segments(&mut self) -> Result<(), Refusal> {
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
                        let refusal =
                            Refusal::new(format!("{suffix:?} follows an operator in the middle of the template"));
                        return Err(refusal.hint(Some("text may follow an operator in the last segment only".into())));
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

    fn literal(&mut self, literal: &str) -> Result<(), Refusal> {
        if literal.is_empty() {
            return Err(Refusal::new("a template has no empty segments: two slashes follow each other"));
        }
        if let Some(bad) = literal.chars().find(|c| !is_template_literal(*c)) {
            let hint = match bad {
                '{' | '}' => Some("a variable is a whole segment: \"/{name}/\"".to_owned()),
                '*' => Some("an operator begins its segment: \"/*.ts\"".to_owned()),
                '?' | '#' => Some("the path is matched without its query".to_owned()),
                _ => None,
            };
            return Err(Refusal::new(format!("{bad:?} is not allowed here in a template")).hint(hint));
        }
        self.regex.push_str(&regex::escape(literal));
        Ok(())
    }

    fn operator(&mut self) -> Result<(), Refusal> {
        if self.has_text_glob {
            return Err(Refusal::new("an operator follows \"**\", which takes all that is left"));
        }
        if let Some(rest) = self.rest.strip_prefix("**") {
            self.has_text_glob = true;
            self.regex.push_str(TEXT);
            self.rest = rest;
        } else {
            self.regex.push_str(SEGMENT);
            self.rest = &self.rest[1..];
        }
        Ok(())
    }

    /// `{name}` or `{name=pattern}`, where the pattern may have several segments.
    fn variable(&mut self) -> Result<(), Refusal> {
        let Some((inside, after)) = self.rest[1..].split_once('}') else {
            return Err(Refusal::new("a '{' is not closed by a '}'"));
        };
        let (name, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
        if !is_variable_name(name) || name.len() > TEMPLATE_NAME_LENGTH_MAX {
            let allowed = format!("a letter, then letters, digits and '_'; at most {TEMPLATE_NAME_LENGTH_MAX}");
            return Err(Refusal::new(format!("{name:?} is not the name of a variable: {allowed}")));
        }
        if self.names.contains(&name) {
            return Err(Refusal::new(format!("the variable {name:?} is used twice")));
        }
        self.names.push(name);
        if self.names.len() > TEMPLATE_VARIABLES_MAX {
            return Err(Refusal::new(format!("a template has at most {TEMPLATE_VARIABLES_MAX} variables")));
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

holds! { [] TemplateRewrite: Vec<TemplatePiece>; }

impl FromText for TemplateRewrite {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a path with variables",
            allowed: "a path that starts with '/', with {name} for variables of match.template, such as \"/v2/{id}\"",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if !text.starts_with('/') {
            return Err(not_from_root(text));
        }
        if text.contains("//") {
            return Err(Refusal::new("two slashes follow each other"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if let Some(bad) = literal.chars().find(|c| !is_template_literal(*c) && *c != '/') {
                let hint = (bad == '*').then(|| "write a variable of the match: {name}".to_owned());
                return Err(Refusal::new(format!("{bad:?} is not allowed here")).hint(hint));
            }
            if !literal.is_empty() {
                pieces.push(TemplatePiece::Literal(literal.to_owned()));
            }
            let Some(variable) = after.strip_prefix('{') else {
                break;
            };
            let Some((name, after)) = variable.split_once('}') else {
                return Err(Refusal::new("a '{' is not closed by a '}'"));
            };
            if !is_variable_name(name) {
                return Err(Refusal::new(format!("{name:?} is not the name of a variable")));
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
        let Template(template) =
            Template::from_text(template).unwrap_or_else(|refusal| panic!("{template}: {refusal:?}"));
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
        // Whatever a request's path may carry.
        for byte in (b'!'..=b'~').filter(|byte| !b"/?#".contains(byte)).map(char::from) {
            let segment = format!("a{byte}");
            assert_eq!(captures("/files/{id}", &format!("/files/{segment}")), Some(vec![&*segment]));
            assert_eq!(
                captures("/*/{rest=**}", &format!("/{byte}/{byte}/b{byte}")),
                Some(vec![&*format!("{byte}/b{byte}")])
            );
            assert_eq!(captures("/**", &format!("/a{byte}/{byte}")), Some(vec![]));
        }
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
}
