# What a user types. Each target installs what it lacks first (tools/bootstrap), so it needs root the first time.
#
#   make demo            the main job on real virtual machines, then stays up until Ctrl-C
#   make demo ONCE=1     the same, ends by itself; its last line is one JSON object
#   make demo JOB=0      a running data centre, nothing done in it
#   make test            everything that .ci/run runs
#   make lint            ruff and mypy
#   make bench           measurements: prints a table, writes bench.json
#   make assets          web assets by lock file, into qrmd/web/assets: what is installed or built then has them
#   make clean           remove what was built here; images in the cache stay

PYTHON := build/venv/bin/python
BOOTSTRAP := ./tools/bootstrap
TYPED := qrmd tests tools conftest.py $(filter-out %.egg-info,$(wildcard plugins/*/qrmd_*)) $(wildcard plugins/*/tests)
JOBS ?= 2
PYTEST ?=

# --tethered: it ends by itself when make is killed
DEMO := -m qrmd.testing.demo --tethered --directory build/demo
DEMO += $(if $(filter 1 yes true,$(ONCE)),--once)
DEMO += $(if $(filter 0 no false,$(JOB)),--no-job)
DEMO += $(FLAGS)

.PHONY: demo test lint bench assets clean check-lint
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n 's/^#   //p' Makefile

demo:
	@$(BOOTSTRAP) --for demo
	@exec $(PYTHON) $(DEMO)

lint:
	@$(BOOTSTRAP) --for python
	@$(MAKE) --no-print-directory check-lint

check-lint:
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m mypy --no-error-summary qrmd $(filter-out %.egg-info/,$(wildcard plugins/*/qrmd_*/)) tests tools
	@echo "lint: clean"

test:
	@$(BOOTSTRAP) --for test
	@$(MAKE) --no-print-directory check-lint
	@exec $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST)

bench:
	@$(BOOTSTRAP) --for demo
	@exec $(PYTHON) -m tests.bench $(FLAGS)

assets:
	@$(BOOTSTRAP) --for assets

clean:
	@if [ -d build/demo ] && [ -x $(PYTHON) ]; then $(PYTHON) -m qrmd.testing.lab down --name demo || true; fi
	@rm -rf build/venv build/demo build/bootstrap.log node_modules qrmd/web/assets bench.json
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis qrmd.egg-info plugins/*/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
