# make demo    from a fresh clone: set up .venv, install, run the main job on traces/, print the table
# make test    the same set-up, then every test, C (also under sanitizers) and Python
# make check   the quick loop of a developer: lint, types, C tests, fast Python tests
# make figures rebuild the README's picture from traces/
# make scaling every allocator on workloads with one thread to twice the cores: a table, a picture, JSON
# make clean   remove everything that was made
VENV ?= .venv
BIN = $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

PIP = $(BIN)/pip install --quiet --disable-pip-version-check
ASAN = build/asan
TSAN = build/tsan

# Two at a time; the tests of a file stay together, for they share what they build.
PYTEST = $(BIN)/pytest -q -n 2 --dist loadfile

# An editable install: it rebuilds what changed in csrc/ at the next import.
$(VENV)/ready: pyproject.toml
	python3 -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) "meson-python>=0.18" "meson>=1.4" ninja "cffi>=2.1"
	$(PIP) --no-build-isolation -e . -Csetup-args=-Dwerror=true -Cbuild-dir=build/native
	touch $@

$(VENV)/dev: $(VENV)/ready
	$(PIP) --group dev
	touch $@

# One picture holds six recordings.
DEMO = cc1 containers perl python redis sqlite

demo: $(VENV)/ready
	@mkdir -p demo
	@$(BIN)/alloclab compare $(DEMO:%=traces/%.parquet) --rounds 6 --json demo/results.json --figure demo/memory.png
	@echo "Your own program: . $(VENV)/bin/activate && alloclab record -o mine.parquet -- COMMAND, then alloclab compare mine.parquet"

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# All of the build first, so that pytest's processes find nothing to rebuild side by side.
c-tests: $(VENV)/dev
	$(BIN)/ninja -C build/native --quiet
	$(BIN)/meson test -C build/native --quiet --print-errorlogs --timeout-multiplier 10

# The C tests again, each with the compiler's checks built in.
$(ASAN)/build.ninja: $(VENV)/dev
	$(BIN)/meson setup $(ASAN) -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null

$(TSAN)/build.ninja: $(VENV)/dev
	$(BIN)/meson setup $(TSAN) -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null

sanitized: $(ASAN)/build.ninja $(TSAN)/build.ninja
	$(BIN)/meson test -C $(ASAN) --quiet --print-errorlogs --timeout-multiplier 10
	$(BIN)/meson test -C $(TSAN) --quiet --print-errorlogs --timeout-multiplier 10 --suite threads

check: lint c-tests
	$(PYTEST) -m "not slow"

test: lint c-tests sanitized
	$(PYTEST) --durations=10

figures: $(VENV)/ready
	$(BIN)/python notebooks/make_figures.py

scaling: $(VENV)/ready
	@mkdir -p demo
	@$(BIN)/python tests/benchmarks/bench_scaling.py --json demo/scaling.json --figure demo/scaling.png

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find alloclab tests traces notebooks -name __pycache__ -prune -exec rm -rf {} +

.PHONY: demo lint c-tests sanitized check test figures scaling clean
