//! Integers with a prefix of some bits (RFC 7541 section 5.1).

use super::Error;

/// Bytes behind the prefix that 32 bits can need.
const MORE_MAX: u32 = 5;

/// The integer at the beginning of `input`, which goes on behind it. `prefix`: bits of the first byte that belong to it.
#[inline]
pub(super) fn read(input: &mut &[u8], prefix: u32) -> Result<u32, Error> {
    let (&first, rest) = input.split_first().ok_or(Error::Truncated)?;
    *input = rest;
    let mask = (1u8 << prefix) - 1;
    let start = first & mask;
    if start < mask { Ok(u32::from(start)) } else { read_more(input, u64::from(mask)) }
}

fn read_more(input: &mut &[u8], prefix: u64) -> Result<u32, Error> {
    let mut value = prefix;
    for place in 0..MORE_MAX {
        let (&byte, rest) = input.split_first().ok_or(Error::Truncated)?;
        *input = rest;
        value += u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Error::Integer);
        }
    }
    Err(Error::Integer)
}

/// `flags`: the bits of the first byte above the prefix.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        return out.push(flags | value as u8);
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
