#!/bin/sh
# Makes .venv: exactly what requirements.lock says, bytecode compiled, the project itself as an editable install.
# `sh setup.sh lock` writes requirements.lock anew. Needs Python 3.11 or newer with venv; brings its own uv if there is none.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}

need() { echo "setup: $1" >&2; exit 1; }

command -v git >/dev/null 2>&1 || need "git is missing: install it (Debian, Ubuntu: apt-get install git; macOS: xcode-select --install)"
command -v "$PYTHON" >/dev/null 2>&1 || need "$PYTHON is missing: install Python 3.11 or newer, or say PYTHON=/path/to/python make ..."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    need "$PYTHON is $("$PYTHON" -V 2>&1), and the floor needs Python 3.11 or newer: install one, or say PYTHON=/path/to/python make ..."

if command -v uv >/dev/null 2>&1; then
    UV=uv
else
    UV=.uv/bin/uv
    if [ ! -x "$UV" ]; then
        "$PYTHON" -m venv .uv ||
            need "$PYTHON can't make a virtual environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"
        .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1" || need "uv can't be installed: is the package index reachable?"
    fi
fi

if [ "${1:-}" = lock ]; then
    exec "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --group dev pyproject.toml --output-file requirements.lock
fi

[ -x .venv/bin/python ] || "$UV" venv --quiet --python "$PYTHON" .venv
VIRTUAL_ENV=$PWD/.venv
export VIRTUAL_ENV
"$UV" pip sync --quiet --require-hashes --compile-bytecode requirements.lock || need "the locked packages can't be installed: is the package index reachable?"
"$UV" pip install --quiet --no-deps --no-build-isolation --editable .
echo "setup: ready in .venv"
