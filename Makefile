# make demo: the main job on the demo data; make test: the tests. Both need Python >= 3.11 with its venv module, no more.
#
#   PYTHON=python3.12              the interpreter for the virtual environment (default: the first that will do)
#   VENV=.venv                     where the virtual environment lies
#   PIP_FLAGS=...                  more options for every pip install
#   TORCH_INDEX=URL                where a CPU build of PyTorch is looked for when pip's own sources have none
#   PYTEST_FLAGS=...               more options for pytest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
PIP_FLAGS ?=
PYTEST_FLAGS ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
INSTALL := PIP_NO_INPUT=1 $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt $(PIP_FLAGS)
METADATA := setup.py pyproject.toml constraints.txt mantid_insgan/__init__.py
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: help demo test test-all models docs lint clean

help:
	@echo "make demo      install and run the main job on the demo data; results in demo/"
	@echo "make test      install and run the tests"
	@echo "make test-all  the tests and the slow ones"
	@echo "make models    train the bundled models again and write models/"
	@echo "make docs      build the documentation in docs/_build/html"
	@echo "make lint      check style, and that rooms import only from rooms above them"
	@echo "make clean     remove the virtual environment, the demo and what builds leave"

demo: $(VENV)/installed-demo
	$(BIN)/insgan demo --output demo
	@echo "The demo's files lie in $(CURDIR)/demo:" && ls -1 demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_FLAGS)

test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

models: $(VENV)/installed-test
	$(BIN)/python -m mantid_insgan.learn.build_models

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/lint-imports --no-cache --no-logo

clean:
	rm -rf $(VENV) demo build dist docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The install is editable: a change in the sources needs no new one, a change in the metadata does.
$(VENV)/installed-demo: $(VENV)/created $(METADATA)
	$(INSTALL) --editable ".[cpu,report]"
	@touch $@

$(VENV)/installed-test: $(VENV)/installed-torch $(METADATA)
	$(INSTALL) --editable ".[cpu,report,spinw,phonons,dask,train,fit,posterior,sqw,test]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/created $(METADATA)
	$(INSTALL) --editable ".[docs]"
	@touch $@

# PyPI's own torch for Linux brings gigabytes of CUDA. The CPU build is named by its version where pip's sources have it
# (a folder of wheels, a mirror), else it comes from PyTorch's CPU index; its dependencies come with the next install.
$(VENV)/installed-torch: $(VENV)/created constraints.txt
	@$(INSTALL) --no-deps "torch==$(TORCH)+cpu" 2>/dev/null \
	|| $(INSTALL) --no-deps --index-url "$(TORCH_INDEX)" "torch==$(TORCH)" \
	|| { echo "No CPU build of torch $(TORCH) for this Python in pip's sources or at $(TORCH_INDEX)." \
	     "Fix: set TORCH_INDEX to an index that has one, or use another PYTHON." >&2; exit 1; }
	@touch $@

$(VENV)/created:
	@checked() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
	found=; for p in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if checked "$$p"; then found=$$p; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or newer among: $(or $(PYTHON),python3 python3.13 python3.12 python3.11)." \
	         "Fix: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$found cannot make virtual environments: its venv module is missing." \
	         "Fix: sudo apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "$$found -m venv $(VENV)"; "$$found" -m venv --clear $(VENV)
	@touch $@
