//! Paths made canonical before a route is looked for, so that two spellings of one path cannot meet two rules
//! (RFC 3986 section 6.2.2; Envoy: normalize_path, merge_slashes, path_with_escaped_slashes_action).

/// The path leaves the root, or holds an escaped zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPath;

/// Whether nothing here could change `path` or refuse it: it has no `%`, no `\`, and neither a slash nor a dot behind a
/// slash. Nearly every path is so, and eight bytes at a time are looked at.
#[inline]
pub fn is_plain(path: &[u8]) -> bool {
    const BYTES: usize = size_of::<u64>();
    let is_odd = |at: usize| match path[at..].split_first_chunk::<BYTES>() {
        Some((bytes, [next, ..])) => {
            let word = u64::from_le_bytes(*bytes);
            has_odd(word, word >> 8 | u64::from(*next) << 56)
        }
        _ => true,
    };
    let Some(last) = path.len().checked_sub(BYTES + 1) else {
        let is_odd = |pair: &[u8]| matches!(pair, [b'%' | b'\\', _] | [b'/', b'/' | b'.']);
        return !path.windows(2).any(is_odd) && !matches!(path.last(), Some(b'%' | b'\\'));
    };
    let mut at = 0;
    while at < last {
        if is_odd(at) {
            return false;
        }
        at += BYTES;
    }
    !is_odd(last) && !matches!(path.last(), Some(b'%' | b'\\'))
}

/// Whether one of the eight bytes is `%` or `\`, or a slash whose `next` byte is a slash or a dot.
#[inline]
fn has_odd(word: u64, next: u64) -> bool {
    const fn all(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // A byte of 0 sets its highest bit; which one it was does not matter.
    let zero = |word: u64| word.wrapping_sub(all(1)) & !word & all(0x80);
    // A dot is a slash without the lowest bit.
    let slashes = (word ^ all(b'/')) | ((next | all(1)) ^ all(b'/'));
    (zero(slashes) | zero(word ^ all(b'%')) | zero(word ^ all(b'\\'))) != 0
}

/// Whether `path` has an escaped slash or backslash.
pub fn has_escaped_slash(path: &[u8]) -> bool {
    memchr::memchr_iter(b'%', path).any(|at| path.get(at..at + 3).and_then(escaped_slash).is_some())
}

/// Whether `path` has slashes in a row.
pub fn has_slashes_in_row(path: &[u8]) -> bool {
    memchr::memmem::find(path, b"//").is_some()
}

/// Whether a segment of `path` is `.` or `..`, a dot escaped or not.
pub fn has_dot_segments(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|segment| {
        let mut rest = segment;
        let mut dots = 0;
        while let [b'.', more @ ..] | [b'%', b'2', b'e' | b'E', more @ ..] = rest {
            (rest, dots) = (more, dots + 1);
        }
        rest.is_empty() && (1..=2).contains(&dots)
    })
}

fn escaped_slash(escape: &[u8]) -> Option<u8> {
    match escape {
        [b'%', b'2', b'f' | b'F'] => Some(b'/'),
        [b'%', b'5', b'c' | b'C'] => Some(b'\\'),
        _ => None,
    }
}

/// Replace the escaped slashes in `out[start..]` by slashes.
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
    let is_needless = |at: usize| escaped(&path[at + 1..]).is_some_and(|byte| byte == 0 || is_unreserved(byte));
    !path.starts_with(b"/")
        || memchr::memchr(b'\\', path).is_some()
        || memchr::memchr_iter(b'%', path).any(is_needless)
        || memchr::memchr_iter(b'/', path).any(|at| dots(&path[at + 1..]))
}

/// Bring the path in `out[start..]` into its normal form: unreserved characters unescaped, backslashes as slashes, `.` and
/// `..` resolved. The case of what stays escaped does not change (Envoy: without case normalization). A `%` that begins
/// no escape stands for itself, and what is unescaped behind it never makes an escape of it.
///
/// # Errors
/// The path does not start with a slash, leaves the root, or holds an escaped zero byte.
pub fn normalize(out: &mut Vec<u8>, start: usize) -> Result<(), InvalidPath> {
    if !matches!(out.get(start), Some(b'/' | b'\\')) {
        return Err(InvalidPath);
    }
    let (mut read, mut write) = (start, start);
    // Up to here hexadecimal digits would belong to a `%` that begins no escape.
    let mut bare_end = start;
    while let Some(&byte) = out.get(read) {
        read += 1;
        out[write] = match byte {
            b'%' => match escaped(&out[read..]) {
                Some(0) => return Err(InvalidPath),
                Some(value) if is_unreserved(value) && !(write < bare_end && value.is_ascii_hexdigit()) => {
                    read += 2;
                    value
                }
                // The digits follow as they are.
                Some(_) => b'%',
                None => {
                    bare_end = write + 3;
                    b'%'
                }
            },
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

/// What the two digits behind a `%` stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let [high, low] = *digits.first_chunk()?;
    Some(digit(high)? << 4 | digit(low)?)
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
    fn dot_segments_are_found() {
        for path in ["/.", "/..", "/a/../b", "/a/%2e%2E", "/.%2e/a", "/%2E/"] {
            assert!(has_dot_segments(path.as_bytes()), "{path}");
        }
        for path in ["/", "/a.b/c..", "/...", "/..a/.b", "/%2", "/%2e%2e%2e", "/a/%2f.."] {
            assert!(!has_dot_segments(path.as_bytes()), "{path}");
        }
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
            // What begins no escape stands for itself.
            ("/100%", "/100%"),
            ("/%4", "/%4"),
            ("/%zz/../%", "/%"),
            ("/%z%61", "/%z%61"),
            ("/%%61", "/%%61"),
            ("/%%2e%2e", "/%.."),
            // It must not become one of what is unescaped behind it.
            ("/%%32%65/x", "/%%32e/x"),
            ("/%2%65%2%65/x", "/%2%65%2%65/x"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
        for path in ["/..", "/a/../..", "/%2e%2e", "/%00", "a", "*"] {
            assert_eq!(normal(path), Err(InvalidPath), "{path}");
        }
    }

    /// A fifth of the paths that are made of six of these pieces.
    fn paths() -> impl Iterator<Item = String> {
        const PIECES: [&str; 8] = ["/", ".", "%", "2", "e", "65", "\\", "x"];
        (0..8u32.pow(6)).step_by(5).map(|number| {
            let pieces = (0..6).map(|at| PIECES[(number >> (3 * at) & 7) as usize]);
            format!("/{}", pieces.collect::<String>())
        })
    }

    /// A path that was made canonical is canonical: a second proxy, or the upstream, finds nothing left to resolve.
    #[test]
    fn once_is_enough() {
        for path in paths() {
            let Ok(once) = normal(&path) else { continue };
            assert_eq!(normal(&once).as_ref(), Ok(&once), "{path}");
            let segments = |path: &str| path.split('/').any(|segment| segment == "." || segment == "..");
            assert!(!segments(&once), "{path} became {once}");
            assert!(!segments(&once.replace("%2e", ".").replace("%2E", ".")), "{path} became {once}");
        }
    }

    /// The quick look agrees with the careful ones, wherever in a path the odd bytes stand.
    #[test]
    fn plain_paths_need_nothing() {
        let mut plain = 0;
        for path in paths() {
            for (before, behind) in [("", ""), ("/abcd", ""), ("/abcdefghijk", "lmnopqr"), ("", "/stuvwxyz0123456789")]
            {
                let path = format!("{before}{path}{behind}");
                let bytes = path.as_bytes();
                let is_odd = bytes.contains(&b'%')
                    || bytes.contains(&b'\\')
                    || ["//", "/."].iter().any(|pair| path.contains(pair));
                assert_eq!(is_plain(bytes), !is_odd, "{path}");
                plain += usize::from(!is_odd);
            }
        }
        assert!(plain > 1000, "{plain}");
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
