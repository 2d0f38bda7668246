//! Header blocks against a second implementation, the crate `loona-hpack`.

use crate::codec::h2::hpack::{Budget, Decoder, Error};
use crate::hpack::{Field, Input, read};
use loona_hpack::decoder::{DecoderError, IntegerDecodingError};

/// A budget that is no limit.
fn unlimited() -> Budget {
    Budget::new(u32::MAX, u16::MAX)
}

/// What one reads, the other reads as well, and what one writes, the other reads.
pub fn hpack(data: &[u8]) {
    let Some(input) = Input::of(data) else { return };
    decodes_alike(&input);
    is_understood(&input);
}

fn decodes_alike(input: &Input<'_>) {
    let mut ours = input.decoder();
    let mut theirs = loona_hpack::Decoder::new();
    theirs.set_max_table_size(4096);
    let allowed = if input.is_acknowledged { input.table_size } else { input.table_size.max(4096) };
    if allowed < 4096 {
        theirs.set_max_table_size(allowed as usize);
    }
    theirs.set_max_allowed_table_size(allowed as usize);
    for block in &input.blocks {
        let result = read(&mut ours, block, &mut unlimited());
        match (result, theirs.decode(block)) {
            (Ok(fields), Ok(pairs)) => assert_eq!(pairs_of(&fields), pairs),
            (Ok(_), Err(error)) => match error {
                // It reads at most 4 bytes behind the prefix, which is less than 32 bits may need. Both give up at an
                // overlong integer, each at its own limit (RFC 7541 section 5.1 leaves it to the implementation).
                DecoderError::IntegerDecodingError(IntegerDecodingError::TooManyOctets) => return,
                // No rule says that a size update must have a field behind it.
                DecoderError::SizeUpdateAtEnd => continue,
                _ => panic!("only they refuse it: {error:?}"),
            },
            // It takes size updates wherever they stand and however many, and does not wait for one (RFC 7541 section 4.2).
            (Err(Error::SizeUpdate | Error::NoSizeUpdate), _) => return,
            (Err(_), Err(_)) => return,
            (Err(error), Ok(pairs)) => panic!("only we refuse it, {error:?}: {pairs:?}"),
        }
    }
}

fn pairs_of(fields: &[Field]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect()
}

/// Fields are made of the blocks' bytes. Their encoder uses its dynamic table, which ours follows.
fn is_understood(input: &Input<'_>) {
    let (mut encoder, mut decoder) = (loona_hpack::Encoder::new(), Decoder::new(4096));
    for block in &input.blocks {
        let pairs: Vec<(&[u8], &[u8])> =
            block.chunks(24).map(|part| part.split_at(part.len().min(usize::from(part[0]) % 24))).collect();
        let encoded = encoder.encode(pairs.iter().copied());
        let fields = read(&mut decoder, &encoded, &mut unlimited()).unwrap();
        assert!(fields.iter().map(|field| (&field.name[..], &field.value[..])).eq(pairs));
    }
}
