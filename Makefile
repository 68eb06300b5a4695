# make demo   set up .venv, install, run the main job on traces/, print the table
# make test   the same set-up, then every test, C and Python
# make check  the quick loop of a developer: lint, types, fast tests
VENV ?= .venv
BIN = $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

$(VENV)/ready: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "meson-python>=0.18" "meson>=1.4" ninja "cffi>=2.1"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[dev]" -Csetup-args=-Dwerror=true
	touch $@

check: $(VENV)/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/meson test -C build/cp3* --quiet
	$(BIN)/pytest -q -m "not slow" tests

clean:
	rm -rf $(VENV) build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: demo test check clean
