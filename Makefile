# `make` lists the targets.
.DEFAULT_GOAL := help
# Where the fast loop looks: rooms whose tests need nothing but Python. Only these are collected.
FAST := $(addprefix tests/,audit/tlog audit/cosigning intake_api/cli intake_api/http intake_api/identity \
	retention/archive retention/domain retention/envelope retention/keys retention/objects retention/telemetry)

.PHONY: help setup fast test bench docs demo

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 12

.venv/bin/pytest: pyproject.toml
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/pip install --quiet --editable '.[test]'
	.venv/bin/pip install --quiet --no-deps --ignore-requires-python azure-functions-runtime==1.3.0
	touch $@

setup: .venv/bin/pytest ## a virtual environment with what the tests need

fast: setup ## linter, formatter, types and the fast rooms' tests
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --quiet --check .
	.venv/bin/mypy --no-error-summary
	.venv/bin/pytest -q -n auto --maxprocesses 4 --dist loadfile -m fast $(FAST)

test: ## the whole suite, as the build machine runs it
	.ci/test

bench: setup ## the benchmarks: minutes, on a quiet machine
	.venv/bin/python tests/bench/run.py

docs: setup ## write the generated pages anew, and check the links of all
	.venv/bin/python -m intake_api.cli.reference
	.venv/bin/python -m tests.uploaders.test_page
	.venv/bin/python -m tests.bench.capacity --write
	.venv/bin/python -m tests.deploy.licences --write
	.venv/bin/pytest -q tests/test_docs.py

demo: setup ## the life of one bundle against the real service
	.venv/bin/casevault demo
