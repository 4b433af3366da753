#!/bin/sh
# What the released program is made of, as CycloneDX JSON in target/sbom/mcp-notes.cdx.json: every crate with its
# version, licence and checksum, from Cargo.lock. cargo-cyclonedx is built from crates.io into .tools the first time,
# which takes minutes.
set -eu

cyclonedx=0.5.9

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$root/.tools
out=${CARGO_TARGET_DIR:-$root/target}/sbom

say() { printf 'sbom: %s\n' "$*"; }
fail() {
    printf 'sbom: %s\n' "$*" >&2
    exit 1
}

case $("$tools/bin/cargo-cyclonedx" cyclonedx --version 2>&1 || true) in
*" $cyclonedx") ;;
*)
    say "building cargo-cyclonedx $cyclonedx from crates.io into $tools"
    cargo install cargo-cyclonedx --version "$cyclonedx" --locked --debug --quiet \
        --root "$tools" --target-dir "$tools/build" || fail "cargo install failed; its messages are above"
    rm -rf "$tools/build"
    ;;
esac

cd "$root"
host=$(rustc -vV | sed -n 's/^host: //p')
# It writes beside each manifest.
"$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --features mongodb --target "${SBOM_TARGET:-$host}" \
    --manifest-path crates/mcp-notes/Cargo.toml --override-filename mcp-notes.cdx --quiet
mkdir -p "$out"
mv crates/mcp-notes/mcp-notes.cdx.json "$out/mcp-notes.cdx.json"
find crates -name mcp-notes.cdx.json -exec rm {} +
say "$out/mcp-notes.cdx.json has $(grep -c '"purl"' "$out/mcp-notes.cdx.json") parts"
