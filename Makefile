# Every target sets up what it needs, from nothing, and is quick when there is nothing to do. "make help" lists them.

PYTHON ?= python3
ROOT := $(CURDIR)
BIN := $(ROOT)/.venv/bin
FORK := $(ROOT)/.fork/parsl
NEW_TESTS := $(FORK)/parsl/tests/test_globus_compute_multi
TEST_CONFIG := $(ROOT)/test_configs/globus_compute_multi.py

REQUIREMENTS := requirements.txt localhost-requirements.txt demo-requirements.txt test-requirements.txt
SOURCES := setup.py $(wildcard parsl tools test_configs demo benchmarks docs)
TYPED := $(wildcard tools test_configs demo benchmarks)

# What upstream selects for its own GlobusComputeExecutor, and test_file_apps, whose staging works here. Root may write anywhere, so tests of permissions cannot pass for it.
K ?= (not shared_fs and not issue_3620 and not staging_required and not cleannet$(ROOT_DESELECTS)) or test_file_apps
ROOT_DESELECTS := $(if $(filter 0,$(shell id -u)), and not unix_filesystem_permissions_required)

# Explicit file names, because Parsl's conftest ignores every folder called "integration". Each group in a process of its own: Parsl's
# conftest wants --config, which the other tests do not know (with "=": else pytest takes the path for that of a test, before the
# conftest is found that defines the option).
PYTEST := tools/in_scratch.sh $(BIN)/pytest --random-order -p no:cacheprovider

.PHONY: help
help: ## list the targets (the default)
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{printf "  %-18s %s\n", $$1, $$2}'
	@echo
	@echo 'Settings, given as make NAME=value or in the environment:'
	@echo '  PYTHON             Python 3.10 or newer for the virtual environments, client and agents (python3)'
	@echo '  RABBITMQ_URL       compute, demo: a broker to use, amqp://user:password@host:port/, instead of a private one'
	@echo '  LOCAL_GC_AGENT_PYTHON  Python of another virtual environment that has the endpoint agent (.venv-agents/bin/python)'
	@echo '  K                  test-parsl: the tests to run, as for pytest -k (what upstream runs with Globus Compute)'
	@echo '  ARGS               compute, demo, bench-*: arguments for the program'

.PHONY: venv
venv: ## the client's virtual environment, .venv
	@$(PYTHON) tools/make_venv.py .venv $(REQUIREMENTS)

.PHONY: agents
agents: ## the endpoint agents' virtual environment, .venv-agents, with a stock Parsl
	@$(PYTHON) tools/make_venv.py .venv-agents agent-requirements.txt

.PHONY: rabbitmq
rabbitmq: ## the RabbitMQ program, installed with apt if need be and possible
	@sh tools/rabbitmq.sh

.PHONY: fork
fork: venv ## the patched Parsl with this repository's files, .fork/parsl, installed editable in .venv
	@$(BIN)/python tools/fork.py

.PHONY: compute
compute: fork agents rabbitmq ## Globus Compute on localhost, in the foreground until Ctrl-C
	@$(BIN)/python -m local_globus_compute $(ARGS)

.PHONY: demo
demo: fork agents rabbitmq ## a workflow over the standard library's sources on three endpoints on localhost
	@$(BIN)/python demo/stdlib_survey.py $(ARGS)

.PHONY: bench-localhost
bench-localhost: fork agents rabbitmq ## times a few workloads on three endpoints on localhost, with the service's limits on
	@$(BIN)/python benchmarks/localhost.py $(ARGS)

.PHONY: bench-scheduling
bench-scheduling: fork ## simulates workflows on the scheduler's core, beside other schedulers, and says what must be reached
	@$(BIN)/python benchmarks/scheduling.py $(ARGS)

.PHONY: lint
lint: fork ## flake8, isort and mypy, set as upstream has them
	$(BIN)/flake8 $(SOURCES)
	$(BIN)/isort --check --quiet $(SOURCES)
	cd $(FORK) && $(BIN)/mypy --config-file $(ROOT)/mypy.ini --cache-dir $(ROOT)/.mypy_cache \
	    -p parsl.executors.globus_compute_multi -p parsl.tests.test_globus_compute_multi
	for folder in $(TYPED); do \
	    (cd $$folder && $(BIN)/mypy --config-file $(ROOT)/mypy.ini --cache-dir $(ROOT)/.mypy_cache/$$folder .) || exit 1; \
	done

.PHONY: test-unit
test-unit: fork ## tests that start no service
	$(PYTEST) $(ROOT)/tools/tests
	$(PYTEST) $(ROOT)/test_configs/tests/unit
	$(PYTEST) $(ROOT)/demo/tests/test_*.py
	$(PYTEST) $(ROOT)/benchmarks/tests
	$(PYTEST) --config=local $(NEW_TESTS)/unit

# Some tests restart the broker, or look at its processes: always a private one.
test-integration test-parsl: export RABBITMQ_URL =

.PHONY: test-integration
test-integration: fork agents rabbitmq ## tests with real endpoint agents and a real RabbitMQ on localhost
	$(PYTEST) $(ROOT)/test_configs/tests/integration
	$(PYTEST) $(ROOT)/demo/tests/integration
	$(PYTEST) --config=local $(NEW_TESTS)/integration/test_*.py

.PHONY: test-parsl
test-parsl: fork agents rabbitmq ## Parsl's own test suite on the executor, over three endpoints on localhost; K="<pytest -k expression>" selects
	$(PYTEST) --config=$(TEST_CONFIG) -k "$(K)" $(FORK)/parsl/tests

# Parsl's high-throughput executor finds its programs on PATH.
test-upstream: export PATH := $(BIN):$(PATH)

.PHONY: test-upstream
test-upstream: fork ## Parsl's own test suite on its executors for threads and for one cluster: the patches change nothing there
	for config in local_threads htex_local; do \
	    $(PYTEST) --config=$(FORK)/parsl/tests/configs/$$config.py -k "not cleannet$(ROOT_DESELECTS)" --ignore=$(NEW_TESTS) $(FORK)/parsl/tests || exit 1; \
	done

.PHONY: test
test: ## lint and all tests, stopping at the first group that fails
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-upstream
	@$(MAKE) --no-print-directory test-integration
	@$(MAKE) --no-print-directory test-parsl

.PHONY: clean
clean: ## remove all that these targets made in this folder
	rm -rf .venv .venv-agents .fork .scratch build dist *.egg-info
	find . \( -name __pycache__ -o -name .mypy_cache -o -name .pytest_cache -o -name .hypothesis \) -prune -exec rm -rf {} +
