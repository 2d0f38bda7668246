//! The small grammar that names, values and lists share (RFC 9110 section 5).

/// Byte classes, one table so that a check is one load.
const TOKEN: u8 = 1;
const VALUE: u8 = 2;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() {
            table[byte] |= TOKEN;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            table[byte] |= VALUE;
        }
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] |= TOKEN;
        at += 1;
    }
    table
}

/// `tchar` (RFC 9110 section 5.6.2).
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// A byte that a field value may hold: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5).
#[inline]
pub fn is_value_byte(byte: u8) -> bool {
    CLASS[byte as usize] & VALUE != 0
}

/// `token`: one `tchar` or more.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b))
}

/// Whether the name has a `_`.
#[inline]
pub fn has_underscore(name: &[u8]) -> bool {
    const ALL: u64 = u64::from_le_bytes([b'_'; 8]);
    let is_in = |bytes: &[u8; 8]| {
        let word = u64::from_le_bytes(*bytes) ^ ALL;
        word.wrapping_sub(ALL / 0x5f) & !word & (ALL / 0x5f) << 7 != 0
    };
    let (chunks, _) = name.as_chunks();
    match name.last_chunk() {
        Some(last) => is_in(last) || chunks.iter().any(is_in),
        None => name.contains(&b'_'),
    }
}

/// A field value without a line end or another control character.
#[inline]
pub fn is_value(bytes: &[u8]) -> bool {
    // Neither a table nor an early end: so the compiler compares many bytes at once.
    !bytes.iter().fold(false, |bad, b| bad | ((*b < b' ') & (*b != b'\t')) | (*b == 0x7f))
}

/// Without the optional white space (SP, HTAB) around it (RFC 9110 section 5.6.3).
#[inline]
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list without quoted strings, trimmed, empty ones included (RFC 9110 section
/// 5.6.1): the caller decides whether an empty element is an error.
#[inline]
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim_ows)
}

/// `1*DIGIT` in 64 bits. Leading zeros are allowed, since the number and not the text is sent on.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut length = 0u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        length = length.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "token = 1*tchar" (RFC 9110 section 5.6.2): no separators, no controls, nothing above 0x7e.
    #[test]
    fn token_bytes() {
        let separators = b"\"(),/:;<=>?@[\\]{} \t\r\n\x00\x7f";
        assert!(separators.iter().all(|b| !is_token_byte(*b)));
        assert!((0x80..=0xffu8).all(|b| !is_token_byte(b)));
        assert_eq!((0..=255u8).filter(|b| is_token_byte(*b)).count(), 62 + 15);
        assert!(is_token(b"X-Y_z.1~") && !is_token(b"") && !is_token(b"a b"));
    }

    /// "field-vchar = VCHAR / obs-text" with SP and HTAB between (RFC 9110 section 5.5).
    #[test]
    fn value_bytes() {
        assert!(is_value(b"a\tb c\xff~") && is_value(b""));
        for byte in 0..=255u8 {
            for at in 0..70 {
                let mut value = [b'v'; 70];
                value[at] = byte;
                assert_eq!(is_value(&value), is_value_byte(byte), "{byte} at {at}");
            }
        }
        assert!((0..=255u8).filter(|b| !is_value_byte(*b)).eq((0..=8).chain(10..=31).chain([127])));
    }

    #[test]
    fn underscores_are_found_wherever_they_stand() {
        for len in 0..40 {
            let name = vec![b'-'; len];
            assert!(!has_underscore(&name) && !has_underscore(&vec![0xdf; len]));
            for at in 0..len {
                let mut name = name.clone();
                name[at] = b'_';
                assert!(has_underscore(&name), "{at} of {len}");
            }
        }
    }

    #[test]
    fn lists_and_white_space() {
        assert_eq!(trim_ows(b" \t a b\t "), b"a b");
        assert_eq!(trim_ows(b" \t"), b"");
        assert!(list(b"a ,, \tb,").eq([&b"a"[..], b"", b"b", b""]));
    }
}
