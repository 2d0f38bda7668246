//! Bytes from peers made harmless: nothing that they sent can end a line, a quoted string or a JSON value, or reach a
//! terminal as a control sequence (CWE-117), and nothing can end a header field (CWE-113).

/// Appends `bytes` for a text line: control characters, `"`, `\` and what is not UTF-8 as `\xNN`, as nginx does.
pub(super) fn push_text(bytes: &[u8], out: &mut Vec<u8>) {
    if is_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut encoded = [0; 4];
            let encoded = character.encode_utf8(&mut encoded).as_bytes();
            if character.is_control() || matches!(character, '"' | '\\') {
                encoded.iter().for_each(|byte| push_hex(b"\\x", *byte, out));
            } else {
                out.extend_from_slice(encoded);
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(b"\\x", *byte, out));
    }
}

/// Appends `bytes` for a text of HTML or XML, or for the value of an attribute. What is not UTF-8 becomes U+FFFD, and so do
/// control characters.
pub(super) fn push_markup(bytes: &[u8], out: &mut Vec<u8>) {
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&#39;"),
            '\n' | '\t' => out.push(character as u8),
            _ if character.is_control() => out.extend_from_slice("\u{fffd}".as_bytes()),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends `bytes` for the inside of a JSON string (RFC 8259 section 7). What is not UTF-8 becomes the text `\xNN`.
pub fn push_json(bytes: &[u8], out: &mut Vec<u8>) {
    if is_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // All control characters are below U+00A0.
                _ if character.is_control() => push_hex(b"\\u00", character as u8, out),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(b"\\\\x", *byte, out));
    }
}

/// Appends `bytes` for the inside of a header field's value (RFC 9110 section 5.5): control characters become spaces, as
/// the RFC wants it of CR, LF and NUL.
pub(super) fn push_field(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(bytes);
    if !is_plain(bytes) {
        let is_control = |byte: &&mut u8| byte.is_ascii_control() && **byte != b'\t';
        out[start..].iter_mut().filter(is_control).for_each(|byte| *byte = b' ');
    }
}

/// Printable ASCII without quote and backslash: what nearly every value is. Looks at every byte instead of stopping at
/// the first bad one, so that the compiler can test many at once.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\'))
}

fn push_hex(lead: &[u8], byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(lead);
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push_text(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn json(bytes: &[u8]) -> String {
        let mut out = vec![b'"'];
        push_json(bytes, &mut out);
        out.push(b'"');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn text_has_no_control_character_quote_or_broken_utf8() {
        assert_eq!(text(b"/plain path?x=1"), "/plain path?x=1");
        assert_eq!(text(b"a\r\n\"b\\x41\x00\x1b[31m\x7f"), r"a\x0d\x0a\x22b\x5cx41\x00\x1b[31m\x7f");
        assert_eq!(text("é\u{9b}日".as_bytes()), r"é\xc2\x9b日");
        assert_eq!(text(b"\xff\xe6\x97"), r"\xff\xe6\x97");
    }

    #[test]
    fn every_byte_pair_stays_inside_its_line_its_json_string_and_its_field() {
        for first in 0..=255 {
            for second in 0..=255 {
                let pair = [first, second];
                let line = text(&pair);
                assert!(!line.contains('"') && !line.chars().any(char::is_control), "{pair:?}");
                let mut field = Vec::new();
                push_field(&pair, &mut field);
                assert!(!field.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'), "{pair:?}");
                let value = json(&pair);
                if let Ok(valid) = std::str::from_utf8(&pair) {
                    assert_eq!(value, valid);
                }
            }
        }
        assert_eq!(json(b"\xff\x80a\"\n"), "\\xff\\x80a\"\n");
    }
}
