#!/bin/sh
# Installs what `make check` needs beside Rust into .tools, with pinned versions: cargo-deny, built from
# crates.io in about two minutes, typos, a ready binary from PyPI, and what checks the files in deploy/ (check-tools):
# from PyPI, and built with Go in less than a minute. What is there already is left alone; what the system lacks for
# it is installed with apt-get (packages.sh).
set -eu

cargo_deny=0.20.2
typos=1.52.0
# Modules of Go from which schemas are taken and nothing is built.
registry=github.com/modelcontextprotocol/registry@v1.5.0
gateway=sigs.k8s.io/gateway-api@v1.3.0
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0
go_minor_min=24

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$root/.tools

say() { printf 'check tools: %s\n' "$*"; }
fail() {
    printf 'check tools: %s\n' "$*" >&2
    exit 1
}

. "$root/scripts/packages.sh"

mkdir -p "$tools/bin"
# What is installed holds its own path, which must be good from wherever the folder is linked.
tools=$(CDPATH='' cd -- "$tools" && pwd -P)
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

pins=$root/scripts/check-tools
deploy=$tools/deploy

# Go where its own archive puts it, which is not on the path of everybody.
find_go() {
    command -v go || { [ -x /usr/local/go/bin/go ] && echo /usr/local/go/bin/go; }
}

# schema MODULE PATH NAME: keeps one file of a module, whose checksum Go compares with those that all have.
schema() {
    place=$("$go" mod download -json "$1" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    [ -f "$place/$2" ] || fail "$1 has no $2"
    install -D -m 0644 "$place/$2" "$deploy/schemas/$3"
}

install_deploy() {
    stamp=$({ cat "$pins"/* "$root/scripts/install-check-tools.sh" && printf '%s\n' "$tools"; } | cksum)
    if [ -f "$tools/deploy.stamp" ] && [ "$(cat "$tools/deploy.stamp")" = "$stamp" ]; then
        say "what checks deploy/ is current"
        return
    fi
    python=${PYTHON:-python3}
    need python3-venv "$python" -c 'import ensurepip, venv'
    need golang-go find_go
    go=$(find_go)
    minor=$("$go" env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$go_minor_min" ] || fail "$("$go" version) is too old; install Go 1.$go_minor_min or newer"
    say "installing with pip and Go into $deploy what checks the files in deploy/"
    rm -rf "$tools/deploy.stamp" "$deploy"
    "$python" -m venv "$deploy" || fail "python -m venv failed; its messages are above"
    "$deploy/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        -r "$pins/requirements.txt" || fail "pip install failed; its messages are above"
    for built in kustomize=sigs.k8s.io/kustomize/kustomize/v5 compose=github.com/compose-spec/compose-go/v2/cmd; do
        (cd "$pins" && CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -mod=readonly -buildvcs=false -trimpath \
            -ldflags='-s -w' -o "$deploy/bin/${built%%=*}" "${built#*=}") ||
            fail "go build failed; its messages are above"
    done
    schema "$registry" internal/validators/schemas/2025-12-11.json server.json
    schema "$gateway" config/crd/standard/gateway.networking.k8s.io_httproutes.yaml HTTPRoute.yaml
    schema "$operator" example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml ServiceMonitor.yaml
    printf '%s\n' "$stamp" >"$tools/deploy.stamp"
}

install_deploy

# Reads the units of systemd, which need not run.
need systemd command -v systemd-analyze

# The session in the README is run.
need curl command -v curl
