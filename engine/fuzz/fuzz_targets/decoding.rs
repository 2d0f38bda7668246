//! libFuzzer's entry for `checks::decoding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::checks::decoding(data));
