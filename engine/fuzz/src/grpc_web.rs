//! Checks of gRPC-Web's bodies.

use crate::codec::grpc_web::{NotBase64, TextDecoder, TextEncoder, encoded_max};

/// Base64, whatever it is: the pieces in which it comes make no difference, and messages come back from it. The first byte
/// chooses the pieces.
pub fn grpc_web(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let piece = usize::from(*first) % 9 + 1;
    let whole = decoded(data, data.len().max(1));
    assert_eq!(whole, decoded(data, piece));
    let (mut encoder, mut encoded) = (TextEncoder::default(), Vec::new());
    let mut all = data.to_vec();
    for bytes in data.chunks(piece) {
        push(&mut encoder, bytes, &mut encoded);
    }
    // What is left of the last message.
    while !encoder.is_between() && all.len() < data.len() + 300 {
        push(&mut encoder, &[0], &mut encoded);
        all.push(0);
    }
    if encoder.is_between() {
        assert_eq!(decoded(&encoded, piece), Ok(all));
    }
}

fn push(encoder: &mut TextEncoder, bytes: &[u8], encoded: &mut Vec<u8>) {
    let mut out = [0; encoded_max(9)];
    let written = encoder.encode(bytes, &mut out);
    encoded.extend_from_slice(&out[..written]);
}

fn decoded(text: &[u8], piece: usize) -> Result<Vec<u8>, NotBase64> {
    let (mut decoder, mut all) = (TextDecoder::default(), Vec::new());
    for text in text.chunks(piece) {
        let mut out = vec![0; text.len() + 3];
        let written = decoder.decode(text, &mut out)?;
        all.extend_from_slice(&out[..written]);
    }
    if decoder.may_end() { Ok(all) } else { Err(NotBase64) }
}
