# Two commands on a machine with only python3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.PHONY: help demo test lint types unit test-slow head wheel clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

demo: $(VENV)/.installed  ## install and predict on a photo that is already there: out/
	$(BIN)/facezoo demo -o out

test: lint types unit  ## everything CI checks: lint, types, unit tests

lint: $(VENV)/.installed-dev  ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev  ## mypy
	$(BIN)/mypy

unit: $(VENV)/.installed-dev  ## unit tests: no network, no optional package
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(VENV)/.installed-dev  ## short trainings, several processes, the walk-through of the docs
	$(BIN)/python -m pytest -m "slow and not gpu"

head: $(VENV)/.installed-dev  ## build the open head again: the same bytes
	$(BIN)/python -m facezoo.heads.open

wheel: $(VENV)/.installed-dev  ## build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

clean:  ## remove what the targets above made
	rm -rf $(VENV) build dist out

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "facezoo needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# The demo installs as a user would; the tests install in place with the developers' tools.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	test -f $(VENV)/.installed-dev || $(BIN)/python -m pip install .
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@ $(VENV)/.installed
