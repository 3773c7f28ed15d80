# Every target runs in .venv, which `make setup` creates. PYTHON names the interpreter it is made from.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup test lint study train bench

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

study: setup
	$(BIN)/prunescope study

train: setup
	$(BIN)/python -m data.make.train

# A finished study would be resumed, not run: the folder goes first.
bench: setup
	rm -rf out/bench
	time $(BIN)/prunescope study --fast --out out/bench
