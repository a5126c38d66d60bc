# Everything a fresh clone needs: `make demo`, `make test`. Needs make and Python 3.11 or newer.

.DEFAULT_GOAL := help
.PHONY: help setup demo examples bench bench-full bench-api test test-all lint types imports audit clean

BIN := .venv/bin
STAMP := .venv/.installed

# The first that really runs and is new enough, the tested one before newer ones: a name may be a shim with nothing behind it.
ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3.12 python3.13 python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$name"; break; }; done)
endif

# Such as `make setup TORCH_FLAGS="--index-url URL"` for a build of torch that suits the machine.
TORCH_FLAGS ?=

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv and install everything into it, once

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH_FLAGS) -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## The main job from nothing to its report, in about four minutes on two cores
	$(BIN)/stillhouse demo

examples: setup  ## Train every example of examples/knowledge, and write docs/examples.md; goes on where it was interrupted
	$(BIN)/python -m examples.gallery

bench: setup  ## What the teacher pool costs and gains, against its goals: at most 15 minutes on two quiet cores
	$(BIN)/python -m benchmarks

bench-full: setup  ## The same in longer turns, without limit
	$(BIN)/python -m benchmarks --full

bench-api: setup  ## How long submitting and listing take at 10,000 jobs: about two minutes
	$(BIN)/python -m benchmarks.api

test: setup  ## All tests but the long ones, in two processes; each prints its ten slowest
	$(BIN)/python -m tests

test-all: setup  ## All tests
	$(BIN)/python -m pytest -m ''

lint: setup  ## Rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Types
	$(BIN)/mypy

imports: setup  ## Who may import whom
	$(BIN)/lint-imports

audit: setup  ## Known vulnerabilities of what is installed; says so where nobody can be asked
	.ci/audit

clean:  ## Remove .venv and every cache; your state in STILLHOUSE_HOME stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
