#!/bin/sh
# Holds deny.toml, and fuzz/deny.toml for the fuzz targets: licences, sources and double versions always; advisories
# when their database can be fetched, otherwise a line says that nobody looked.
set -eu

cd -- "$(dirname -- "$0")/.."
deny() { .tools/bin/cargo-deny --locked --log-level warn --workspace "$@"; }
deny_fuzz() { .tools/bin/cargo-deny --locked --log-level warn --manifest-path fuzz/Cargo.toml "$@"; }

deny check --hide-inclusion-graph bans licenses sources
deny_fuzz check --hide-inclusion-graph bans licenses sources
if fetched=$(timeout 120 .tools/bin/cargo-deny fetch db 2>&1); then
    deny check --disable-fetch advisories
    deny_fuzz check --disable-fetch advisories
else
    printf 'advisories NOT CHECKED: the database of advisories cannot be fetched (%s)\n' \
        "$(printf '%s' "$fetched" | grep -v '^$' | tail -n 1)"
fi
