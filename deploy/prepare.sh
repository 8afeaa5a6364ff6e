#!/bin/sh
# What `make setup` needs from the system: a Python of 3.11 or newer that can make virtual environments.
# Installs with apt as root or through sudo; asks first when a person is there. Does nothing where all is there.
set -eu

python=${1:-python3}

ready() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        "$python" -c 'import ensurepip, venv' 2>/dev/null
}

if ready; then
    exit 0
fi

if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 11))' 2>/dev/null; then
    echo "$("$python" --version) is too old: Gander needs 3.11 or newer (make setup PYTHON=python3.12)" >&2
    exit 2
fi

if ! command -v apt-get >/dev/null; then
    echo "Python 3.11 or newer with its venv module is needed; install it, then run this again" >&2
    exit 2
fi

packages="python3 python3-venv"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Missing: $packages. As root: apt-get install $packages" >&2
        exit 2
    fi
    as_root=sudo
fi

if [ -t 0 ] && [ -t 1 ]; then
    printf 'Gander needs these Debian packages: %s. Install them now? [Y/n] ' "$packages"
    read -r answer
    case $answer in [nN]*) exit 2 ;; esac
fi

$as_root apt-get update --quiet=2
# shellcheck disable=SC2086  # a list of packages is meant to split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 $packages
ready || { echo "$python is still not Python 3.11 or newer with venv" >&2; exit 2; }
