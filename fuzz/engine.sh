#!/bin/sh
# Looks for texts that have libespeak-ng read or write what is not its own, with coverage
# as the guide. Finds are put into target/fuzz/engine/finds and do not end the search.
#
#     fuzz/engine.sh SECONDS [MORE OPTIONS OF LIBFUZZER]
#     fuzz/engine.sh FILE...      speaks these inputs, once each
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
built="$target/fuzz"
fuzz/libespeak-asan.sh "$built"

# The same versions of all crates as the program has.
cp Cargo.lock fuzz/engine/Cargo.lock
cargo rustc --manifest-path fuzz/engine/Cargo.toml --target-dir "$target" --bin engine -- \
    -C link-arg=-rdynamic
corpus="$built/engine/corpus"
mkdir -p "$corpus" "$built/engine/finds"
if [ -z "$(ls "$corpus")" ]; then
    data=$(dirname "$(dpkg -L espeak-ng-data | grep '/phontab$')")
    python3 fuzz/engine/seeds.py "$built"/espeak-ng-*/dictsource "$data/lang" "$corpus"
fi

runtime=$(clang-14 -print-file-name=libclang_rt.asan-x86_64.so)
export ASAN_OPTIONS="detect_leaks=0:symbolize=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
export ASAN_SYMBOLIZER_PATH="${ASAN_SYMBOLIZER_PATH:-$(command -v llvm-symbolizer-14 || true)}"
run() {
    env LD_PRELOAD="$runtime" LD_LIBRARY_PATH="$built/lib" "$target/debug/engine" \
        -artifact_prefix="$built/engine/finds/" -timeout=60 -rss_limit_mb=4096 "$@"
}

if [ -e "${1:-}" ]; then
    run "$@"
else
    seconds=${1:-1800}
    [ $# -eq 0 ] || shift
    run -max_total_time="$seconds" -max_len=3000 -fork=1 -ignore_crashes=1 \
        -ignore_timeouts=1 -ignore_ooms=1 "$@" "$corpus"
fi
