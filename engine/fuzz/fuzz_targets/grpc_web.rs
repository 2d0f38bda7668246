//! libFuzzer's entry for `grpc_web::grpc_web`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_fuzz::grpc_web::grpc_web(data));
