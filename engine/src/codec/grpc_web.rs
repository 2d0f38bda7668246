//! gRPC-Web (grpc.io: PROTOCOL-WEB): base64 as it comes, and trailers as a frame of the body.

use super::grpc::Messages;
use data_encoding::BASE64;

/// Makes bytes of base64 however it is cut. It may be several texts one behind the other, each padded: clients encode messages
/// one by one.
#[derive(Debug, Default)]
pub struct TextDecoder {
    /// The first characters of a group of four.
    kept: [u8; 4],
    len: usize,
}

/// What was to be base64 is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

impl TextDecoder {
    /// Decode `text` into `out`, which has room for three bytes more. Gives the bytes written.
    ///
    /// # Errors
    /// It is not base64.
    pub fn decode(&mut self, mut text: &[u8], out: &mut [u8]) -> Result<usize, NotBase64> {
        let mut written = 0;
        if self.len > 0 {
            let taken = text.len().min(4 - self.len);
            self.kept[self.len..self.len + taken].copy_from_slice(&text[..taken]);
            (self.len, text) = (self.len + taken, &text[taken..]);
            if self.len < 4 {
                return Ok(0);
            }
            self.len = 0;
            let mut bytes = [0; 3];
            written = decode(&self.kept, &mut bytes)?;
            out[..written].copy_from_slice(&bytes[..written]);
        }
        let (groups, rest) = text.split_at(text.len() / 4 * 4);
        written += decode(groups, &mut out[written..])?;
        self.kept[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
        Ok(written)
    }

    /// Whether no group is under way.
    pub fn may_end(&self) -> bool {
        self.len == 0
    }
}

fn decode(groups: &[u8], out: &mut [u8]) -> Result<usize, NotBase64> {
    BASE64.decode_mut(groups, &mut out[..groups.len() / 4 * 3]).map_err(|_| NotBase64)
}

/// Makes base64 of a body. Each message is a text of its own, as clients expect it: what has come whole can be decoded.
#[derive(Debug, Default)]
pub struct TextEncoder {
    messages: Messages,
    /// The first bytes of a group of three.
    kept: [u8; 3],
    len: usize,
}

/// The most characters that become of this many bytes.
pub const fn encoded_max(bytes: usize) -> usize {
    // The shortest message has five bytes, for which there are eight characters.
    2 * bytes + 4
}

/// The most bytes whose characters certainly have this room, which also has that of as many decoded ones.
pub const fn encodable(room: usize) -> usize {
    (room - 4) / 2
}

impl TextEncoder {
    /// Encode `bytes` into `out`, which has room for `encoded_max` of them. Gives the characters written.
    pub fn encode(&mut self, mut bytes: &[u8], out: &mut [u8]) -> usize {
        let mut written = 0;
        while !bytes.is_empty() {
            let (walked, _) = self.messages.next(bytes);
            written += self.push(&bytes[..walked], &mut out[written..]);
            if self.messages.is_between() {
                written += encode(&self.kept[..std::mem::take(&mut self.len)], &mut out[written..]);
            }
            bytes = &bytes[walked..];
        }
        written
    }

    /// Whether no message is under way.
    pub fn is_between(&self) -> bool {
        self.messages.is_between()
    }

    /// Encode whole groups, and keep what is left.
    fn push(&mut self, mut bytes: &[u8], out: &mut [u8]) -> usize {
        let mut written = 0;
        if self.len > 0 {
            let taken = bytes.len().min(3 - self.len);
            self.kept[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
            (self.len, bytes) = (self.len + taken, &bytes[taken..]);
            if self.len < 3 {
                return 0;
            }
            self.len = 0;
            written = encode(&self.kept, out);
        }
        let (groups, rest) = bytes.split_at(bytes.len() / 3 * 3);
        written += encode(groups, &mut out[written..]);
        self.kept[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
        written
    }
}

/// Padded.
fn encode(bytes: &[u8], out: &mut [u8]) -> usize {
    let len = BASE64.encode_len(bytes.len());
    BASE64.encode_mut(bytes, &mut out[..len]);
    len
}

/// Make of `out`, which is empty, the frame that has the trailers, at the end of a response's body; as base64 where the body is.
pub fn trailers_frame<'t>(out: &mut Vec<u8>, trailers: impl Iterator<Item = (&'t [u8], &'t [u8])>, is_text: bool) {
    out.extend_from_slice(&[0x80, 0, 0, 0, 0]);
    for (name, value) in trailers {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.push(b':');
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    let len = out.len();
    out[1..5].copy_from_slice(&((len - 5) as u32).to_be_bytes());
    if is_text {
        out.resize(len + BASE64.encode_len(len), 0);
        let (frame, text) = out.split_at_mut(len);
        encode(frame, text);
        out.drain(..len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pieces: &[&[u8]]) -> Result<Vec<u8>, NotBase64> {
        let (mut decoder, mut all) = (TextDecoder::default(), Vec::new());
        for piece in pieces {
            let mut out = vec![0; piece.len() + 3];
            let written = decoder.decode(piece, &mut out)?;
            all.extend_from_slice(&out[..written]);
        }
        if decoder.may_end() { Ok(all) } else { Err(NotBase64) }
    }

    fn messages() -> Vec<u8> {
        let mut body = Vec::new();
        for length in [0_u32, 1, 2, 3, 4, 0, 200, 5000] {
            body.push(0);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend((0..length).map(|byte| byte as u8));
        }
        body
    }

    #[test]
    fn text_is_decoded_however_it_is_cut_and_padded() {
        let text = b"AAAAAAU=aGVsbG8=AA==AAAAAAA=";
        let expected = b"\0\0\0\0\x05hello\0\0\0\0\0\0";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(decoded(&pieces).as_deref(), Ok(&expected[..]), "{first} {second}");
            }
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(decoded(&bytes).as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for bad in ["AAA", "AA=A", "A===", "====", "AA\nAA", "AAA_", "AAA-", "AAAA=", "AB==", "\u{e9}AAA"] {
            assert_eq!(decoded(&[bad.as_bytes()]), Err(NotBase64), "{bad}");
            let bytes: Vec<_> = bad.as_bytes().chunks(1).collect();
            assert_eq!(decoded(&bytes), Err(NotBase64), "{bad}");
        }
    }

    #[test]
    fn each_message_is_a_text_of_its_own() {
        let body = messages();
        let mut expected = Vec::new();
        let mut rest = &body[..];
        while !rest.is_empty() {
            let length = 5 + u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
            expected.extend_from_slice(BASE64.encode(&rest[..length]).as_bytes());
            rest = &rest[length..];
        }
        for size in [1, 2, 3, 5, 7, 100, body.len()] {
            let (mut encoder, mut all) = (TextEncoder::default(), Vec::new());
            for piece in body.chunks(size) {
                let mut out = vec![0; encoded_max(piece.len())];
                let written = encoder.encode(piece, &mut out);
                all.extend_from_slice(&out[..written]);
            }
            assert!(encoder.is_between() && all == expected, "{size}");
            assert_eq!(decoded(&[&all]).as_deref(), Ok(&body[..]));
        }
    }

    #[test]
    fn trailers_are_lines_in_a_frame() {
        let trailers: [(&[u8], &[u8]); 2] = [(b"Grpc-Status", b"0"), (b"x-bin", b"AA==")];
        let [frame, text] = [false, true].map(|is_text| {
            let mut out = Vec::new();
            trailers_frame(&mut out, trailers.into_iter(), is_text);
            out
        });
        assert_eq!(frame, b"\x80\0\0\0\x1bgrpc-status:0\r\nx-bin:AA==\r\n");
        assert_eq!(decoded(&[&text]), Ok(frame));
    }
}
