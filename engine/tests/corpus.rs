//! Replays the fuzz corpus (engine/fuzz/corpus/) through the checks that the fuzz targets make, in every test run.

use std::fs;
use std::path::Path;

// The checks name them `crate::codec` and so on, as they are called in the fuzz crate.
use ringway::http::trace::parse as trace_parse;
use ringway::{codec, http, net};

#[path = "../fuzz/src/checks.rs"]
mod checks;
#[path = "../fuzz/src/grpc_web.rs"]
mod grpc_web;
#[path = "../fuzz/src/h2.rs"]
mod h2;
#[path = "../fuzz/src/hpack.rs"]
mod hpack;
#[path = "../fuzz/src/ocsp.rs"]
mod ocsp;
#[path = "../fuzz/src/tokeniser.rs"]
mod tokeniser;
#[path = "../fuzz/src/trace_context.rs"]
mod trace_context;

/// Runs `check` on every input of a target, which must not have become too few.
fn replay(target: &str, check: fn(&[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() >= 20, "{target}: only {} inputs", inputs.len());
    for (name, input) in inputs {
        // On a failure the captured output names the input.
        println!("{target}/{name}");
        check(&input);
        one_byte_changed(&input, check);
    }
}

/// The same input with one byte changed, at each place: a little of what the fuzzer does, in no time and the same
/// always.
fn one_byte_changed(input: &[u8], check: fn(&[u8])) {
    for at in 0..input.len() {
        let mut changed = input.to_vec();
        for byte in *b"\r\n \t\0:;,/0A\x7f\xff" {
            changed[at] = byte;
            check(&changed);
        }
    }
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let read =
        |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap());
    entries.map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn request() {
    replay("request", checks::request);
    replay("request", tokeniser::request);
}

#[test]
fn response() {
    replay("response", checks::response);
    replay("response", tokeniser::response);
}

#[test]
fn chunked() {
    replay("chunked", checks::chunked);
}

#[test]
fn accept_encoding() {
    replay("accept_encoding", checks::accept_encoding);
}

#[test]
fn decoding() {
    replay("decoding", checks::decoding);
}

#[test]
fn path() {
    replay("path", checks::path);
}

#[test]
fn client_hello() {
    replay("client_hello", checks::client_hello);
}

#[test]
fn hpack() {
    replay("hpack", hpack::hpack);
}

#[test]
fn h2() {
    replay("h2", h2::h2);
}

#[test]
fn ocsp() {
    replay("ocsp", ocsp::ocsp);
}

#[test]
fn trace_context() {
    replay("trace_context", trace_context::trace_context);
}

#[test]
fn grpc_web() {
    replay("grpc_web", grpc_web::grpc_web);
}
