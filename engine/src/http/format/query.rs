//! Query strings: parameters by name, percent-encoding undone (RFC 3986 section 2.1), byte by byte.

/// The bytes that percent-encoded text stands for. A `%` without two hexadecimal digits stands for itself, and so does
/// `+` (Envoy: Http::Utility::PercentEncoding::decode).
#[derive(Clone, Debug)]
pub(super) struct Decoded<'a>(&'a [u8]);

impl<'a> Decoded<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The value of the first parameter that is called `name` when decoded, still encoded itself.
pub(super) fn parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let is_it = !pair.is_empty() && Decoded::new(&pair[..end]).eq(name.iter().copied());
        is_it.then(|| pair.get(end + 1..).unwrap_or_default())
    })
}

/// What stands before the first `?`.
pub(super) fn without_query(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_their_decoded_names() {
        let query = b"a=1&b%20c=x%2Fy+z&a=2&flag&empty=&&=none&d=%zz%4";
        let found = |name: &[u8]| parameter(query, name).map(|value| Decoded::new(value).collect::<Vec<_>>());
        assert_eq!(found(b"a"), Some(b"1".to_vec()));
        assert_eq!(found(b"b c"), Some(b"x/y+z".to_vec()));
        assert_eq!(found(b"flag"), Some(Vec::new()));
        assert_eq!(found(b"empty"), Some(Vec::new()));
        assert_eq!(found(b"d"), Some(b"%zz%4".to_vec()));
        assert_eq!(found(b"c"), None);
        assert_eq!(parameter(b"", b"a"), None);
        assert_eq!(without_query(b"/a?b?c"), b"/a");
        assert_eq!(without_query(b""), b"");
    }
}
