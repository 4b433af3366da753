#!/bin/sh
# Runs every fuzz target of fuzz/ for FUZZ_SECONDS (60) each, or those that are named as arguments, and fails on a
# finding. Needs neither a nightly toolchain nor cargo-fuzz: the pinned compiler instruments, with its unstable
# options allowed for AddressSanitizer, and libfuzzer-sys brings libFuzzer. FUZZ_SANITIZER=none leaves the sanitizer
# out.
#
# What is found is kept in target/fuzz/findings; `scripts/fuzz.sh TARGET` after a correction runs the findings of
# that target first. The corpora in fuzz/corpus are read and not written: what a run adds is in target/fuzz/corpus,
# and FUZZ_KEEP=1 takes the smallest inputs with the same coverage over into fuzz/corpus.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
seconds=${FUZZ_SECONDS:-60}
sanitizer=${FUZZ_SANITIZER:-address}
build=${CARGO_TARGET_DIR:-$root/target}/fuzz

say() { printf 'fuzz: %s\n' "$*"; }
fail() {
    printf 'fuzz: %s\n' "$*" >&2
    exit 1
}

. "$root/scripts/packages.sh"

need g++ command -v c++
host=$(rustc -vV | sed -n 's/^host: //p')

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
case $sanitizer in
none) ;;
*)
    coverage="$coverage -Zsanitizer=$sanitizer"
    export RUSTC_BOOTSTRAP=1
    ;;
esac

say "building the targets (sanitizer: $sanitizer)"
# With --target the flags are for the targets alone and not for what runs while they are built.
RUSTFLAGS=$(printf '%s' "$coverage" | tr -s '\n ' ' ') cargo build --locked --quiet --release --bins \
    --manifest-path "$root/fuzz/Cargo.toml" --target "$host" --target-dir "$build"

# Allocations that the runtime holds to the end are no leaks.
export ASAN_OPTIONS="detect_odr_violation=0:detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
if [ $# -eq 0 ]; then
    for source in "$root"/fuzz/fuzz_targets/*.rs; do
        name=${source##*/}
        set -- "$@" "${name%.rs}"
    done
fi
found=
for target in "$@"; do
    kept=$root/fuzz/corpus/$target
    grown=$build/corpus/$target
    findings=$build/findings/$target
    program=$build/$host/release/$target
    log=$build/$target.log
    mkdir -p "$kept" "$grown" "$findings"
    for finding in "$findings"/*; do
        [ ! -e "$finding" ] || "$program" -timeout=10 -rss_limit_mb=1024 "$finding" >"$log" 2>&1 ||
            { tail -n 30 "$log" >&2; fail "$target still fails with $finding"; }
    done
    if "$program" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="$findings/" "$grown" "$kept" >"$log" 2>&1; then
        say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
            "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log") MB at most"
    else
        tail -n 40 "$log" >&2
        say "$target: FAILED; the input is in $findings, the whole output in $log" >&2
        found="$found $target"
    fi
    if [ -n "${FUZZ_KEEP:-}" ]; then
        rm -rf "$build/merged"
        mkdir -p "$build/merged"
        "$program" -merge=1 -timeout=10 -rss_limit_mb=1024 -max_len=2048 "$build/merged" "$kept" "$grown" >>"$log" 2>&1
        rm -rf "$kept"
        mv "$build/merged" "$kept"
    fi
done
[ -z "$found" ] || fail "findings in:$found"
