#!/bin/sh
# Writes the lock files anew from pyproject.toml: exact versions with hashes, for every platform from Python 3.11 on.
# Usage: tools/lock.sh [--upgrade]     (needs uv: `pip install uv`)
set -eu
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
lock() { # lock FILE ARGS
    out=$1
    shift
    "$uv" pip compile -q --generate-hashes --universal --python-version 3.11 --no-header --no-emit-index-url \
        --output-file "$out" "$@" pyproject.toml
    grep -Eq 'https?://' "$out" && { echo "lock.sh: $out names a host" >&2; exit 1; }
    sed -i "1i # Written by tools/lock.sh from pyproject.toml; do not edit." "$out"
}
lock requirements.lock "$@"
lock requirements-dev.lock "$@" --group dev
# The build backend alone, at the versions of the line above, for install.sh.
echo 'hatchling' | "$uv" pip compile -q --generate-hashes --universal --python-version 3.11 --no-header \
    --no-emit-index-url --constraints requirements-dev.lock --no-annotate --output-file requirements-build.lock -
sed -i "1i # Written by tools/lock.sh from pyproject.toml; do not edit." requirements-build.lock
