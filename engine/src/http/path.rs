//! Paths made canonical before a route is looked for, so that two spellings of one path cannot meet two rules
//! (RFC 3986 section 6.2.2; Envoy: normalize_path, merge_slashes, path_with_escaped_slashes_action).

/// The path leaves the root, or an escape in it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPath;

/// Whether `path` has an escaped slash or backslash.
pub fn has_escaped_slash(path: &[u8]) -> bool {
    path.windows(3).any(|escape| escaped_slash(escape).is_some())
}

fn escaped_slash(escape: &[u8]) -> Option<u8> {
    match escape {
        [b'%', b'2', b'f' | b'F'] => Some(b'/'),
        [b'%', b'5', b'c' | b'C'] => Some(b'\\'),
        _ => None,
    }
}

/// Append `path` with its escaped slashes as slashes.
pub fn unescape_slashes(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(&byte) = rest.first() {
        match rest.get(..3).and_then(escaped_slash) {
            Some(slash) => {
                out.push(slash);
                rest = &rest[3..];
            }
            None => {
                out.push(byte);
                rest = &rest[1..];
            }
        }
    }
}

/// Whether `normalize` would change `path`.
pub fn needs_normalizing(path: &[u8]) -> bool {
    let dots = |rest: &[u8]| matches!(rest, [b'.'] | [b'.', b'.'] | [b'.', b'/', ..] | [b'.', b'.', b'/', ..]);
    !path.starts_with(b"/")
        || path.iter().any(|byte| matches!(byte, b'%' | b'\\'))
        || memchr::memchr_iter(b'/', path).any(|at| dots(&path[at + 1..]))
}

/// Append `path` in its normal form: unreserved characters unescaped, the other escapes in upper case, backslashes as
/// slashes, `.` and `..` resolved.
///
/// # Errors
/// The path does not start with a slash, leaves the root, holds a broken escape or an escaped zero byte.
pub fn normalize(path: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidPath> {
    if !matches!(path.first(), Some(b'/' | b'\\')) {
        return Err(InvalidPath);
    }
    let start = out.len();
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => {
                let &[high, low, ref tail @ ..] = rest else { return Err(InvalidPath) };
                rest = tail;
                match hex(high)? << 4 | hex(low)? {
                    0 => return Err(InvalidPath),
                    value if is_unreserved(value) => out.push(value),
                    _ => out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
            b'\\' => out.push(b'/'),
            &byte => out.push(byte),
        }
    }
    remove_dot_segments(out, start)
}

/// RFC 3986 section 5.2.4, in place, on `out[start..]`, which begins with a slash.
fn remove_dot_segments(out: &mut Vec<u8>, start: usize) -> Result<(), InvalidPath> {
    let (mut read, mut write, end) = (start, start, out.len());
    while read < end {
        let segment_end = memchr::memchr(b'/', &out[read + 1..end]).map_or(end, |at| read + 1 + at);
        let segment = &out[read + 1..segment_end];
        if segment == b"." || segment == b".." {
            if segment == b".." {
                write = start + memchr::memrchr(b'/', &out[start..write]).ok_or(InvalidPath)?;
            }
            if segment_end == end {
                // What they name is a directory.
                out[write] = b'/';
                write += 1;
            }
        } else {
            out.copy_within(read..segment_end, write);
            write += segment_end - read;
        }
        read = segment_end;
    }
    out.truncate(write);
    Ok(())
}

fn hex(digit: u8) -> Result<u8, InvalidPath> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(InvalidPath),
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Append `path` with each row of slashes as one.
pub fn merge_slashes(path: &[u8], out: &mut Vec<u8>) {
    let mut after_slash = false;
    for &byte in path {
        if byte != b'/' || !after_slash {
            out.push(byte);
        }
        after_slash = byte == b'/';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, InvalidPath> {
        let mut out = b"before".to_vec();
        normalize(path.as_bytes(), &mut out)?;
        let text = String::from_utf8(out.split_off(6)).expect("valid");
        assert_eq!(needs_normalizing(path.as_bytes()) || text == path, true, "{path} became {text}");
        Ok(text)
    }

    #[test]
    fn paths_are_normalized() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/.", "/"),
            ("/a/..", "/"),
            ("/a//../b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/.hidden/..b", "/.hidden/..b"),
            ("/%61%2E%2e/x", "/a../x"),
            ("/a/%2e%2E/b", "/b"),
            ("/%2fa%5c", "/%2Fa%5C"),
            ("/a\\b\\..\\c", "/a/c"),
            ("/%c3%a4", "/%C3%A4"),
            ("//a", "//a"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
        for path in ["/..", "/a/../..", "/%2e%2e", "/%", "/%4", "/%zz", "/%00", "a", "*"] {
            assert_eq!(normal(path), Err(InvalidPath), "{path}");
        }
    }

    #[test]
    fn slashes_are_merged_and_unescaped() {
        let with = |edit: fn(&[u8], &mut Vec<u8>), path: &str| {
            let mut out = Vec::new();
            edit(path.as_bytes(), &mut out);
            String::from_utf8(out).expect("valid")
        };
        assert_eq!(with(merge_slashes, "//a///b/"), "/a/b/");
        assert_eq!(with(unescape_slashes, "/a%2Fb%5cc%2f%2e"), "/a/b\\c/%2e");
        assert!(has_escaped_slash(b"/a%2f") && has_escaped_slash(b"%5C"));
        assert!(!has_escaped_slash(b"/a%2") && !has_escaped_slash(b"/a/b"));
    }
}
