# shellcheck shell=sh
# Read in by the scripts beside it, which define say and fail: what the system itself must have. On Debian and
# Ubuntu pip, venv, npm and curl are packages of their own that a fresh system lacks.

# Sets as_root to what makes this user one who may install packages; fails where nothing does.
find_root() {
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    else
        as_root=sudo
        sudo -n true 2>/dev/null
    fi
}

# Fetches the list of packages.
update_packages() { find_root && $as_root apt-get update --quiet=2 </dev/null >&2; }

# need PACKAGE COMMAND...: installs PACKAGE with apt-get where COMMAND fails and this user may, otherwise prints
# the one command that does it.
need() {
    package=$1
    shift
    if "$@" >/dev/null 2>&1; then
        return
    fi
    command -v apt-get >/dev/null ||
        fail "missing: what Debian and Ubuntu have in the package $package (\"$*\" must succeed)"
    find_root || fail "$package is missing; install it: sudo apt-get update && sudo apt-get install --yes $package"
    say "$package is missing; installing it with ${as_root:+sudo }apt-get"
    { $as_root apt-get update --quiet=2 &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$package"; } \
        </dev/null >&2 || fail "apt-get failed; its messages are above"
    "$@" >/dev/null 2>&1 || fail "$package is installed, and yet this fails: $*"
}
