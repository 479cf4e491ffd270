# demo    a trained policy meets unknown plugs on a simulated robot, and writes a report
# test    everything a change must pass: `check`, then the tests
# check   lint, format, types, import contracts
# format  rewrite the sources in the house format
# fuzz    a million inputs each for the frame decoder and the handshake
# bench   run every benchmark, for many hours, and write docs/results.md anew; needs the runs of
#         docs/training.md and docs/results.md in runs/
# clean   remove the environment and the caches; runs/ stays
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCHMARKS := $(basename $(notdir $(wildcard benchmarks/bench_*.py)))

.PHONY: demo test check format fuzz bench clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/acclimate demo

test: check
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(INSTALLED)
	$(BIN)/python -m fuzz.run decoder -runs=1000000
	$(BIN)/python -m fuzz.run handshake -runs=1000000

bench: $(INSTALLED)
	set -e; for benchmark in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$benchmark; done
	$(BIN)/python -m benchmarks.make_results

# Installed anew only when the lock or the project file changed. The project itself is linked,
# not copied, and built by the locked backend.
$(INSTALLED): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
