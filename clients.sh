#!/bin/sh
# Makes build/clients: MCP clients of other makers, at exact versions with hashes, for tests: the SDK of the older protocol,
# a Node.js, the MCP Inspector on it, and axe-core for the dashboard. `sh clients.sh lock` chooses their dependencies anew.
set -eu
cd "$(dirname "$0")"

need() { echo "clients: $1" >&2; exit 1; }

[ -x .venv/bin/python ] || need "there is no .venv yet: make setup"
if command -v uv >/dev/null 2>&1; then UV=uv; else UV=.uv/bin/uv; fi

PINS=$PWD/tests/clients
MADE=$PWD/build/clients
NPM_OPTIONS="--omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error"

if [ "${1:-}" = lock ]; then
    "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url "$PINS/requirements.in" --output-file "$PINS/requirements.txt"
fi

mkdir -p "$MADE/inspector"
[ -x "$MADE/python/bin/python" ] || "$UV" venv --quiet --python .venv/bin/python "$MADE/python"
VIRTUAL_ENV=$MADE/python "$UV" pip sync --quiet --require-hashes "$PINS/requirements.txt" ||
    need "the Python packages can't be installed: is the package index reachable?"

PATH=$MADE/python/bin:$PATH
export PATH
cd "$MADE/inspector"
if [ "${1:-}" = lock ]; then
    cp "$PINS/package.json" .
    rm -rf package-lock.json node_modules
    # shellcheck disable=SC2086
    npm install $NPM_OPTIONS --package-lock-only --omit-lockfile-registry-resolved
    cp package-lock.json "$PINS/package-lock.json"
fi
cp "$PINS/package.json" "$PINS/package-lock.json" .
# shellcheck disable=SC2086
npm ci $NPM_OPTIONS >/dev/null || need "the Inspector can't be installed: is the npm registry reachable?"
echo "clients: ready in build/clients"
