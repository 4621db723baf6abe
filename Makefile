# Set-up and every check, on a machine that has only Python 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.ready-docs
RELEASE := .venv-release
RELEASE_READY := $(RELEASE)/.ready
COMPAT := .venv-tunix-0.1.5
COMPAT_READY := $(COMPAT)/.ready
ORACLE := .venv-oracle

.PHONY: rehearse test nightly quick coverage mutants simulate test-compat oracle check fix diagram reference locks docs release clean

## the main job: a whole chain on this machine
rehearse: $(READY)
	$(BIN)/relay --home .relay/rehearsal rehearse

## everything that CI runs for a change, and at the end the tests that took longest
test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 --durations-min=5 -m "not nightly"

## the tests that take minutes each: the larger ones of what `make test` tests too
nightly: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 --durations-min=5 -m nightly

## the tests that take a minute and a half together
quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

## the quick tests once more, with the share of lines and branches that they run; fails below what pyproject.toml asks for
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

## change the code in 300 places, one at a time: do the quick tests notice? MUTANTS=all changes every place
mutants: $(READY)
	nice -n 10 $(BIN)/python -m tests.mutants

## ten thousand simulated chains, each seed another story: an hour
simulate: $(READY)
	$(BIN)/relay rehearse --simulate 10000

## exact resume on the older Tunix that published results were made with, in an environment of its own (1.2 GB)
test-compat: $(COMPAT_READY)
	$(COMPAT)/bin/python -m pytest -p no:cacheprovider tests/training/test_compat.py tests/training/test_exact_resume.py

## transformers, PEFT and PyTorch for the CPU (1.3 GB), with which tests/oracle reads what relay exports
oracle: $(ORACLE)/.ready

## style, types, imports
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## draw the state diagram into its page again
diagram: $(READY)
	$(BIN)/python -m state.diagram docs/how-it-works.md

## put every key and option into docs/pipeline.md again
reference: $(READY)
	$(BIN)/python -m orchestrator.pipeline.reference.writing docs/pipeline.md
	$(BIN)/python -m orchestrator.views.assumptions_page docs/kaggle.md
	$(BIN)/python -m orchestrator.views.roofline_page docs/roofline.md

## resolve relay's own environments again, within the constraints: versions and hashes of all packages, for each accelerator
locks: $(READY)
	$(BIN)/python -m orchestrator.pipeline.locking

## the documentation as a site in site/; any warning, such as a link that leads nowhere, is an error
docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

## the files of a release in dist/, built twice and tried; tags nothing and uploads nothing
release: $(RELEASE_READY)
	$(RELEASE)/bin/python .ci/release.py $(if $(IGNORE),--ignore-vuln $(IGNORE))

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev,lock]'
	touch $(READY)

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $(DOCS_READY)

$(RELEASE_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[release]'
	touch $(RELEASE_READY)

$(COMPAT_READY): pyproject.toml constraints-0.1.5.txt
	$(PYTHON) -m venv $(COMPAT)
	$(COMPAT)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-0.1.5.txt --editable . \
		google-tunix flax jax optax orbax-checkpoint qwix sympy datasets safetensors sentencepiece 'math-verify[antlr4_9_3]' pytest
	touch $(COMPAT_READY)

# Where the index has no torch+cpu, PyTorch's own index for the CPU has it.
$(ORACLE)/.ready: tests/oracle/requirements.txt
	$(PYTHON) -m venv $(ORACLE)
	$(ORACLE)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/oracle/requirements.txt \
		|| $(ORACLE)/bin/python -m pip install --quiet --disable-pip-version-check \
		--extra-index-url https://download.pytorch.org/whl/cpu --requirement tests/oracle/requirements.txt
	touch $(ORACLE)/.ready

clean:
	rm -rf $(VENV) $(RELEASE) $(COMPAT) $(ORACLE) .relay dist site
