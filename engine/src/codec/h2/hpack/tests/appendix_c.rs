//! The examples of RFC 7541 appendix C.

use super::super::integer;
use super::{Decoder, decoder, entries, hex, read, size_of};

/// C.1: a prefix that holds the value, one that does not, and a whole byte.
#[test]
fn integers() {
    for (value, prefix, bytes) in [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 7, "2a")] {
        let mut out = Vec::new();
        integer::write(&mut out, 0, prefix, value);
        assert_eq!(out, hex(bytes));
        let mut input = &out[..];
        assert_eq!(integer::read(&mut input, prefix), Ok(value as u32));
        assert!(input.is_empty());
    }
}

/// C.2: each representation on its own, and what it leaves in the table.
#[test]
fn representations() {
    let cases = [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key: custom-header",
            Some("custom-key: custom-header"),
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", None),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", None),
        ("82", ":method: GET", None),
    ];
    for (block, field, entry) in cases {
        let mut decoder = decoder(4096);
        assert_eq!(read(&mut decoder, &hex(block)), Ok(vec![field.to_owned()]));
        assert_eq!(entries(&mut decoder), Vec::from_iter(entry));
    }
}

/// One block of a sequence: its bytes, its fields, the table behind it and that table's size.
type Step<'t> = (&'t str, &'t [&'t str], &'t [&'t str], usize);

fn sequence(mut decoder: Decoder, steps: &[Step<'_>]) {
    for (block, fields, table, size) in steps {
        assert_eq!(read(&mut decoder, &hex(block)).unwrap(), *fields);
        assert_eq!(entries(&mut decoder), *table);
        assert_eq!(size_of(&entries(&mut decoder)), *size);
    }
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

const REQUEST_TABLES: [&[&str]; 3] = [
    &[":authority: www.example.com"],
    &["cache-control: no-cache", ":authority: www.example.com"],
    &["custom-key: custom-value", "cache-control: no-cache", ":authority: www.example.com"],
];

/// C.3 and C.4: requests, without and with the Huffman code.
#[test]
fn requests() {
    let raw = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [raw, huffman] {
        let step = |at: usize, size| (blocks[at], REQUESTS[at], REQUEST_TABLES[at], size);
        sequence(decoder(4096), &[step(0, 57), step(1, 110), step(2, 164)]);
    }
}

const LOCATION: &str = "location: https://www.example.com";
const DATE_21: &str = "date: Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_22: &str = "date: Mon, 21 Oct 2013 20:13:22 GMT";
const COOKIE: &str = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const PRIVATE: &str = "cache-control: private";
const GZIP: &str = "content-encoding: gzip";

/// C.5 and C.6: responses with a table of 256 bytes, which evict entries. The first block begins with the size update that
/// the smaller table asks for; the RFC's examples leave it out.
#[test]
fn responses() {
    let raw = [
        "3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [raw, huffman] {
        let steps: [Step<'_>; 3] = [
            (
                blocks[0],
                &[":status: 302", PRIVATE, DATE_21, LOCATION],
                &[LOCATION, DATE_21, PRIVATE, ":status: 302"],
                222,
            ),
            (
                blocks[1],
                &[":status: 307", PRIVATE, DATE_21, LOCATION],
                &[":status: 307", LOCATION, DATE_21, PRIVATE],
                222,
            ),
            (blocks[2], &[":status: 200", PRIVATE, DATE_22, LOCATION, GZIP, COOKIE], &[COOKIE, GZIP, DATE_22], 215),
        ];
        sequence(decoder(256), &steps);
    }
}
