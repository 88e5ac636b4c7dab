# What install.sh and test.sh share; sourced, not run. POSIX sh.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# as_root COMMAND...: as root, by sudo when this is an ordinary user.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo > /dev/null; then sudo "$@"
    else die "this needs root once: run as root: $*"
    fi
}

# reachable DIRECTORY: whether anyone may go there.
reachable() {
    case $(stat -c %A "$1") in *[xt]) ;; *) return 1 ;; esac
    [ "$1" = / ] || reachable "$(dirname "$1")"
}

# find_python: prints an interpreter of 3.11 or newer. Debian's own first: a version manager's shim starts slowly.
find_python() {
    for candidate in /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3; do
        candidate=$(command -v "$candidate") || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || continue
        echo "$candidate"
        return
    done
    return 1
}

# apt_missing PACKAGES...: prints those that are not installed.
apt_missing() {
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
    done
}

# apt_install PACKAGES...: installs what is lacking, without recommendations and without starting any service.
apt_install() {
    lacking=$(apt_missing "$@")
    [ -n "$lacking" ] || return 0
    command -v apt-get > /dev/null || die "install these with your package manager:" $lacking
    say "installing from Debian:" $lacking
    policy=/usr/sbin/policy-rc.d # asked by Debian's maintainer scripts; 101 means: do not start it
    if [ ! -e $policy ]; then
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy"
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 129' HUP
        trap 'exit 130' INT
        trap 'exit 143' TERM
        ours=1
    fi
    options="-qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
    # The lists may be absent or old: fetch them only when the packages are not found as things stand.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get $options install $lacking > /dev/null 2>&1 || {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get $options install $lacking > /dev/null
    } || die "apt-get could not install:" $lacking
    if [ "${ours:-}" ]; then
        as_root rm -f $policy
        trap - EXIT HUP INT TERM
        ours=
    fi
}

# make_venv DIRECTORY: a virtual environment with pip there, by a Python that is fit for it. Keeps a good one.
make_venv() {
    if [ -x "$1/bin/python3" ] && "$1/bin/python3" -m pip --version > /dev/null 2>&1; then return 0; fi
    python=$(find_python) || { apt_install python3 python3-venv && python=$(find_python); } ||
        die "Python 3.11 or newer is needed"
    # Debian has venv without ensurepip until python3-venv is installed.
    "$python" -c 'import ensurepip, venv' 2> /dev/null || apt_install python3-venv
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    "$python" -m venv "$1" || die "$python -m venv failed"
}

# pip_install VENV ARGS...: quietly, only what the lock's hashes allow where a lock is given.
pip_install() {
    venv=$1
    shift
    "$venv/bin/python3" -m pip --disable-pip-version-check install --quiet --no-input "$@"
}

# locked VENV LOCKS...: installs lock files unless the same ones were installed last.
locked() {
    venv=$1
    shift
    stamp=$(cat "$@" | sha256sum)
    [ "$(cat "$venv/.locked" 2> /dev/null)" != "$stamp" ] || return 0
    for lock in "$@"; do pip_install "$venv" --require-hashes -r "$lock" || die "pip could not install $lock"; done
    echo "$stamp" > "$venv/.locked"
}

# build_backend DIRECTORY: the locked build backend, apart, for PYTHONPATH.
build_backend() {
    pip_install "$venv" --target "$1" --require-hashes -r requirements-build.lock
}
