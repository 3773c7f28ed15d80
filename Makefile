# Every target runs in .venv, which `make setup` creates. PYTHON names the interpreter it is made from.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup test lint docs study train bench bench-solvers test-lmms

setup: $(BIN)/prunescope

$(BIN)/prunescope: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[test,lint]'
	@touch $@

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/pip install -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -n docs out/docs

study: setup
	$(BIN)/prunescope study

train: setup
	$(BIN)/python -m data.make.train

# A finished study would be resumed, not run: the folder goes first.
bench: setup
	rm -rf out/bench
	time $(BIN)/prunescope study --fast --out out/bench

# Peers go into an environment of their own: they would hold back the versions of the project.
bench-solvers:
	test -x out/peers/bin/python || $(PYTHON) -m venv out/peers
	out/peers/bin/pip install -c constraints.txt -e . -r benchmarks/requirements.txt
	out/peers/bin/python -m benchmarks.solvers --out data/measured/solver_speed.csv

# lmms-eval brings about 80 packages of its own. Its torchvision is built for CUDA: beside the CPU torch of constraints.txt
# it keeps every model of transformers from being imported, and nothing here needs it.
test-lmms:
	test -x out/lmms/bin/python || $(PYTHON) -m venv out/lmms
	out/lmms/bin/pip install -c constraints.txt -e '.[lmms,test]'
	out/lmms/bin/pip uninstall -y torchvision timm
	out/lmms/bin/pytest -n0 tests/analysis/evaluation/lmms
