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

# Of `make test-oldest` and `make dist`: environments of their own.
OLDEST := .venv-oldest
PIP := -m pip install -qq --disable-pip-version-check

.PHONY: help example test test-oldest soak gpu lint docs outputs dist clean

help:
	@echo "make example  run examples/plot_quickstart.py: a first fit on real data, results and a figure"
	@echo "make test     run all tests and the examples in the docstrings and documents"
	@echo "make test-oldest  the same with the oldest packages (oldest.txt); on Linux gigabytes of CUDA come along"
	@echo "make soak     a randomised stress test: random parameters, data and orders of calls (MINUTES=10 SEED=0)"
	@echo "make gpu      tests and benchmarks on a GPU, with the torch of PYTHON (PIECE=tests: one of them)"
	@echo "make lint     run ruff and mypy"
	@echo "make docs     build the site into $(SITE), run the gallery, and fail on any warning"
	@echo "make outputs  run the code of README.md and docs/, and write into the pages what it prints and draws"
	@echo "make dist     build sdist and wheel into dist/, and test the wheel by itself, from the unpacked sdist"
	@echo "make clean    remove the virtual environments, the site and what was built"

example: $(READY)
	@MPLBACKEND=Agg $(BIN)/python examples/plot_quickstart.py $(FIGURE)

test: $(READY)
	@$(BIN)/python -m pytest -q -n $(WORKERS)

test-oldest:
	@$(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/python $(PIP) -c oldest.txt torch
	@$(OLDEST)/bin/python $(PIP) -c oldest.txt -e ".[test]"
	@$(OLDEST)/bin/python -m pytest -q -n $(WORKERS)

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
	@MPLBACKEND=Agg $(BIN)/python -m sphinx -q -W --keep-going -n -b html -d docs/_build/doctrees docs $(SITE)
	@echo "site in $(SITE)/index.html"

outputs: $(READY)
	@$(BIN)/python docs/outputs.py

# The package's folder goes away from the unpacked sdist, so that its tests find the installed wheel.
dist: $(READY)
	@rm -rf dist build
	@$(BIN)/python $(PIP) -c constraints.txt build twine
	@$(BIN)/python -m build --outdir dist . > /dev/null
	@$(BIN)/python -m twine check --strict dist/*
	@$(PYTHON) -m venv build/env
	@build/env/bin/python $(PIP) -c constraints.txt torch==2.13.0
	@build/env/bin/python $(PIP) -c constraints.txt "$$(ls dist/*.whl)[test]"
	@mkdir build/sdist && tar -xzf dist/*.tar.gz -C build/sdist --strip-components 1 && rm -r build/sdist/sksnn
	@cd build/sdist && ../env/bin/python -m pytest -q -n $(WORKERS) tests --pyargs sksnn

# torch comes first and alone, so that nothing else's requirements choose another version of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "sksnn needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "Installing into $(VENV): some minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) -c constraints.txt torch==2.13.0
	@$(BIN)/python $(PIP) -c constraints.txt -e ".[test]"
	@touch $(READY)

$(DOCS_READY): $(READY)
	@$(BIN)/python $(PIP) -c constraints.txt -e ".[docs]"
	@touch $(DOCS_READY)

clean:
	@rm -rf $(VENV) $(OLDEST) docs/_build docs/api docs/gallery build dist
