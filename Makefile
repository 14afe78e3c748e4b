# `make demo` and `make test` work on a fresh machine with Python 3.11 or later and nothing else installed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SOURCES = src tests benchmarks studies examples tools
PROSE = tools/prose
TEXTLINT = $(PROSE)/node_modules/.bin/textlint
# most tests keep one core busy, not two: as many workers as cores, up to four
WORKERS = -n auto --maxprocesses 4 --dist worksteal

.PHONY: help install dev demo test check words slow wide trainers bench fix clean

help:
	@echo "make demo    install, run the whole job on text from this machine, write a report (about 6 minutes)"
	@echo "make install only make .venv and install (then: . .venv/bin/activate)"
	@echo "make test    install and run the tests (about 3 minutes)"
	@echo "make check   formatting, lint, types, plain English and tests; edits nothing"
	@echo "make words   only plain English: sentences of README, docs, help, messages and report"
	@echo "make slow    the tests that take minutes each (about 15 minutes)"
	@echo "make wide    what CI has no time for: 100 kills at random moments, and those of a Ray"
	@echo "make trainers  exports read by the trainers' own code, each with its packages (about 20 minutes)"
	@echo "make bench   speed, as ratios within one run"
	@echo "make fix     format and fix what can be fixed"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first: asked for by another package, pip would take its newest build with gigabytes of CUDA
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,hub]'
	touch $@

# what only slow tests use; they skip, with the reason, where it cannot be had
$(VENV)/.installed-slow: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]' || echo "no atheris here"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[eval]' || echo "no lm-eval here"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]' || echo "no ray here"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tensorboard]' || echo "no TensorBoard here"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt kubeflow-trainer-api || echo "no kubeflow-trainer-api here"
	touch $@

install: $(VENV)/.installed

dev: $(VENV)/.installed-dev

demo: install
	$(BIN)/python examples/demo.py

test: dev
	$(BIN)/pytest -q $(WORKERS)

check: dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(MAKE) --no-print-directory words
	$(MAKE) --no-print-directory test

# a second opinion on long sentences comes from textlint, which needs npm; CI does not go without it
words: dev
	@if { [ -x $(TEXTLINT) ] && [ $(TEXTLINT) -nt $(PROSE)/package-lock.json ]; } || \
	    { npm ci --silent --no-audit --no-fund --prefix $(PROSE) && touch $(TEXTLINT); }; then \
	    $(BIN)/python $(PROSE)/check.py --textlint $(TEXTLINT); \
	else \
	    echo "textlint could not be installed: install Node.js 20 or later with npm"; \
	    [ -z "$$CI" ] && $(BIN)/python $(PROSE)/check.py; \
	fi

slow: $(VENV)/.installed-slow
	$(BIN)/pytest -q $(WORKERS) -m "slow and not network" --timeout 1800

# before an issue is closed; what it prints goes into docs/results with the date and the commit
wide: $(VENV)/.installed-slow
	@echo "$$(date -u +%F), commit $$(git rev-parse --short HEAD)"
	$(BIN)/python tests/kill.py --kills 60
	$(BIN)/python tests/kill_workers.py --kills 40
	$(BIN)/pytest -q -m wide --timeout 1800

# what it prints stands in docs/trainers.md
trainers: dev
	$(BIN)/python tools/trainers/run.py --write

bench: dev
	$(BIN)/python benchmarks/run.py

fix: dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean:
	rm -rf $(VENV) .trainers build dist .pytest_cache .ruff_cache .hypothesis $(PROSE)/node_modules
