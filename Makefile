# make run, test, check, bench, docs: each prepares what it needs, on a machine with Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := core $(wildcard plugins/*)
STAMP := $(VENV)/.prepared
ORDERS ?= examples/orders/orders.csv
SHELL := /bin/bash

.PHONY: env run test check bench docs soak format clean

env: $(STAMP)

$(STAMP): requirements/dev.txt $(wildcard core/pyproject.toml plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("statekeep needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; say: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@touch $@

run: env
	$(BIN)/python -m examples.orders $(ORDERS)

test: env
	-$(BIN)/python -m tests.servers.install
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadgroup

soak: env
	$(BIN)/python -m pytest -m soak

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core/src $(wildcard plugins/*/src) examples benchmarks tests/typing
	$(BIN)/python -m pytest -q README.md docs core/README.md plugins/*/README.md tests/test_documentation.py

bench: env
	$(BIN)/python -m benchmarks

docs: env
	$(BIN)/python docs/generate.py

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .run
