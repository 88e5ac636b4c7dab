#!/bin/sh
# Installs what the tests need (Debian packages; Python packages into .venv, locked) and runs them, fast ones first.
#
#   ./test.sh [--full] [PYTEST ARGUMENTS]
#
# --full runs the long matrices whole; otherwise they are sampled, and the seed is printed. As an ordinary user the
# integration tests say why they cannot run.
set -eu
cd "$(dirname "$0")"
. tools/common.sh

case ${1:-} in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

# The tests become ordinary users, who must be able to read the tree: one below a closed directory (a clone in /root)
# is tested as a copy, which keeps its .venv for the next time.
if [ "$(id -u)" = 0 ] && ! reachable "$PWD"; then
    copy=/var/cache/atoll-tests/tree
    say "$PWD cannot be reached by ordinary users: testing a copy, $copy"
    mkdir -p "$copy"
    chmod 755 "${copy%/*}" "$copy"
    find "$copy" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
    tar -C . --exclude=./.venv --exclude=__pycache__ -cf - . | tar -C "$copy" --no-same-owner -xf -
    chmod -R a+rX "$copy"
    exec "$copy/test.sh" "$@"
fi

# shellcheck disable=SC2046 # one word a package
[ ! -e /etc/debian_version ] || apt_install $(sed 's/#.*//' tests/apt-packages.txt)
make_venv .venv
locked .venv requirements-dev.lock
if [ "$(cat .venv/.editable 2> /dev/null)" != "$(cat pyproject.toml bin/* | sha256sum) $PWD" ]; then
    pip_install .venv --no-build-isolation --no-deps --no-index --editable . || die "pip could not install Atoll"
    echo "$(cat pyproject.toml bin/* | sha256sum) $PWD" > .venv/.editable
fi
# Root can run everything, so there a skip that tests/allowed-skips.txt does not name is a failure.
[ "$(id -u)" != 0 ] || set -- --strict-skips "$@"
# A session a processor, a file at a time: each session has a corner of its own (tests/kit/sandbox.py). -n0: just one.
exec .venv/bin/python3 -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder "$@"
