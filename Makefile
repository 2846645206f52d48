# Two commands do everything: `make demo` shows xcomctl on a real Airflow, `make test` is all that a contributor needs.
# They need Python >=3.10 and a package registry; what they install stays below .venv and .servers.

PYTHON ?= python3
UV      = .venv/bin/uv
NUMBER_OF_WORKERS ?= 2

# Hundreds of processes import Airflow here: without its bytecode each compiles it again, for two seconds and more.
unexport PYTHONDONTWRITEBYTECODE

# The oldest libraries are asked for rows and objects, for help and completions. What is decided about these is tried with the newest alone.
BARE      = tests/catalog tests/operations tests/backend/storage tests/cli/test_help.py tests/cli/test_completions.py
DECISIONS = gc_gates gc_never gc_stateful listing migrate_interleaved verify
UNASKED   = $(if $(filter 1,$(XCOMCTL_TEST_LONG)),,$(DECISIONS:%=--ignore=tests/operations/test_%.py))

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint format matrix docs lock clean

help: ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST)

demo: .venv/.ready ## build a sandbox with a real Airflow and look around in it
	.venv/bin/xcomctl demo --force $(DEMO)

test: .venv/.ready .servers/ministack/.ready .servers/bare/.ready .servers/shells/.ready ## run all tests, on real databases and stores
	.venv/bin/python -m pytest -n $(NUMBER_OF_WORKERS) --dist loadgroup $(TESTS)
	.servers/bare/bin/python -m pytest -n $(NUMBER_OF_WORKERS) --dist loadgroup $(BARE) $(UNASKED)

bench: .venv/.ready ## measure how fast everything is, beside raw clients and scripts; BENCH="start ls" a part of it
	.venv/bin/python -m benchmarks $(BENCH)
	.venv/bin/cog -r docs/scale.md

lint: .venv/.ready ## check style, types and the floors of the house
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/cog --check --diff docs/reference.md docs/backend.md docs/scale.md

format: .venv/.ready ## let ruff rewrite the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

matrix: .venv/.ready ## repeat the real-Airflow tests on other Airflows
	.venv/bin/python tests/airflow/matrix.py

docs: .venv/.ready ## write anew what is generated: help texts, completions, recorded output and the picture
	.venv/bin/cog -r docs/reference.md docs/backend.md docs/scale.md
	.venv/bin/python -m tests.docs.record
	.venv/bin/xcomctl completions bash > completions/xcomctl.bash
	.venv/bin/xcomctl completions zsh > completions/_xcomctl
	.venv/bin/xcomctl completions fish > completions/xcomctl.fish

lock: .venv/.ready ## choose the newest versions of what the environments hold
	$(UV) pip compile -q --upgrade --universal --python-version 3.10 --no-annotate --custom-compile-command "make lock" \
	  pyproject.toml --group test --group lint -o requirements/dev.txt
	for each in bare ministack; do \
	  $(UV) pip compile -q --upgrade --universal --python-version 3.10 --no-annotate --custom-compile-command "make lock" \
	    requirements/$$each.in -o requirements/$$each.txt; done

clean: ## remove everything that make has made
	rm -rf .venv .servers .matrix xcomctl-demo

.venv/.ready: pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("xcomctl needs Python 3.10 or newer, not " + sys.version.split()[0]) if sys.version_info < (3, 10) else 0'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	test -x $(UV) || .venv/bin/python -m pip install --quiet uv
	$(UV) pip install --quiet --python .venv/bin/python -r requirements/dev.txt
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	touch $@

.servers/ministack/.ready: requirements/ministack.txt | .venv/.ready
	test -x .servers/ministack/bin/python || $(UV) venv --quiet --python .venv/bin/python .servers/ministack
	$(UV) pip install --quiet --python .servers/ministack/bin/python -r requirements/ministack.txt
	touch $@

.servers/bare/.ready: requirements/bare.txt pyproject.toml | .venv/.ready
	test -x .servers/bare/bin/python || $(UV) venv --quiet --python .venv/bin/python .servers/bare
	$(UV) pip install --quiet --python .servers/bare/bin/python -r requirements/bare.txt
	$(UV) pip install --quiet --python .servers/bare/bin/python --no-deps --editable .
	touch $@

.servers/shells/.ready: tests/lab/shells.sh
	sh tests/lab/shells.sh .servers/shells
	touch $@
