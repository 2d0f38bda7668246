//! libFuzzer's entry for `checks::accept_encoding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::checks::accept_encoding(data));
