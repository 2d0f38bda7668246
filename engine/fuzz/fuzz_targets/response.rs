//! libFuzzer's entry for `checks::response` and `tokeniser::response`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ringway_fuzz::checks::response(data);
    ringway_fuzz::tokeniser::response(data);
});
