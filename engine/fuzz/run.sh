#!/bin/sh
# Builds the fuzz targets and runs each for some seconds: ./run.sh [seconds-per-target, default 20] [target ...]
#
# It needs the stable toolchain and a C++ compiler, no nightly and no cargo-fuzz: coverage comes from LLVM's sancov
# pass, and libfuzzer-sys builds libFuzzer from source. There is no address sanitizer on stable, and no need: the code
# under test has no unsafe block. The build takes about a minute the first time.
#
# FUZZ_SEED=n makes the same inputs again (from the same corpus); without it, each run makes others. FUZZ_RUNS=n ends a
# target after that many inputs, if its seconds are not over before: a fast machine goes no further than a slow one.
#
# New inputs go to target/corpus/, findings to artifacts/. A finding belongs into corpus/ under a name that says what it
# is: `cargo test` replays that directory.
set -eu
cd "$(dirname "$0")"
seconds=${1:-20}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- request response chunked path accept_encoding decoding client_hello hpack h2 ocsp grpc_web trace_context

host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
# With --target the flags stay away from build scripts, which cannot link against the coverage runtime.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --release --locked --quiet --target "$host" --target-dir "$target_dir"

for name; do
    mkdir -p "target/corpus/$name" "artifacts/$name"
    echo "== $name: $seconds s"
    log="target/$name.log"
    if ! "$target_dir/$host/release/$name" -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=1024 \
        -dict=http.dict -seed="${FUZZ_SEED:-0}" -runs="${FUZZ_RUNS:--1}" -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="artifacts/$name/" \
        "target/corpus/$name" "corpus/$name" >"$log" 2>&1; then
        cat "$log"
        exit 1
    fi
    grep -E 'executed_units|new_units|peak_rss' "$log"
done
