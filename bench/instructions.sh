#!/usr/bin/env bash
# Counts the instructions of the main pieces with valgrind and compares them with bench/baseline.json.
#
#   bench/instructions.sh           exits with 1 when a whole exchange takes over 3 % more than the baseline says
#   bench/instructions.sh --bless   makes the present counts the baseline: for a cost that is meant, or a new toolchain
#
# The counts are of the Cargo profile `instructions`. They hold for the rustc, valgrind, C library and kind of CPU that
# the baseline names; with others the comparison is printed and never fails.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1-}" in
    "") action=check ;;
    --bless) action=bless ;;
    *) echo "usage: bench/instructions.sh [--bless]" >&2; exit 2 ;;
esac

command -v valgrind >/dev/null || bash .ci/install

# The runner must be of the library's version. It only starts valgrind, so it need not be optimised.
version=$(sed -n '/^name = "gungraun"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
tools="${CARGO_TARGET_DIR:-$PWD/target}/tools"
export GUNGRAUN_RUNNER="$tools/bin/gungraun-runner"
if [ "$("$GUNGRAUN_RUNNER" --version 2>/dev/null | grep -oE '[0-9.]+$')" != "$version" ]; then
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$tools/build" \
        cargo install gungraun-runner --version "=$version" --locked --debug --quiet --root "$tools"
    rm -rf "$tools/build"
fi

cargo build --profile instructions --locked --quiet -p bench --bin baseline --features instructions
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
cargo bench --profile instructions --locked --quiet -p bench --features instructions --bench instructions -- \
    --output-format=json >"$counts"
"${CARGO_TARGET_DIR:-target}/instructions/baseline" "$action" bench/baseline.json <"$counts"
