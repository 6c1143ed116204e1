# The floor's commands. `make floor` and `make test` set up all that they need.
.PHONY: floor test setup lint types check bench lock
.DEFAULT_GOAL := floor

PYTHON ?= python3
UV_DIR := .uv
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := build/clients/.ready

floor: setup
	@$(BIN)/trading-floor run

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml setup.sh
	@PYTHON="$(PYTHON)" sh setup.sh
	@touch $@

test: setup $(CLIENTS) lint types
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# MCP clients of other makers, for tests/test_other_clients.py.
$(CLIENTS): $(VENV)/.ready clients.sh tests/clients/requirements.txt tests/clients/package.json tests/clients/package-lock.json
	@sh clients.sh
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

# After a change of dependencies in pyproject.toml: choose anew, with hashes and without naming a host.
lock: setup
	sh setup.sh lock
