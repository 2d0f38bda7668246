//! The budget of a message: what is counted, what is shown, and the table behind it.

use super::super::{Budget, Error};
use super::{decoder, entries, hex, read, read_within, to_index};

/// Names, values and 32 bytes for each field (RFC 9113 section 6.5.2), each crumb of a cookie being a field.
#[test]
fn every_field_is_charged() {
    let block = [hex("82"), to_index("cookie", "a=b"), hex("be 0f11 03633d64")].concat();
    let mut budget = Budget::new(1000, 10);
    let fields = read_within(&mut decoder(4096), &block, &mut budget).unwrap();
    assert_eq!(fields, [":method: GET", "cookie: a=b", "cookie: a=b", "cookie: c=d"]);
    assert_eq!((budget.bytes, budget.fields, budget.is_exceeded), (1000 - (10 + 3 * 9 + 4 * 32), 6, false));
    // Exactly enough of either, and one too few.
    let used = 1000 - budget.bytes;
    for (bytes, count, shown) in [(used, 4, 4), (used - 1, 4, 3), (used, 3, 3)] {
        let mut budget = Budget::new(bytes, count);
        let fields = read_within(&mut decoder(4096), &block, &mut budget).unwrap();
        assert_eq!((fields.len(), budget.is_exceeded), (shown, shown < 4));
    }
}

/// A message may have several blocks (trailers); the budget goes on where it was.
#[test]
fn nothing_is_shown_behind_a_field_that_did_not_fit() {
    let mut decoder = decoder(4096);
    let mut budget = Budget::new(100, 10);
    let block = [hex("82"), to_index("large", &"x".repeat(60)), hex("83")].concat();
    assert_eq!(read_within(&mut decoder, &block, &mut budget).unwrap(), [":method: GET"]);
    assert!(budget.is_exceeded && budget.bytes == 100 - 42);
    assert_eq!(read_within(&mut decoder, &hex("82"), &mut budget).unwrap(), [""; 0]);
}

/// Whatever the budget, the table is the same behind the block, and what is an error stays one.
#[test]
fn the_table_does_not_depend_on_the_budget() {
    let blocks = [
        [to_index("a", "1"), hex("7e 0162 be bf 0f2f 0163 1f30 0164"), to_index("b", &"2".repeat(100))].concat(),
        [to_index("huge", &"x".repeat(5000)), to_index("c", "3"), hex("0001 6101 31 0081 1f 811f 82")].concat(),
        hex("20 3fe11f 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf be"),
    ];
    let errors = ["80", "be", "04 81 ff", "0f2f 0161", "0f2f 81", "00 81 ff 0161", "82 20", "ff ffffffff7f"];
    for bytes in 0..300 {
        let (mut limited, mut whole) = (decoder(4096), decoder(4096));
        for block in &blocks {
            let fields = read(&mut whole, block).unwrap();
            let shown = read_within(&mut limited, block, &mut Budget::new(bytes, 100)).unwrap();
            assert!(fields.starts_with(&shown));
            assert_eq!(entries(&mut limited), entries(&mut whole));
        }
        for block in errors {
            let block = [hex("20 84"), hex(block)].concat();
            let error = read(&mut decoder(4096), &block).unwrap_err();
            assert_eq!(read_within(&mut decoder(4096), &block, &mut Budget::new(bytes, 100)), Err(error));
        }
    }
}

/// Fields of the table cost the peer a byte each: a block that holds many times the budget is given up.
#[test]
fn a_block_may_not_hold_many_times_the_budget() {
    let block = |references: usize| [to_index("bomb", &"x".repeat(4000)), vec![0xbe; references]].concat();
    let size = 4004 + 32;
    // At least 512 KiB, which many bytes of honest cookies are far from.
    for (bytes, excess) in [(0, 512 * 1024), (1000, 512 * 1024), (100_000, 800_000)] {
        let shown = bytes as usize / size;
        let skipped = excess / size;
        let mut budget = Budget::new(bytes, u16::MAX);
        let fields = read_within(&mut decoder(4096), &block(shown + skipped - 1), &mut budget).unwrap();
        assert_eq!((fields.len(), budget.is_exceeded), (shown, true));
        let result = read_within(&mut decoder(4096), &block(shown + skipped), &mut Budget::new(bytes, u16::MAX));
        assert_eq!(result, Err(Error::Excessive));
    }
}
