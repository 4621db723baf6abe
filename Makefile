# Set-up and every check, on a machine that has only Python 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: rehearse test quick check fix diagram clean

## the main job: a whole chain on this machine
rehearse: $(READY)
	$(BIN)/relay --home .relay/rehearsal rehearse

## everything that CI runs
test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal

## the tests that take less than two minutes together
quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

## style, types, imports
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## put the state diagram into the README again
diagram: $(READY)
	$(BIN)/python -m state.diagram README.md

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .relay
