//! libFuzzer's entry for `checks::request` and `tokeniser::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ringway_fuzz::checks::request(data);
    ringway_fuzz::tokeniser::request(data);
});
