# Everything that a person or CI does. The first target to need it builds .venv from uv.lock;
# nothing but Python 3.11+ and make is assumed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 4
# Python 3.11 may fail to trace a thread that starts while another one does, and pytest would report that it ended.
UNTRACED := -W ignore::pytest.PytestUnraisableExceptionWarning
# Without bytecode each process of a run compiles again what it imports, for some seconds.
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := ampeco storage runtime analytics workers receiver simulator migrations

.DEFAULT_GOAL := help

.PHONY: help demo picture screenshots contract dashboards rules site vendor test unit coverage lint format audit bench calls \
	staleness dbt deployment fuzz faults soak overload clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Show the whole path at work; Ctrl-C stops it
	$(BIN)/ampeco-receiver demo $(DEMO)

picture: $(READY) ## Renew the picture in README.md, from a demo of a minute
	$(BIN)/ampeco-receiver demo --seconds 60 --picture docs/demo.svg

screenshots: $(READY) ## Renew the pictures of the console in the documentation; needs Debian's chromium
	$(BIN)/python -m tests.browser.screenshots

contract: $(READY) ## Write down the tables of the schema analytics: for the tests, the documentation and dbt
	RENEW_CONTRACT=1 $(BIN)/pytest tests/integration/test_contract.py
	$(BIN)/python -m analytics.contract
	$(BIN)/python -m analytics.dbt.sources

dashboards: $(READY) ## Write the dashboard for Grafana again
	$(BIN)/python -m deploy.grafana.dashboards

rules: $(READY) ## Write the rules for the Prometheus Operator again, from those for Prometheus
	$(BIN)/python -m deploy.kubernetes.rules

site: $(READY) ## Build the documentation as a site in .local/site, and check its links
	$(BIN)/python .ci/environment.py $(VENV) --inexact --group site
	$(BIN)/python .ci/site.py

vendor: $(READY) ## Renew the assets of the console and the site from npm, at the versions of vendor.json; needs Node
	$(BIN)/python .ci/vendor.py

test: $(READY) ## Run every test, some at a time: they wait more than they work
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(TESTS)

unit: $(READY) ## Run the tests that start no server and no process, in seconds
	$(BIN)/pytest tests/unit --numprocesses 2 --dist worksteal -m "not long and not server and not process" $(TESTS)

coverage: $(READY) ## Run every test, and check how much of the code they reach
	mkdir -p .local
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal $(UNTRACED) $(TESTS)
	$(BIN)/coverage run -m pytest -m long tests/faults/test_chaos.py tests/faults/test_stopping.py \
		tests/faults/test_planted.py
	$(BIN)/coverage run -m receiver demo --seconds 20
	$(BIN)/coverage combine --quiet
	$(BIN)/python .ci/coverage.py

lint: $(READY) ## Check style, types, spelling and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/bandit --quiet --severity-level medium --configfile pyproject.toml --recursive $(PACKAGES)
	$(BIN)/lint-imports
	$(BIN)/uv lock --check --quiet

format: $(READY) ## Put the code in the one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: $(READY) ## Ask the advisory database about every pinned dependency
	$(BIN)/python .ci/environment.py $(VENV) --inexact --group audit
	$(BIN)/python .ci/audit.py $(AUDIT)

bench: $(READY) ## Print the benchmark table
	$(BIN)/python -m bench $(BENCH)

calls: $(READY) ## Count the calls of the API by the size of the fleet, calm and in chaos; about 20 minutes
	$(BIN)/python -m bench.api_calls $(CALLS)

staleness: $(READY) ## Measure how far statuses are behind while everything goes wrong; about five minutes
	$(BIN)/python -m bench.staleness $(STALENESS)

dbt: $(READY) ## Build the dbt package of analytics/dbt on a real Postgres, with a dbt of its own
	$(BIN)/python .ci/environment.py .local/dbt --only-group dbt
	$(BIN)/pytest tests/integration/test_dbt.py -m long $(TESTS)

deployment: $(READY) ## Run the files of deploy/ as their documentation says, with Debian's packages
	$(BIN)/pytest tests/deployment -m "not soak" $(TESTS)

fuzz: $(READY) ## Fuzz every reader of foreign bytes for SECONDS each
	$(BIN)/python .ci/environment.py $(VENV) --group fuzz
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)

faults: $(READY) ## Kill, stop, pause and fill everything under load, and print what became of it
	$(BIN)/pytest tests/faults tests/surroundings -m "not soak" $(TESTS)

soak: $(READY) ## Draw random histories and sites, then kill at random, for MINUTES each
	SOAK_MINUTES=$(or $(MINUTES),10) $(BIN)/pytest tests/properties tests/faults -m soak -s $(TESTS)

overload: $(READY) ## Send ten times what can be sustained for SECONDS, and print the figures
	OVERLOAD_SECONDS=$(or $(SECONDS),60) $(BIN)/pytest tests/faults/test_overload.py -m long $(TESTS)

clean: ## Remove what make built, and the embedded servers' data
	rm -rf $(VENV) .local .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): uv.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON): install Python 3.11 or later," \
		"or name one, as in \`make demo PYTHON=python3.13\`." >&2; exit 1; }
	$(PYTHON) .ci/environment.py $(VENV)
	touch $@
