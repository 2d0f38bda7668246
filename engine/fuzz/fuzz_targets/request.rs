//! libFuzzer's entry for `checks::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::checks::request(data));
