//! The mode of a Unix socket.

use crate::reader::{FromText, Refusal, Shape};

/// Permissions as chmod(1) takes them, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl FromText for SocketMode {
    fn shape() -> Shape {
        Shape::Text { noun: "a mode", allowed: "three octal digits, with or without a 0 before them, such as \"0660\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let digits = if text.len() == 4 { text.strip_prefix('0') } else { Some(text) };
        let is_octal = |text: &&str| text.len() == 3 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = digits.filter(is_octal).and_then(|digits| u32::from_str_radix(digits, 8).ok());
        mode.map(Self).ok_or_else(|| {
            let hint = text.contains(['r', 'w', 'x']).then(|| "for owner and group, write \"0660\"".to_owned());
            let octal = text.strip_prefix("0o").map(|digits| format!("0{digits}"));
            Refusal::new(format!("{text:?} is not a mode")).hint(hint).instead("did you mean {}?", octal)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode) in [("660", 0o660), ("0660", 0o660), ("0777", 0o777), ("000", 0)] {
            assert_eq!(SocketMode::from_text(text).unwrap(), SocketMode(mode), "{text}");
        }
        for text in ["", "0", "66", "0o660", "1777", "888", "0888", "+66", "00660", "rw-rw----", "6 0"] {
            assert!(SocketMode::from_text(text).is_err(), "{text}");
        }
    }
}
