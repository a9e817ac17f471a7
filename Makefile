# Every target sets up what it needs, from nothing, and is quick when there is nothing to do. "make help" lists them.

PYTHON ?= python3
ROOT := $(CURDIR)
BIN := $(ROOT)/.venv/bin
FORK := $(ROOT)/.fork/parsl
NEW_TESTS := $(FORK)/parsl/tests/test_globus_compute_multi
TEST_CONFIG := $(ROOT)/test_configs/globus_compute_multi.py

REQUIREMENTS := $(addsuffix -requirements.txt,view localhost demo test docs bench) requirements.txt
SOURCES := setup.py $(wildcard parsl tools test_configs demo benchmarks chaos docs)
TYPED := $(wildcard tools test_configs demo benchmarks docs)

# All of Parsl's suite but what needs the internet. Root may write anywhere, so tests of permissions cannot pass for it; test-parsl-user runs them.
K ?= not cleannet$(ROOT_DESELECTS)
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
	@echo '  K                  test-parsl*: the tests to run, as for pytest -k (all that need no internet)'
	@echo '  PARSL              upstream-pr: a clone of Parsl without uncommitted changes'
	@echo '  JSON, PLOT         bench: files for the results, and for a picture of them (.png, .svg or .pdf)'
	@echo '  ARGS               compute, demo, bench, bench-*, chaos, soak: arguments for the program'

.PHONY: venv
venv: ## the client's virtual environment, .venv
	@$(PYTHON) tools/make_venv.py .venv $(REQUIREMENTS)

.PHONY: agents
agents: ## the endpoint agents' virtual environment, .venv-agents, with a stock Parsl
	@$(PYTHON) tools/make_venv.py .venv-agents agent-requirements.txt

.PHONY: rabbitmq
rabbitmq: ## the RabbitMQ program, installed with apt if need be and possible
	@sh tools/rabbitmq.sh

.PHONY: chromium
chromium: ## a browser for the tests of the page of a run, installed with apt if need be and possible
	@sh tools/chromium.sh

.PHONY: fork
fork: venv ## the patched Parsl with this repository's files, .fork/parsl, installed editable in .venv
	@$(BIN)/python tools/fork.py

.PHONY: compute
compute: fork agents rabbitmq ## Globus Compute on localhost, in the foreground until Ctrl-C
	@$(BIN)/python -m local_globus_compute $(ARGS)

.PHONY: demo
demo: fork agents rabbitmq ## a workflow over the standard library's sources on three endpoints on localhost
	@$(BIN)/python demo/stdlib_survey.py $(ARGS)

.PHONY: bench
bench: fork agents rabbitmq ## this executor beside others on real endpoints, then at scale, and what must be reached; half an hour; JSON=FILE and PLOT=FILE.png write the results
	@$(BIN)/python benchmarks/bench.py $(if $(JSON),--json "$(JSON)") $(if $(PLOT),--plot "$(PLOT)") $(ARGS)

.PHONY: bench-scheduling
bench-scheduling: fork ## simulates workflows on the scheduler's core, beside other schedulers, and says what must be reached
	@$(BIN)/python benchmarks/scheduling.py $(ARGS)

.PHONY: bench-records
bench-records: fork ## what the run log and the result records cost, apart from the scheduler's core
	@$(BIN)/python benchmarks/records.py $(ARGS)

.PHONY: bench-budget
bench-budget: fork ## simulates 16 to 256 endpoints under the service's request budget, beside the best that could be done
	@$(BIN)/python benchmarks/budget_scale.py $(ARGS)

.PHONY: bench-core
bench-core: fork ## what the scheduler's core takes for each task, up to a million tasks and a thousand endpoints
	@$(BIN)/python benchmarks/core_scale.py $(ARGS)

.PHONY: bench-dfk
bench-dfk: fork ## 100,000 tasks through Parsl's DataFlowKernel with no real endpoint: what each thread spends on a task
	@$(BIN)/python benchmarks/dfk_scale.py $(ARGS)

.PHONY: chaos-venv
chaos-venv: ## the virtual environment of the proxy that disturbs the network, .venv-chaos
	@$(PYTHON) tools/make_venv.py .venv-chaos chaos-requirements.txt

.PHONY: chaos
chaos: fork agents rabbitmq chaos-venv ## runs of a workflow with faults at random, beside three GlobusComputeExecutors; ARGS="--runs 20 --rival"
	@$(BIN)/python -m chaos $(ARGS)

.PHONY: soak
soak: fork ## 100,000 tasks and 50 losses of endpoints: do memory, threads and files stay as they are? ARGS=--agents: with real endpoints
	@$(BIN)/python benchmarks/soak.py $(ARGS)

.PHONY: docs
docs: fork ## the documentation, docs/_build/html/index.html
	$(BIN)/python -m sphinx -E -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

.PHONY: bench-hooks
bench-hooks: fork ## times parsl-perf on local threads, with and without the hooks in the DataFlowKernel in turns
	@$(BIN)/python benchmarks/hooks.py $(ARGS)

.PHONY: lint
lint: fork ## flake8, isort and mypy, set as upstream has them
	$(BIN)/flake8 $(SOURCES)
	$(BIN)/isort --check --quiet $(SOURCES)
	cd $(FORK) && $(BIN)/mypy --config-file $(ROOT)/mypy.ini --cache-dir $(ROOT)/.mypy_cache \
	    -p parsl.executors.globus_compute_multi -p parsl.tests.test_globus_compute_multi
	$(BIN)/mypy --config-file mypy.ini --cache-dir .mypy_cache/chaos -p chaos
	for folder in $(TYPED); do \
	    (cd $$folder && $(BIN)/mypy --config-file $(ROOT)/mypy.ini --cache-dir $(ROOT)/.mypy_cache/$$folder .) || exit 1; \
	done

.PHONY: test-unit
test-unit: fork ## tests that start no service
	$(PYTEST) $(ROOT)/tools/tests
	$(PYTEST) $(ROOT)/test_configs/tests/unit
	$(PYTEST) $(ROOT)/demo/tests/test_*.py
	$(PYTEST) $(ROOT)/benchmarks/tests/test_*.py
	$(PYTEST) $(ROOT)/docs/tests/test_*.py
	$(PYTEST) --config=local $(NEW_TESTS)/unit

# Some tests restart the broker, or look at its processes: always a private one.
test-integration test-chaos test-parsl test-parsl-user test-parsl-engine test-release: export RABBITMQ_URL =

.PHONY: test-integration
test-integration: fork agents rabbitmq chromium ## tests with real endpoint agents and a real RabbitMQ on localhost
	$(PYTEST) $(ROOT)/test_configs/tests/integration
	$(PYTEST) $(ROOT)/demo/tests/integration
	$(PYTEST) $(ROOT)/docs/tests/integration
	$(PYTEST) $(ROOT)/benchmarks/tests/integration
	$(PYTEST) -p own_directory -n 2 --dist loadfile --config=local $(NEW_TESTS)/integration/test_*.py

.PHONY: test-chaos
test-chaos: fork agents rabbitmq chaos-venv ## a short run with faults at random, which are the same every time
	PYTHONPATH=$(ROOT) $(PYTEST) $(ROOT)/chaos/tests/test_*.py $(ROOT)/chaos/tests/integration/test_*.py

.PHONY: audit
audit: ## bandit on what is written here, and pip-audit on what the executor needs (as far as the package index has advisories)
	@$(PYTHON) tools/make_venv.py .venv-audit audit-requirements.txt
	.venv-audit/bin/bandit -q -c bandit.yaml -r $(SOURCES)
	.venv-audit/bin/pip-audit -r requirements.txt

# What each run of Parsl's suite on the executor has in common.
PARSL_TESTS = $(FORK)/parsl/tests
PARSL_SUITE = $(PARSL_TESTS) --ignore=$(NEW_TESTS) --random-order -p no:cacheprovider -k "$(K)"
ONE_PROCESS := --config=$(TEST_CONFIG)
TWO_PROCESSES := --config=$(ROOT)/test_configs/shared_endpoints.py -p shared_endpoints -n 2

.PHONY: test-parsl
test-parsl: fork agents rabbitmq ## Parsl's own test suite on the executor, over three endpoints on localhost; K="<pytest -k expression>" selects
	tools/in_scratch.sh $(BIN)/pytest $(ONE_PROCESS) $(PARSL_SUITE)

test-parsl-user: ROOT_DESELECTS =
.PHONY: test-parsl-user
test-parsl-user: fork agents rabbitmq ## the same as an ordinary user (started as root, it becomes one), in two processes at once
	tools/as_ordinary_user.sh $(BIN)/pytest $(TWO_PROCESSES) $(PARSL_SUITE)

.PHONY: test-parsl-engine
test-parsl-engine: fork agents rabbitmq ## the same on endpoints with the GlobusComputeEngine
	LOCAL_GC_ENGINE=GlobusComputeEngine tools/in_scratch.sh $(BIN)/pytest $(ONE_PROCESS) $(PARSL_SUITE)

# Installed anew each time, since pip cannot tell what has changed; what it builds with goes.
.PHONY: release
release: ## a virtual environment with an unpatched Parsl and the executor, .venv-release
	@$(PYTHON) tools/make_venv.py .venv-release tools/parsl-release.txt requirements.txt localhost-requirements.txt test-requirements.txt
	@rm -rf build
	@.venv-release/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall .
	@rm -rf build *.egg-info

test-release: PARSL_TESTS = $$($(ROOT)/.venv-release/bin/python -c "import parsl.tests; print(*parsl.tests.__path__)")
.PHONY: test-release
test-release: release agents rabbitmq ## the same on an unpatched release of Parsl, whose DataFlowKernel has no hooks, in two processes at once
	PYTHONPATH=$(ROOT)/test_configs tools/in_scratch.sh $(ROOT)/.venv-release/bin/pytest $(TWO_PROCESSES) $(PARSL_SUITE)

# Parsl's high-throughput executor finds its programs on PATH.
test-upstream: export PATH := $(BIN):$(PATH)

.PHONY: test-upstream
test-upstream: fork ## Parsl's own test suite on its executors for threads and for one cluster: the patches change nothing there
	for config in local_threads htex_local; do \
	    $(PYTEST) --config=$(FORK)/parsl/tests/configs/$$config.py -k "not cleannet$(ROOT_DESELECTS)" --ignore=$(NEW_TESTS) $(FORK)/parsl/tests || exit 1; \
	done

.PHONY: test
test: ## lint and all tests, stopping at the first group that fails; of Parsl's suite on the executor the three runs that differ most
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-upstream
	@$(MAKE) --no-print-directory test-integration
	@$(MAKE) --no-print-directory test-chaos
	@$(MAKE) --no-print-directory test-parsl
	@$(MAKE) --no-print-directory test-parsl-user
	@$(MAKE) --no-print-directory test-release

.PHONY: test-all
test-all: test ## "test", and Parsl's suite on the other engine
	@$(MAKE) --no-print-directory test-parsl-engine

.PHONY: upstream-pr
upstream-pr: venv ## branches for Parsl, on the clone named by PARSL=<folder>; tools/check_upstream_pr.sh <folder> then checks every commit
	@$(BIN)/python tools/upstream_pr.py "$(PARSL)"

.PHONY: clean
clean: ## remove all that these targets made in this folder
	rm -rf .venv .venv-agents .venv-release .venv-chaos .venv-audit .fork .scratch build dist *.egg-info docs/_build docs/stubs
	find . \( -name __pycache__ -o -name .mypy_cache -o -name .pytest_cache -o -name .hypothesis \) -prune -exec rm -rf {} +
