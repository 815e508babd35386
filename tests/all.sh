#!/usr/bin/env bash
# Runs all tests. Most of those that start services wait, for a process or an answer:
# five of them at a time keep two cores busy, and the others run beside them. What those
# say comes when they have ended.
#
#     tests/all.sh LIBONNXRUNTIME
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
run() { cargo test --locked --workspace --no-fail-fast "$@" || failed=1; }

units() {
    run --lib --bins
    run --doc
    # Neural voices once more, by ONNX Runtime.
    HOIAM_TEST_ONNXRUNTIME=$1 run --lib -- piper neural
    return $failed
}

services() {
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 2 + 1))}
    run --test '*'
    HOIAM_TEST_ONNXRUNTIME=$1 run --test it -- piper neural
}

cargo test --locked --workspace --no-run
log=$(mktemp)
# In a process group of its own, so that all of it can be ended.
set -m
units "$1" &>"$log" &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null || true; rm -f "$log"' EXIT
services "$1"
wait "$beside" || failed=1
cat "$log"
exit "$failed"
