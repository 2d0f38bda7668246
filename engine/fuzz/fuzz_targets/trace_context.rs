//! libFuzzer's entry for `trace_context::trace_context`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::trace_context::trace_context(data));
