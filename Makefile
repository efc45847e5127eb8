# Two commands to know: `make demo` (the main job on the real model) and `make test`. Each sets up what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test test-slow check format bench results simulate chaos fuzz soak clean

help:
	@echo "make demo       a small study on the real Gemma 3 270M (base, SFT, SFT then GRPO), ends with its report"
	@echo "make test       the tests (tiny models, minutes)"
	@echo "make test-slow  the tests on the real weights"
	@echo "make check      lint, format and types"
	@echo "make bench      speed and memory against peers (ONLY=name for one workload)"
	@echo "make simulate   docs/statistics.md's tables again: coverage and false winners by simulation (minutes)"
	@echo "make chaos      kills, full disks, damage and stops, done to runs of every method; what was lost (an hour)"
	@echo "make fuzz       malformed configurations and data, thousands of them (CASES=10000)"
	@echo "make soak       one run of an hour, watched: memory, processes, files, threads"
	@echo "make results    docs/results.md and the README's table again, from what was kept"
	@echo "make setup      the environment alone"

setup: $(READY)

# Everything is pinned in constraints.txt. Set up again only when what is to be installed has changed.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/gemma-align study run configs/studies/demo.yml $(ARGS)

# Side by side on up to four cores; `make test ARGS="-n 0 tests/core"` stays in one process.
test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)

simulate: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.simulate $(ARGS)

chaos: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.chaos $(ARGS)

fuzz: $(READY)
	$(BIN)/python -m benchmarks.fuzz --cases $(or $(CASES),2000) $(ARGS)

soak: $(READY)
	$(BIN)/python -m benchmarks.soak $(ARGS)

results: $(READY)
	$(BIN)/python -m benchmarks.record

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
