#!/bin/sh
# Installs Atoll from this tree into a virtual environment of its own, links it, and runs a first container.
#
#   ./install.sh [--prefix DIRECTORY] [--no-run]      ./install.sh --remove [--prefix DIRECTORY]
#
# The prefix is /usr/local for root and ~/.local for anyone else: PREFIX/lib/atoll holds everything,
# PREFIX/bin/atoll and PREFIX/bin/atoll-runtime are links into it. Removing keeps images and containers.
set -eu
cd "$(dirname "$0")"
. tools/common.sh

prefix=$HOME/.local run=1 remove=
[ "$(id -u)" != 0 ] || prefix=/usr/local
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -gt 1 ] || die "--prefix needs a directory"; prefix=$2; shift ;;
        --no-run) run= ;;
        --remove) remove=1 ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown argument $1 (--help shows them)" ;;
    esac
    shift
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
venv=$prefix/lib/atoll

if [ "$remove" ]; then
    for name in atoll atoll-runtime; do
        [ "$(readlink "$prefix/bin/$name")" != "$venv/bin/$name" ] || rm -f "$prefix/bin/$name"
    done
    rm -rf "$venv"
    exit 0
fi

make_venv "$venv"
locked "$venv" requirements.lock
backend=$(mktemp -d)
trap 'rm -rf "$backend"' EXIT
build_backend "$backend" || die "pip could not fetch the build backend"
PYTHONPATH=$backend pip_install "$venv" --no-build-isolation --no-deps --no-index --force-reinstall . ||
    die "pip could not install Atoll"
rm -rf "$backend"
trap - EXIT
mkdir -p "$prefix/bin"
for name in atoll atoll-runtime; do ln -sfn "$venv/bin/$name" "$prefix/bin/$name"; done
say "installed: $prefix/bin/atoll"
case :$PATH: in *":$prefix/bin:"*) ;; *) say "put $prefix/bin on your PATH to call it by name" ;; esac

[ "$run" ] || exit 0
say "\$ atoll run --rm host uname -a"
exec "$prefix/bin/atoll" run --rm host uname -a
