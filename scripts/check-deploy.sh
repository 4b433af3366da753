#!/bin/sh
# Holds what operators copy against what will read it: the Dockerfile, the file of Compose, the manifests of Kubernetes,
# the units of systemd, server.json and the scripts. Nothing of it is started. Needs what
# scripts/install-check-tools.sh installs.
set -eu

cd -- "$(dirname -- "$0")/.."
bin=$PWD/.tools/deploy/bin
schemas=$PWD/.tools/deploy/schemas
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The most that a unit may be exposed, in tenths, by the reckoning of systemd-analyze.
exposure_max=15

say() { printf 'deploy: %s\n' "$*"; }
fail() {
    printf 'deploy: %s\n' "$*" >&2
    exit 1
}

# quiet COMMAND...: shows what a command says only when it fails.
quiet() {
    "$@" >"$folder/said" 2>&1 || {
        cat "$folder/said" >&2
        fail "this fails: $*"
    }
}

say "form"
"$bin/yamllint" --strict --config-file deploy/.yamllint deploy
"$bin/shellcheck" --severity=warning --external-sources --source-path=SCRIPTDIR scripts/*.sh deploy/compose/*.sh .ci/run

say "image"
"$bin/hadolint" deploy/Dockerfile

say "Compose"
quiet "$bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/docker-compose.prod.yml
# The reader and the checks of `docker compose config`, without an engine.
quiet sh -c "cd deploy && '$bin/compose' -format json docker-compose.prod.yml >'$folder/compose.json'"

say "Kubernetes"
quiet sh -c "'$bin/kustomize' build deploy/kubernetes/example >'$folder/kubernetes.yaml'"
for file in "$folder/kubernetes.yaml" deploy/kubernetes/example/secret.example.yaml; do
    # The kinds that others define are looked at below.
    quiet "$bin/kubernetes-validate" --strict --no-warn "$file"
done

say "systemd"
units=$folder/units
mkdir -p "$units/mcp-notes.service.d" "$units/mcp-notes-backup.service.d"
# What a unit starts must be there.
cp /bin/true "$units/mcp-notes"
for unit in deploy/systemd/*.service deploy/systemd/*.timer; do
    [ -e "$unit" ] || continue
    sed "s|/usr/bin/mcp-notes|$units/mcp-notes|" "$unit" >"$units/${unit##*/}"
done
cp deploy/systemd/replica.conf "$units/mcp-notes.service.d/"
cp deploy/systemd/replica.conf "$units/mcp-notes-backup.service.d/"
for unit in "$units"/*.service "$units"/*.timer; do
    [ -e "$unit" ] || continue
    systemd-analyze verify --man=no "$unit" >"$folder/said" 2>&1 || fail "$(cat "$folder/said")"
    # It warns of what it does not know, and leaves with 0.
    ! grep -F "$units" "$folder/said" || fail "systemd-analyze verify has something to say of ${unit##*/}"
done
for unit in "$units"/*.service; do
    quiet systemd-analyze security --offline=true --threshold="$exposure_max" --no-pager "$unit"
done

say "registry of MCP servers"
quiet "$bin/check-jsonschema" --schemafile "$schemas/server.json" server.json

"$bin/python" scripts/check_deploy.py "$folder/compose.json" "$folder/kubernetes.yaml" "$schemas"
