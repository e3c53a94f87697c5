# Everything is done by `make TARGET`; `make` alone lists the targets.
# Python 3.11 or later, make and git are all that must be there: the rest is set up in .venv.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Options for pytest: `make test ARGS="-k volume"`.
ARGS ?=

SOURCES := engine server clients/python tests benchmarks tools
# Folders that hold Python today; a folder joins the checks with its first file.
CHECKED := $(wildcard $(SOURCES))
# Each file with an entry point is a benchmark; the others are what benchmarks share.
BENCHMARKS = $(shell grep -ls '__main__' benchmarks/*.py)

.PHONY: help setup kernels demo test lint types imports proto-checks checks generate lock bench bench-smoke fmt clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: .venv/.project ## Install everything into .venv (instant when nothing changed)

.venv/.python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name it with: make setup PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv .venv
	@touch $@

.venv/.requirements: requirements.lock .venv/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--requirement requirements.lock
	@touch $@

.venv/.project: pyproject.toml .venv/.requirements
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Real flights and real meters become exact money, over real gRPC
	$(BIN)/python -m tallybook_cli.demo

kernels: setup ## Compile every kernel, once: the tests' processes then load them
	$(BIN)/python -m tallybook_server.warm_up

test: kernels ## Run every test (ARGS="-n 0 -k volume" goes to pytest)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

checks: lint types imports proto-checks ## Everything that reads the code without running it

lint: setup ## Style and format of the Python code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Types of the Python code
	$(BIN)/mypy $(CHECKED)

imports: setup ## Who may import whom
	$(BIN)/lint-imports

proto-checks: setup ## Style, format and compatibility of the protos; stubs and image up to date
	$(BIN)/python tools/generate.py --check

generate: setup ## Write the stubs and the wire image from the protos (an incompatible change is refused)
	$(BIN)/python tools/generate.py $(if $(ACCEPT_BREAKING),--accept-breaking)

lock: setup ## Resolve the dependencies of pyproject.toml into requirements.lock (UPGRADE=1: to the newest)
	$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

bench: setup ## Run every benchmark at full size
	@for file in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$(basename $$file .py) $(ARGS) || exit 1; done

bench-smoke: ARGS += --smoke
bench-smoke: bench ## Run every benchmark at the size that the tests use

fmt: setup ## Format the Python code and the protos
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write proto

clean: ## Remove what make made
	rm -rf .venv .cache out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
