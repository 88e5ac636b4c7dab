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
exec .venv/bin/python3 -m pytest "$@"
