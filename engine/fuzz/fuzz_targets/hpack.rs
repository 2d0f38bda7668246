//! libFuzzer's entry for `hpack::hpack` and `differential::hpack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ringway_fuzz::hpack::hpack(data);
    ringway_fuzz::differential::hpack(data);
});
