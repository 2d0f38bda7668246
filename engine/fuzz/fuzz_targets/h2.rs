//! libFuzzer's entry for `h2::h2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::h2::h2(data));
