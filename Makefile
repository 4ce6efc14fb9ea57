# The one door. `make` alone tells what there is; only Python 3.11 or newer has to be on the machine.

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SECONDS ?= 300
PROCESSOR ?= sandbox

# The first Python that is new enough and can make virtual environments; `make PYTHON=…` decides otherwise.
CANDIDATES := python3 python3.13 python3.12 python3.11 python
SUITABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	$$python -c '$(SUITABLE)' 2>/dev/null && { echo $$python; break; }; done)

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.DEFAULT_GOAL := help
.PHONY: help venv run demo test bench torture fuzz lint format types docs check dist clean

help:  ## print this
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-10s %s\n", $$1, $$2}'

# What only Stripe needs.
RUN_NEEDS_stripe = $(VENV)/.installed-stripe
DEMO_NEEDS_stripe = $(VENV)/.installed-stripe $(VENV)/.installed-localstripe

run: $(VENV)/.installed $(RUN_NEEDS_$(PROCESSOR))  ## serve the API and the scheduler on 127.0.0.1:6543 (SQLite; PROCESSOR=sandbox, balanced, stripe)
	$(RUN_$(PROCESSOR))

RUN_sandbox = $(BIN)/billy serve development.ini
RUN_balanced = $(RUN_SIMULATED)
RUN_stripe = $(RUN_SIMULATED)
# A simulator remembers nothing, and a database that does would not fit.
RUN_SIMULATED = rm -f $(PROCESSOR).sqlite $(PROCESSOR).sqlite-*; $(BIN)/billy serve $(PROCESSOR).ini --simulator

demo: $(VENV)/.installed-client $(DEMO_NEEDS_$(PROCESSOR))  ## play a story against a real server and check every answer (PROCESSOR=sandbox, balanced, stripe)
	$(BIN)/billy demo --processor $(PROCESSOR)
	$(DEMO_TOO_$(PROCESSOR))

# Stripe is also played by localstripe, which somebody else wrote.
DEMO_TOO_stripe = $(BIN)/billy demo --processor localstripe

check: lint types docs test fuzz  ## all that CI runs: lint, types, docs, test and a short fuzz
check: SECONDS = 60

test: $(VENV)/.installed-test  ## the whole suite on PostgreSQL, the API and the scenarios on SQLite too
	BILLY_TEST_DATABASE=sqlite $(BIN)/python -m pytest -n $(WORKERS) -q tests/api tests/scenarios
	$(BIN)/python -m pytest -n $(WORKERS) -q

bench: $(VENV)/.installed-test  ## how fast Billy is, as ratios to the bare driver doing the same (some minutes)
	$(BIN)/python -W ignore -m benchmarks

torture: $(VENV)/.installed-test  ## kill it, cut it off, confuse it, for SECONDS: is a charge lost or doubled?
	$(BIN)/python -m torture --seconds $(SECONDS)

fuzz: $(VENV)/.installed-fuzz  ## send the API what its document allows, and what not, for SECONDS
	$(BIN)/python -W ignore -m fuzz --seconds $(SECONDS)

lint: $(VENV)/.installed-test  ## ruff
	$(BIN)/ruff check .

format: $(VENV)/.installed-test  ## mend what ruff can mend
	$(BIN)/ruff check --fix .

types: $(VENV)/.installed-test  ## mypy
	$(BIN)/mypy

docs: $(VENV)/.installed-test  ## the documentation as a site, in docs/_build; a warning is an error
	$(BIN)/python -W ignore -m sphinx --nitpicky --fail-on-warning --fresh-env --quiet docs docs/_build
	@echo docs/_build/index.html

dist: $(VENV)/.installed-test  ## the sdist and the wheel, in dist/
	rm -rf build dist
	$(BIN)/python -m build
	@ls dist

venv: $(VENV)/.installed-test  ## the virtual environment with everything, in .venv

clean:  ## remove what make and the tests made, but no database and no secrets
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Billy needs Python 3.11 or newer with venv; none of $(CANDIDATES) is"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-stripe: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP_INSTALL) '.[stripe]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-localstripe: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP_INSTALL) '.[localstripe]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-client: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP_INSTALL) '.[client]'
	@touch $@ $(VENV)/.installed

# Stamps, so that the second call takes no time.
$(VENV)/.installed: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/.installed-test: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP_INSTALL) '.[test]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-client $(VENV)/.installed-stripe $(VENV)/.installed-localstripe

$(VENV)/.installed-fuzz: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP_INSTALL) '.[test,fuzz]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed
