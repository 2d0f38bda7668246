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

/// Put slashes in the place of the escaped ones in `out[start..]`.
pub fn unescape_slashes(out: &mut Vec<u8>, start: usize) {
    let (mut read, mut write) = (start, start);
    while read < out.len() {
        let slash = out.get(read..read + 3).and_then(escaped_slash);
        out[write] = slash.unwrap_or(out[read]);
        write += 1;
        read += if slash.is_some() { 3 } else { 1 };
    }
    out.truncate(write);
}

/// Whether `normalize` could change or refuse `path`.
pub fn needs_normalizing(path: &[u8]) -> bool {
    let dots = |rest: &[u8]| matches!(rest, [b'.'] | [b'.', b'.'] | [b'.', b'/', ..] | [b'.', b'.', b'/', ..]);
    !path.starts_with(b"/")
        || memchr::memchr2(b'%', b'\\', path).is_some()
        || memchr::memchr_iter(b'/', path).any(|at| dots(&path[at + 1..]))
}

/// Bring the path in `out[start..]` into its normal form: unreserved characters unescaped, backslashes as slashes, `.` and
/// `..` resolved. The case of what stays escaped does not change (Envoy: without case normalization).
///
/// # Errors
/// The path does not start with a slash, leaves the root, holds a broken escape or an escaped zero byte.
pub fn normalize(out: &mut Vec<u8>, start: usize) -> Result<(), InvalidPath> {
    if !matches!(out.get(start), Some(b'/' | b'\\')) {
        return Err(InvalidPath);
    }
    let (mut read, mut write) = (start, start);
    while let Some(&byte) = out.get(read) {
        read += 1;
        out[write] = match byte {
            b'%' => {
                let &[high, low] = out.get(read..read + 2).ok_or(InvalidPath)? else { return Err(InvalidPath) };
                match hex(high)? << 4 | hex(low)? {
                    0 => return Err(InvalidPath),
                    value if is_unreserved(value) => {
                        read += 2;
                        value
                    }
                    // The digits follow as they are.
                    _ => b'%',
                }
            }
            b'\\' => b'/',
            byte => byte,
        };
        write += 1;
    }
    out.truncate(write);
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

/// Make each row of slashes in `out[start..]` one.
pub fn merge_slashes(out: &mut Vec<u8>, start: usize) {
    let mut write = start;
    for read in start..out.len() {
        let byte = out[read];
        if byte != b'/' || write == start || out[write - 1] != b'/' {
            out[write] = byte;
            write += 1;
        }
    }
    out.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, InvalidPath> {
        let mut out = [b"before", path.as_bytes()].concat();
        normalize(&mut out, 6)?;
        let text = String::from_utf8(out.split_off(6)).expect("valid");
        assert!(needs_normalizing(path.as_bytes()) || text == path, "{path} became {text}");
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
            ("/%2fa%5C", "/%2fa%5C"),
            ("/a\\b\\..\\c", "/a/c"),
            ("/%c3%A4", "/%c3%A4"),
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
        let with = |edit: fn(&mut Vec<u8>, usize), path: &str| {
            let mut out = [b"//", path.as_bytes()].concat();
            edit(&mut out, 2);
            String::from_utf8(out.split_off(2)).expect("valid")
        };
        assert_eq!(with(merge_slashes, "//a///b/"), "/a/b/");
        assert_eq!(with(unescape_slashes, "/a%2Fb%5cc%2f%2e"), "/a/b\\c/%2e");
        assert!(has_escaped_slash(b"/a%2f") && has_escaped_slash(b"%5C"));
        assert!(!has_escaped_slash(b"/a%2") && !has_escaped_slash(b"/a/b"));
    }
}
