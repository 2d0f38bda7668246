//! Messages of gRPC within bodies (gRPC over HTTP2: Length-Prefixed-Message): where they begin and end, however a body is cut.

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: u8 = 5;

/// Walks over the messages of one body. Nothing is kept of them.
#[derive(Debug, Default)]
pub struct Messages {
    /// Bytes of the present message's prefix that have come.
    prefix: u8,
    /// The length in the prefix as far as it has come, and then the bytes that are still to come.
    left: u32,
}

impl Messages {
    /// Walk over `bytes`. Gives the messages whose length became known.
    pub fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut begun = 0;
        while !bytes.is_empty() {
            let (walked, begins) = self.next(bytes);
            begun += u64::from(begins);
            bytes = &bytes[walked..];
        }
        begun
    }

    /// Walk to the end of the present message or of `bytes`. Gives the bytes walked over, and whether the message's length became
    /// known within them.
    pub fn next(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (mut at, before) = (0, self.prefix);
        while self.prefix < PREFIX {
            let Some(byte) = bytes.get(at) else { return (at, false) };
            // The first of the five bytes is shifted out.
            self.left = self.left << 8 | u32::from(*byte);
            (self.prefix, at) = (self.prefix + 1, at + 1);
        }
        let within = (bytes.len() - at).min(self.left as usize);
        self.left -= within as u32;
        if self.left == 0 {
            self.prefix = 0;
        }
        (at + within, before < PREFIX)
    }

    /// Whether no message is under way.
    pub fn is_between(&self) -> bool {
        self.prefix == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let mut body = Vec::new();
        for length in [0_u32, 1, 300, 0, 70_000] {
            body.push(length as u8 & 1);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend(std::iter::repeat_n(0xff, length as usize));
        }
        for size in [1, 2, 5, 7, 4096, body.len()] {
            let mut messages = Messages::default();
            let begun: u64 = body.chunks(size).map(|piece| messages.pass(piece)).sum();
            assert_eq!((begun, messages.is_between()), (5, true), "{size}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.next(&body), (5, true));
        assert_eq!(messages.next(&body[5..]), (6, true));
        assert_eq!(messages.next(&body[11..17]), (6, true));
        assert!(!messages.is_between());
        assert_eq!(messages.next(&body[17..]), (299, false));
        assert!(messages.is_between());
    }
}
