//! Blocks that are errors, each under its own name, and every block that ends too early.

use super::{Decoder, Error, decoder, entries, hex, read, to_index};

#[track_caller]
fn refuse(block: &str, error: Error) {
    assert_eq!(read(&mut decoder(4096), &hex(block)), Err(error), "{block}");
}

/// "Integer encodings that exceed implementation limits -- in value or octet length -- MUST be treated as decoding errors"
/// (RFC 7541 section 5.1): 32 bits are the limit, and they do not wrap.
#[test]
fn integers_are_of_32_bits() {
    // 2^32 - 1 as an index is an integer, but leads nowhere.
    refuse("ff 80ffffff0f", Error::Index);
    refuse("ff 81ffffff0f", Error::Integer);
    // 2^32 + 2: what would be index 2 if it wrapped.
    refuse("ff 83ffffff0f", Error::Integer);
    refuse("ff ffffffff7f", Error::Integer);
    refuse("ff 8080808000", Error::Index);
    refuse("ff 808080808000", Error::Integer);
    refuse("ff 80808080808080808080808000", Error::Integer);
    // The same in names, lengths and size updates.
    refuse("7f ffffffff7f", Error::Integer);
    refuse("0f ffffffff7f", Error::Integer);
    refuse("40 7fffffffff7f", Error::Integer);
    refuse("40 0161 7fffffffff7f", Error::Integer);
    refuse("3f ffffffff7f", Error::Integer);
}

/// Zeros behind the digits are allowed as far as the bytes are (RFC 7541 section 5.1 asks for no shortest form).
#[test]
fn integers_need_not_be_in_their_shortest_form() {
    assert_eq!(read(&mut decoder(4096), &hex("0f 8080808000 0161")), Ok(vec!["accept-charset: a".into()]));
    assert_eq!(read(&mut decoder(4096), &hex("1f 00 0161")), Ok(vec!["accept-charset: a".into()]));
}

/// "The index value of 0 is not used" (RFC 7541 section 6.1); "Indices strictly greater than the sum of the lengths of
/// both tables MUST be treated as a decoding error" (section 2.3.3).
#[test]
fn an_index_is_in_the_tables() {
    refuse("80", Error::Index);
    refuse("be", Error::Index);
    refuse("7e 0161", Error::Index);
    refuse("0f2f 0161", Error::Index);
    refuse("1f2f 0161", Error::Index);
    let mut decoder = decoder(4096);
    assert_eq!(read(&mut decoder, &to_index("a", "b")), Ok(vec!["a: b".into()]));
    assert_eq!(read(&mut decoder, &hex("be 7e 0163 bf")), Ok(vec!["a: b".into(), "a: c".into(), "a: b".into()]));
    assert_eq!(read(&mut decoder, &hex("c0")), Err(Error::Index));
}

/// "A padding strictly longer than 7 bits MUST be treated as a decoding error. A padding not corresponding to the most
/// significant bits of the code for the EOS symbol MUST be treated as a decoding error. A Huffman-encoded string literal
/// containing the EOS symbol MUST be treated as a decoding error." (RFC 7541 section 5.2)
#[test]
fn the_huffman_code_ends_as_it_must() {
    // `0` is 00000 and `a` is 00011; 5 + 3 bits, 5 + 11 bits and padding alone.
    assert_eq!(read(&mut decoder(4096), &hex("04 81 1f")), Ok(vec![":path: a".into()]));
    assert_eq!(read(&mut decoder(4096), &hex("04 80")), Ok(vec![":path: ".into()]));
    refuse("04 82 1fff", Error::Huffman);
    refuse("04 81 ff", Error::Huffman);
    refuse("04 84 ffffffff", Error::Huffman);
    // 8 bits of padding behind `X`, which has 8 itself, and 7 behind `&` with 8 and `a` with 5 and 4 more.
    assert_eq!(read(&mut decoder(4096), &hex("04 81 fc")), Ok(vec![":path: X".into()]));
    refuse("04 82 fcff", Error::Huffman);
    // Not all ones: each bit of the padding of `a`.
    for padding in ["18", "1e", "1d", "1b"] {
        refuse(&format!("04 81 {padding}"), Error::Huffman);
    }
    // The symbol itself, first, behind `a`, and behind enough to be past the fast part.
    refuse("04 84 fffffffc", Error::Huffman);
    refuse("04 85 1fffffffff", Error::Huffman);
    refuse("04 8c 18c631 8c6318c6 3fffffffff", Error::Huffman);
    refuse("04 90 3fffffff ff18c631 8c6318c6 318c6318", Error::Huffman);
    // In a name as well.
    refuse("40 81 ff 0161", Error::Huffman);
}

/// "This dynamic table size update MUST occur at the beginning of the first header block following the change" (RFC 7541
/// section 4.2): the smallest size and the final one, so at most two.
#[test]
fn size_updates_stand_at_the_beginning() {
    for block in ["20 82", "3f21 82", "20 3fe11f 82", "3fe11f 20 82"] {
        assert_eq!(read(&mut decoder(4096), &hex(block)), Ok(vec![":method: GET".into()]), "{block}");
    }
    assert_eq!(read(&mut decoder(4096), &hex("20")), Ok(vec![]));
    refuse("82 20", Error::SizeUpdate);
    refuse("82 20 82", Error::SizeUpdate);
    refuse("20 20 20 82", Error::SizeUpdate);
    refuse("20 3fe11f 20", Error::SizeUpdate);
}

/// "The new maximum size MUST be lower than or equal to the limit determined by the protocol using HPACK. A value that
/// exceeds this limit MUST be treated as a decoding error." (RFC 7541 section 6.3)
#[test]
fn size_updates_stay_below_what_was_announced() {
    refuse("3fe21f", Error::SizeUpdate);
    refuse("20 3fe21f", Error::SizeUpdate);
    // Above the default only when it was announced, and then before it is acknowledged.
    assert_eq!(read(&mut Decoder::new(8192), &hex("3fe13f 82")), Ok(vec![":method: GET".into()]));
    assert_eq!(read(&mut Decoder::new(8192), &hex("3fe23f 82")), Err(Error::SizeUpdate));
    // Up to the default as long as the peer may not know of less.
    assert_eq!(read(&mut Decoder::new(64), &hex("3fe11f 82")), Ok(vec![":method: GET".into()]));
    assert_eq!(read(&mut Decoder::new(64), &hex("3fe21f 82")), Err(Error::SizeUpdate));
    assert_eq!(read(&mut decoder(64), &hex("3f22 82")), Err(Error::SizeUpdate));
    assert_eq!(read(&mut decoder(8192), &hex("3fe13f 82")), Ok(vec![":method: GET".into()]));
}

/// A peer works with the default until it has read the SETTINGS; once it has acknowledged a smaller table, its next block
/// must begin with a size update (RFC 7541 section 4.2, RFC 9113 section 6.5.3).
#[test]
fn a_smaller_table_is_confirmed() {
    let mut early = Decoder::new(64);
    read(&mut early, &to_index("name", &"v".repeat(100))).unwrap();
    assert_eq!(entries(&mut early).len(), 1);
    early.acknowledged();
    assert_eq!(read(&mut early, &hex("82")), Err(Error::NoSizeUpdate));
    assert_eq!(read(&mut early, &hex("3fe11f 82")), Err(Error::SizeUpdate));
    // 64 bytes, and then nothing more is expected. What was in the table is gone.
    assert_eq!(read(&mut early, &hex("3f21 82")), Ok(vec![":method: GET".into()]));
    assert_eq!(read(&mut early, &hex("82")), Ok(vec![":method: GET".into()]));
    assert!(entries(&mut early).is_empty());
    // A peer that has made its table smaller before has nothing to confirm.
    let mut confirmed = Decoder::new(64);
    read(&mut confirmed, &hex("20 82")).unwrap();
    confirmed.acknowledged();
    assert_eq!(read(&mut confirmed, &hex("82")), Ok(vec![":method: GET".into()]));
    // Neither has one whose table may be larger.
    assert_eq!(read(&mut decoder(8192), &hex("82")), Ok(vec![":method: GET".into()]));
}

/// Blocks with each representation and both codings of strings.
const VALID: [&str; 5] = [
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "20 3fe11f 8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff be",
    "8287 85 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65 7e 80 be",
    "4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf 0f2f 0161 1f2f 8107",
    "1008 7061 7373 776f 7264 0673 6563 7265 74 0f0d 8360 0f7f 00 0000",
];

/// What is cut off is an error or a block with fewer fields, whatever the budget.
#[test]
fn every_cut_of_a_block() {
    for block in VALID.map(hex) {
        let whole = read(&mut decoder(4096), &block).unwrap();
        let mut errors = 0;
        for end in 0..block.len() {
            match read(&mut decoder(4096), &block[..end]) {
                Ok(fields) => assert!(fields.len() <= whole.len() && whole.starts_with(&fields)),
                Err(error) => {
                    assert!(matches!(error, Error::Truncated), "{error:?} at {end}");
                    errors += 1;
                }
            }
            let mut none = super::Budget::new(0, 0);
            let skipped = super::read_within(&mut decoder(4096), &block[..end], &mut none);
            assert_eq!(skipped.is_err(), read(&mut decoder(4096), &block[..end]).is_err());
        }
        assert!(errors > block.len() / 2, "{errors} of {}", block.len());
    }
}

#[test]
fn errors_have_details_of_their_own() {
    let mut details: Vec<_> = Error::ALL.iter().map(|error| error.to_string()).collect();
    details.sort_unstable();
    details.dedup();
    assert_eq!(details.len(), Error::ALL.len());
    assert!(details.iter().all(|it| it.starts_with("http2.hpack.")));
}
