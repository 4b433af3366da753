#!/bin/sh
# Installs what the tests need beside Rust into .tools (TEST_TOOLS names another folder): the official MCP
# conformance suite and the Node.js it wants, the official MCP clients, schemathesis, and FerretDB where there is no
# MongoDB. Versions are pinned in crates/mcp-notes/tests/clients and crates/notes/tests/engine; what is there already
# and current is left alone, and what the system lacks for it is installed with apt-get (packages.sh), nginx and
# Redis among it. Afterwards .tools/bin has node, conformance, python, schemathesis, nginx, libnss_wrapper.so,
# redis-server, redis-cli, ferretdb-engine, prometheus and promtool.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
pins=$root/crates/mcp-notes/tests/clients
engine=$root/crates/notes/tests/engine
tools=${TEST_TOOLS:-$root/.tools}
mkdir -p "$tools"
# What is installed holds its own path, which must be good from wherever the folder is linked.
tools=$(CDPATH='' cd -- "$tools" && pwd -P)
node_major_min=22
go_minor_min=22

say() { printf 'test tools: %s\n' "$*"; }
fail() {
    printf 'test tools: %s\n' "$*" >&2
    exit 1
}

. "$root/scripts/packages.sh"

# The stamp of a part: its pins, this script, and the folder, because environments hold their own path.
stamp_of() { { cat "$@" "$root/scripts/install-test-tools.sh" && printf '%s\n' "$tools"; } | cksum; }
is_current() { [ -f "$tools/$1.stamp" ] && [ "$(cat "$tools/$1.stamp")" = "$2" ]; }

install_npm() {
    stamp=$(stamp_of "$pins/package.json" "$pins/package-lock.json")
    if is_current npm "$stamp"; then
        say "npm packages are current"
        return
    fi
    need npm command -v npm
    say "installing with npm into $tools/npm:"
    sed -n 's/^    "\([^"]*\)": "\([0-9][^"]*\)",\{0,1\}$/    \1 \2/p' "$pins/package.json"
    rm -f "$tools/npm.stamp"
    mkdir -p "$tools/npm"
    cp "$pins/package.json" "$pins/package-lock.json" "$tools/npm/"
    # No package here needs an install script, so none may run one.
    (cd "$tools/npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        fail "npm ci failed; its messages are above"
    link_node
    write_command conformance "exec \"$tools/bin/node\" \"$tools/npm/node_modules/@modelcontextprotocol/conformance/dist/index.js\" \"\$@\""
    printf '%s\n' "$stamp" >"$tools/npm.stamp"
}

# The Node.js that npm brought for this platform, or the machine's own where it is new enough.
link_node() {
    for binary in "$tools"/npm/node_modules/node-*/bin/node "$(command -v node || true)"; do
        if [ -x "$binary" ] && "$binary" -e "process.exit(parseInt(process.versions.node) < $node_major_min ? 1 : 0)"; then
            ln -sfn "$binary" "$tools/bin/node"
            return
        fi
    done
    fail "no Node.js $node_major_min or newer: npm has none for this platform, and the machine's own is older"
}

install_python() {
    stamp=$(stamp_of "$pins/requirements.txt")
    if is_current python "$stamp"; then
        say "Python packages are current"
        return
    fi
    python=${PYTHON:-python3}
    need python3-venv "$python" -c 'import ensurepip, venv'
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) is too old; install Python 3.11 or newer (or set PYTHON)"
    say "installing with pip into $tools/python: $(sed -n 's/^\(mcp\|schemathesis\)==/\1 /p' "$pins/requirements.txt" | paste -sd ' ' -) and what they need"
    rm -rf "$tools/python.stamp" "$tools/python"
    "$python" -m venv "$tools/python" || fail "python -m venv failed; its messages are above"
    "$tools/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        -r "$pins/requirements.txt" || fail "pip install failed; its messages are above"
    for name in python schemathesis; do
        write_command "$name" "exec \"$tools/python/bin/$name\" \"\$@\""
    done
    printf '%s\n' "$stamp" >"$tools/python.stamp"
}

# The nginx of the system, which is not on the path of everybody.
find_nginx() (
    PATH=$PATH:/usr/local/sbin:/usr/sbin
    command -v nginx
)

install_nginx() {
    if ! find_nginx >/dev/null; then
        need nginx find_nginx
        # The package starts a web server on port 80, which nobody asked for.
        $as_root systemctl disable --quiet --now nginx 2>/dev/null || $as_root service nginx stop >/dev/null 2>&1 || true
    fi
    ln -sfn "$(find_nginx)" "$tools/bin/nginx"
}

# With it a name has the addresses that a test wants, and /etc/hosts is left alone.
find_wrapper() {
    for library in /usr/lib/*/libnss_wrapper.so /usr/lib64/libnss_wrapper.so /usr/lib/libnss_wrapper.so; do
        if [ -e "$library" ]; then
            printf '%s\n' "$library"
            return
        fi
    done
    return 1
}

install_wrapper() {
    need libnss-wrapper find_wrapper
    ln -sfn "$(find_wrapper)" "$tools/bin/libnss_wrapper.so"
}

# Go where its own archive puts it, which is not on the path of everybody.
find_go() (
    PATH=$PATH:/usr/local/go/bin
    command -v go
)

install_engine() {
    if [ -n "${TEST_MONGODB_URL:-}" ] || command -v mongod >/dev/null; then
        say "there is a MongoDB to test with, so FerretDB is not built"
        return
    fi
    stamp=$(stamp_of "$engine/go.mod" "$engine/go.sum" "$engine/main.go")
    if is_current engine "$stamp"; then
        say "FerretDB is current"
        return
    fi
    need golang-go find_go
    go=$(find_go)
    minor=$("$go" env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$go_minor_min" ] ||
        fail "$("$go" version) is too old; install Go 1.$go_minor_min or newer, or a mongod, or set TEST_MONGODB_URL"
    say "building with Go, which takes minutes: FerretDB $(sed -n 's/^require .*FerretDB v//p' "$engine/go.mod")"
    rm -f "$tools/engine.stamp"
    # Its version is not asked of git, and no C compiler is involved.
    (cd "$engine" && CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -mod=readonly -buildvcs=false -trimpath \
        -ldflags='-s -w' -tags ferretdb_no_postgresql -o "$tools/bin/ferretdb-engine.new" .) ||
        fail "go build failed; its messages are above"
    mv "$tools/bin/ferretdb-engine.new" "$tools/bin/ferretdb-engine"
    printf '%s\n' "$stamp" >"$tools/engine.stamp"
}

install_redis() {
    if ! command -v redis-server >/dev/null; then
        need redis-server command -v redis-server
        # The package starts a server on port 6379, which nobody asked for.
        $as_root systemctl disable --quiet --now redis-server 2>/dev/null || $as_root service redis-server stop >/dev/null 2>&1 || true
    fi
    # It comes with the server, in a package of its own.
    need redis-tools command -v redis-cli
    ln -sfn "$(command -v redis-server)" "$tools/bin/redis-server"
    ln -sfn "$(command -v redis-cli)" "$tools/bin/redis-cli"
}

# Prometheus, out of its package and not installed: the package starts a server and brings a browser's libraries.
install_prometheus() {
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
        ln -sfn "$(command -v prometheus)" "$tools/bin/prometheus"
        ln -sfn "$(command -v promtool)" "$tools/bin/promtool"
        return
    fi
    if [ -x "$tools/prometheus/promtool" ]; then
        say "Prometheus is there"
    else
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
            fail "missing: prometheus and promtool"
        say "fetching prometheus with apt-get into $tools/prometheus"
        new=$tools/prometheus.new
        rm -rf "$new"
        mkdir -p "$new"
        # Where nobody has asked for the list of packages yet, it has to be fetched first.
        (cd "$new" && apt-get download --quiet=2 prometheus >/dev/null 2>&1) ||
            { update_packages && (cd "$new" && apt-get download --quiet=2 prometheus >&2); } ||
            fail "apt-get download prometheus failed; its messages are above"
        dpkg-deb --extract "$new"/prometheus_*.deb "$new/files" || fail "the package of prometheus cannot be read"
        rm -rf "$tools/prometheus"
        mv "$new/files/usr/bin" "$tools/prometheus"
        rm -rf "$new"
    fi
    ln -sfn "$tools/prometheus/prometheus" "$tools/bin/prometheus"
    ln -sfn "$tools/prometheus/promtool" "$tools/bin/promtool"
}

write_command() {
    printf '#!/bin/sh\n%s\n' "$2" >"$tools/bin/$1.new"
    chmod +x "$tools/bin/$1.new"
    mv "$tools/bin/$1.new" "$tools/bin/$1"
}

mkdir -p "$tools/bin"
# Two runs at once would take each other's files away.
if command -v flock >/dev/null; then
    exec 9>"$tools/lock"
    flock 9
fi
# The session in the README is run.
need curl command -v curl
install_npm
install_python
# Stands in front of the server in a test.
install_nginx
install_wrapper
# What tests of MongoDB talk to.
install_engine
# Holds what replicas share; a sentinel is the same program.
install_redis
# Reads the metrics, and says what is wrong with them.
install_prometheus
