# The floor's commands. `make floor` and `make test` set up all that they need.
.PHONY: floor test setup lint types bench soak screenshots chaos chaos-long lock hours
.DEFAULT_GOAL := floor

PYTHON ?= python3
UV_DIR := .uv
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := build/clients/.ready

floor: setup
	@$(BIN)/trading-floor run --dashboard

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml setup.sh
	@PYTHON="$(PYTHON)" sh setup.sh
	@touch $@

test: setup $(CLIENTS) lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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

# The dashboard under fifty tabs for half an hour (MINUTES=5: for five), and what its memory does.
MINUTES ?= 30
soak: setup
	$(BIN)/python -m benchmarks.dashboard_load $(MINUTES)

# The README's pictures, from a floor's run on a fixed seed; needs Chromium and some minutes.
screenshots: $(CLIENTS)
	$(BIN)/python -m tests.screenshots

# Faults and attacks with figures: under half an hour, and ten times as much.
chaos: setup
	$(BIN)/python -m tests.chaos

chaos-long: setup
	$(BIN)/python -m tests.chaos --scale 10

# After a change of dependencies in pyproject.toml: choose anew, with hashes and without naming a host.
lock: setup
	sh setup.sh lock

# The table of the exchange's hours, to the end of the year after next.
hours: setup
	$(BIN)/python -W ignore -m tests.exchange_table
