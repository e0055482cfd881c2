# Two commands suffice: `make demo` and `make test`. Everything is installed into .venv, from the locks.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
HOP    ?= all

.PHONY: demo test check bench chaos lock clean install
install: $(STAMP)

$(STAMP): pyproject.toml requirements/dev.txt hatch_build.py $(wildcard src/headgate/native/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Headgate needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(STAMP)          ## the main job, end to end, on this machine: PostgreSQL to a report
	@$(BIN)/python examples/retail/demo.py $(if $(RETAIL_CSV),--csv "$(RETAIL_CSV)")

test: $(STAMP)          ## every quick test, on real components
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

check: $(STAMP)         ## style, types, layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

bench: $(STAMP)         ## speed against the limit and the peers; HOP=name for one
	@$(BIN)/python -m bench $(HOP)

chaos: $(STAMP)         ## kill -9 at every named point, 200 times a source; then every slow test
	@HEADGATE_KILLS=200 HEADGATE_MESSAGES=5000 HEADGATE_STORM_S=600 $(BIN)/python -m pytest tests/chaos
	@$(BIN)/python -m pytest -m slow --ignore tests/chaos

lock: $(STAMP)          ## names, versions and hashes; no addresses
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --group dev --extra demo --extra kafka --extra s3 --extra schema-registry pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) build .headgate
