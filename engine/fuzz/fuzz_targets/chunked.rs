//! libFuzzer's entry for `checks::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::checks::chunked(data));
