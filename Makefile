# Two commands do everything: `make demo` and `make test`. Each sets up .venv first if it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
JOBS   ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
HOOK   := --jaxtyping-packages=firstlight,strict_types.check

.PHONY: help setup demo test coverage test-slow referee test-browser test-compat zoo lint format types docs changelog wheel bench clean
help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.setup: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e '.[test,lint]'
	@touch $@

$(VENV)/.docs: $(VENV)/.setup
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

$(VENV)/.compat: $(VENV)/.setup
	$(PIP) install -c constraints.txt -e '.[compat]'
	$(PIP) install --no-deps -r tests/compat/libraries.txt
	@touch $@

zoo: $(VENV)/.compat  ## coverage of every third-party architecture, as a table and a docs page
	$(BIN)/python docs/coverage_table.py

$(VENV)/.browser: $(VENV)/.setup
	$(PIP) install -c constraints.txt -e '.[browser]'
	@touch $@

setup: $(VENV)/.setup  ## make .venv with everything pinned

demo: setup  ## audit a 50-layer tanh network on real handwritten digits; writes audit.html
	$(BIN)/firstlight audit mlp --depth 50 --width 256 --activation tanh --sigma-w 1.89 --data digits --html audit.html

test: setup  ## the default tests
	$(PYTEST) -n $(JOBS) $(HOOK) -m "not slow and not browser and not compat"

coverage: setup  ## the default tests, and how much of the code they run
	$(PYTEST) -n $(JOBS) -m "not slow and not browser and not compat" --cov --cov-report=term:skip-covered --cov-report=xml

test-slow: setup  ## statistical and long tests
	$(PYTEST) -n $(JOBS) -m "slow and not browser and not compat"

referee: setup  ## 300 random networks by theory and by brute force; the date is the seed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.referee --networks 300

test-browser: $(VENV)/.browser  ## the HTML reports in a real headless Chromium
	$(PYTEST) tests -m browser

test-compat: $(VENV)/.compat  ## audits of third-party architectures
	$(PYTEST) -n $(JOBS) tests -m compat

lint: setup  ## ruff, rules and format
	$(BIN)/ruff check src tests benchmarks docs scripts
	$(BIN)/ruff format --check src tests benchmarks docs scripts

format: setup  ## rewrite the code in the house format
	$(BIN)/ruff check --fix src tests benchmarks docs scripts
	$(BIN)/ruff format src tests benchmarks docs scripts

types: setup  ## mypy
	$(BIN)/mypy

docs: $(VENV)/.docs  ## build the documentation, warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

changelog: setup  ## show what the next release will say of itself
	$(PIP) install -c constraints.txt towncrier
	$(BIN)/python -m towncrier build --draft --version next

wheel: setup  ## build the wheel and run its command in a fresh environment
	rm -rf dist build/wheel-env
	$(PIP) install -c constraints.txt build
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt torch==2.13.0 "$$(ls dist/*.whl)[data]"
	cd build && wheel-env/bin/firstlight audit mlp --depth 4 --width 32 --activation tanh --data digits --json wheel-audit.json

bench: setup  ## speed and memory as ratios against named peers
	$(BIN)/python -m benchmarks

clean:  ## remove everything that was built
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache
