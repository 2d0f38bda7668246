#!/usr/bin/env bash
# Builds ringway for the paths that traffic takes (profile-guided optimization): a build that counts them, a load test that it
# counts under, and a build that lays them out one behind the other.
#
#   loadtest/pgo.sh          some ten minutes; the binary is target/pgo/ringway
#   PGO_PROFILE=quick PGO_TIME=200ms loadtest/pgo.sh      another Cargo profile than release, and shorter runs than 2 s
#
# It needs two cores, and rustup for LLVM's tools of the same version as the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
profile="${PGO_PROFILE:-release}"
target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/pgo"
host="$(rustc -vV | sed -n 's/^host: //p')"
tools="$(rustc --print target-libdir)/../bin"
[ -x "$tools/llvm-profdata" ] || rustup component add llvm-tools
# With --target, flags do not reach build scripts and macros, whose paths are none of traffic's.
build() {
    RUSTFLAGS="${RUSTFLAGS-} $1" CARGO_INCREMENTAL=0 \
        cargo build --profile "$profile" --locked --quiet -p ringway --target "$host" --target-dir "$work/$2"
}

rm -rf "$work/counts"
build "-Cprofile-generate=$work/counts" counting
CARGO_INCREMENTAL=0 cargo build --profile "$profile" --locked --quiet -p loadtest
# What this host cannot run (io_uring, descriptors) fails here and not in a binary that was guided by nothing.
"$target/$profile/loadtest" compare --strict -p ringway --ringway "$work/counting/$host/$profile/ringway" \
    -r 1 -d "${PGO_TIME:-2s}" --out "$work/loadtest" \
    keepalive/64 sizes/16KiB sizes/1MiB uploads/16KiB close headers routes h2 h2-tls h2-h2 grpc-unary tls
"$tools/llvm-profdata" merge -o "$work/profile" "$work/counts"
build "-Cprofile-use=$work/profile" guided
install -m 755 "$work/guided/$host/$profile/ringway" "$work/ringway"
echo "$work/ringway"
