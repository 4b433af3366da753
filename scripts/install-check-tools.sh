#!/bin/sh
# Installs what `make check` needs beside Rust into .tools, with pinned versions: cargo-deny, built from
# crates.io in about two minutes, and typos, a ready binary from PyPI. What is there already is left alone; what
# the system lacks for it is installed with apt-get (packages.sh).
set -eu

cargo_deny=0.20.2
typos=1.52.0

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$root/.tools

say() { printf 'check tools: %s\n' "$*"; }
fail() {
    printf 'check tools: %s\n' "$*" >&2
    exit 1
}

. "$root/scripts/packages.sh"

mkdir -p "$tools/bin"
if command -v flock >/dev/null; then
    exec 9>"$tools/lock"
    flock 9
fi

if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null || true)" = "cargo-deny $cargo_deny" ]; then
    say "cargo-deny is current"
else
    say "building cargo-deny $cargo_deny from crates.io into $tools"
    # Unoptimised, because it runs for seconds and would compile for many more minutes.
    cargo install cargo-deny --version "$cargo_deny" --locked --debug --quiet \
        --root "$tools" --target-dir "$tools/build" || fail "cargo install failed; its messages are above"
    rm -rf "$tools/build"
fi

if [ "$("$tools/typos/bin/typos" --version 2>/dev/null || true)" = "typos-cli $typos" ]; then
    say "typos is current"
else
    python=${PYTHON:-python3}
    need python3-venv "$python" -c 'import ensurepip, venv'
    say "installing typos $typos with pip into $tools/typos"
    rm -rf "$tools/typos"
    "$python" -m venv "$tools/typos" || fail "python -m venv failed; its messages are above"
    "$tools/typos/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
        --only-binary :all: "typos==$typos" || fail "pip install failed; its messages are above"
fi

# The session in the README is run.
need curl command -v curl
