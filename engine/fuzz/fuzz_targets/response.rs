//! libFuzzer's entry for `checks::response`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::checks::response(data));
