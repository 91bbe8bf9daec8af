# make demo   sets everything up, runs a small study offline, prints where the report lies
# make test   sets everything up, runs the tests
# make check  formatting, lint and types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check setup clean

demo: setup
	rm -rf runs/demo
	$(BIN)/clearmargin demo --out runs/demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "clearmargin needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1): make PYTHON=python3.12 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pretrained,dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
