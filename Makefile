# `make example` and `make test` do all of their set-up: a virtual environment with the pinned
# dependencies, made once (it is made anew when pyproject.toml or constraints.txt change).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
SITE := docs/_build/html
FIGURE := examples/plot_quickstart.png

# Test workers share the cores: one thread each. In the environment, torch and BLAS see it too.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

# Of `make gpu`, with a PYTHON that has torch with CUDA: pieces, device, folder of the results.
PIECE ?=
DEVICE ?= cuda
OUT ?= gpu

# Of `make soak`.
MINUTES ?= 10
SEED ?= 0

.PHONY: help example test soak gpu lint docs clean

help:
	@echo "make example  run examples/plot_quickstart.py: a first fit on real data, results and a figure"
	@echo "make test     run all tests and the examples in the docstrings and documents"
	@echo "make soak     hunt for what breaks, with random parameters, data and orders of calls (MINUTES=10 SEED=0)"
	@echo "make gpu      tests and benchmarks on a GPU, with the torch of PYTHON (PIECE=tests: one of them)"
	@echo "make lint     run ruff and mypy"
	@echo "make docs     build the site into $(SITE), run the gallery, and fail on any warning"
	@echo "make clean    remove the virtual environment and the site"

example: $(READY)
	@MPLBACKEND=Agg $(BIN)/python examples/plot_quickstart.py $(FIGURE)

test: $(READY)
	@$(BIN)/python -m pytest -q -n $(WORKERS)

soak: $(READY)
	@$(BIN)/python tests/soak.py --minutes $(MINUTES) --seed $(SEED)

# Installs nothing. Threads are torch's own: the CPU is measured beside the GPU.
gpu:
	@env -u OMP_NUM_THREADS PYTHONPATH="$(CURDIR):$$PYTHONPATH" $(PYTHON) examples/benchmarks/gpu.py $(PIECE) \
		--device $(DEVICE) --out $(OUT) $(if $(QUICK),--quick)

lint: $(READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

docs: $(DOCS_READY)
	@MPLBACKEND=Agg $(BIN)/python -m sphinx -q -W --keep-going -n -b html docs $(SITE)
	@echo "site in $(SITE)/index.html"

# torch comes first and alone, so that nothing else's requirements choose another version of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "sksnn needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "Installing into $(VENV): some minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch==2.13.0
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $(READY)

$(DOCS_READY): $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $(DOCS_READY)

clean:
	@rm -rf $(VENV) docs/_build docs/api docs/gallery
