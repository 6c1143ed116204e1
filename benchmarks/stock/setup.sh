#!/bin/sh
# Makes build/stock: AutoGen with its stock OpenAI client, at exact versions with hashes, for benchmarks/session_turn.py.
# `sh benchmarks/stock/setup.sh lock` chooses its dependencies anew.
set -eu
cd "$(dirname "$0")/../.."

need() { echo "stock: $1" >&2; exit 1; }

[ -x .venv/bin/python ] || need "there is no .venv yet: make setup"
if command -v uv >/dev/null 2>&1; then UV=uv; else UV=.uv/bin/uv; fi

PINS=benchmarks/stock
MADE=build/stock

if [ "${1:-}" = lock ]; then
    "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url "$PINS/requirements.in" --output-file "$PINS/requirements.txt"
fi

[ -x "$MADE/bin/python" ] || "$UV" venv --quiet --python .venv/bin/python "$MADE"
VIRTUAL_ENV=$MADE "$UV" pip sync --quiet --require-hashes --compile-bytecode "$PINS/requirements.txt" ||
    need "the packages can't be installed: is the package index reachable?"
echo "stock: ready in $MADE"
