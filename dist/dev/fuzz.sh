#!/bin/sh
# Fuzzes: fuzz.sh [SECONDS [TARGET...]]. Each target, or each that is named, for so long (3 seconds).
#
# A stable compiler does: what `cargo fuzz` asks a nightly for is asked for here by name. What is found
# goes to target/fuzz; inputs worth keeping belong into fuzz/corpus. `cargo fuzz run TARGET` works as well.
set -eu
cd "$(dirname "$0")/../.."
. dist/dev/common.sh

seconds=${1:-3}
[ "$#" = 0 ] || shift
[ "$#" -gt 0 ] || set -- layer tarsplit archive references documents changes settings requests records registry

need_toolchain
have c++ || apt_install g++ || die "a C++ compiler is needed: sudo apt-get install g++"
work=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
say "building the fuzz targets"
# With --target the flags are for the program only, not for what builds it.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --quiet --release --locked --manifest-path fuzz/Cargo.toml --bin all \
    --target "$host" --target-dir "$work"

mkdir -p "$work/artifacts"
for target; do
    mkdir -p "$work/corpus/$target"
    log=$work/$target.log
    # No input may take 10 seconds, or the program half a gigabyte.
    if ! FUZZ_TARGET=$target "$work/$host/release/all" "$work/corpus/$target" "fuzz/corpus/$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -max_len=65536 \
        -artifact_prefix="$work/artifacts/$target-" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        die "$target: the input is in $work/artifacts"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    echo "$target: $runs inputs, $memory MiB"
    if [ -n "${IMAGED_FIGURES:-}" ]; then
        printf 'fuzz\tinputs of %s without a fault\t%s\n' "$target" "$runs" >>"$IMAGED_FIGURES"
    fi
done
