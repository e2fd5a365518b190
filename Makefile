# Every target first makes .venv, or brings it up to date where the pins or the Python have changed.

PYTHON ?= python3
# Whose ends `make ranges` tries: names or paths.
PYTHONS ?= python3.11 python3.13

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help install hooks tools demo captures test test-fast coverage lint check docs wheel wheel-test ranges constraints clean

BIN := .venv/bin
# Files of tests go to two processes, each with one thread for tensors: more would wait for one another.
# They go in the order of tests/conftest.py, the longest first. What Python compiles is kept, though the environment
# may say that it should not be: every process would compile all tests again.
TESTS := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
FAST := -m "not ray and not s3 and not slow"
WHEEL := build/wheel
STAMP := .venv/.installed

# What .venv must have been made from: the Python and the place on one line, the pins on the next. Written so that
# Python 2 can read it too, and say that it is too old.
define WANTED
import hashlib, os, sys
if sys.version_info < (3, 11):
    sys.exit("SecureVQA needs Python 3.11 or newer, and %s is %s: name another, as in make install PYTHON=python3.12"
             % (sys.executable, sys.version.split()[0]))
print("%s at %s for %s" % (sys.version.split()[0], sys.base_prefix, os.getcwd()))
print(hashlib.sha256(b"".join(open(name, "rb").read() for name in ("constraints.txt", "pyproject.toml"))).hexdigest())
endef
export WANTED

# The newest version of everything, as `name==version` lines.
define PINS
import json, re, sys
found = (item["metadata"] for item in json.load(sys.stdin)["install"])
pins = {re.sub("[-_.]+", "-", one["name"]).lower(): one["version"] for one in found}
print("\n".join(f"{name}=={pins[name]}" for name in sorted(pins) if name != "securevqa"))
endef
export PINS

help:
	@echo "make install      .venv with the pinned versions, and securevqa in it: $(BIN)/securevqa"
	@echo "make tools        Chromium and Prometheus from Debian, which some tests run: without them they are skipped"
	@echo "make demo         score a small backlog of real clips through a real S3 server"
	@echo "make test         the tests"
	@echo "make test-fast    the tests that start no Ray, need no S3 server and take no longer than a second or two"
	@echo "make lint         lint, format, types and the layers of imports"
	@echo "make check        lint and the tests"
	@echo "make coverage     the tests again, and which lines they ran: of these processes, not of those they start"
	@echo "make hooks        let git run lint before every commit"
	@echo "make wheel-test   build a wheel, install it into an empty environment and try it there: 7 GB, then removed"
	@echo "make ranges       the same with the oldest and the newest that pyproject.toml allows, of each PYTHONS"
	@echo "make docs         docs/ and the READMEs as a site: build/site/index.html"
	@echo "make captures     pictures of what commands print, for docs/: docs/assets/*.svg"
	@echo "make constraints  pin the newest versions of everything in constraints.txt"
	@echo "make clean        remove all that these made"

# The stamp is written last, so an install that was interrupted is made anew; the lock is on this file, so that
# calls side by side wait for one install.
install:
	@wanted=$$($(PYTHON) -c "$$WANTED")
	is_done() { [[ -e $(STAMP) && "$$(< $(STAMP))" == "$$wanted" ]]; }
	if is_done; then exit; fi
	exec 9< Makefile
	flock 9
	if is_done; then exit; fi
	made_for=$$(head -n 1 $(STAMP) 2> /dev/null || true)
	rm -f $(STAMP)
	if [[ "$$made_for" != "$${wanted%%$$'\n'*}" ]]; then $(PYTHON) -m venv --clear .venv; fi
	echo "installing the versions of constraints.txt into .venv: about two minutes and 7 GB when it is new"
	export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_USE_PEP517=1 PIP_NO_INPUT=1
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev,train]'
	printf '%s\n' "$$wanted" > $(STAMP).part
	mv $(STAMP).part $(STAMP)

tools:
	@missing=()
	for name in chromium prometheus; do command -v $$name > /dev/null || missing+=($$name); done
	if (( ! $${#missing[@]} )); then exit; fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${missing[@]}"

demo: install
	@exec $(BIN)/python demo/run.py

captures: install
	@exec $(BIN)/python demo/captures.py

test: install
	@$(TESTS)

test-fast: install
	@$(TESTS) $(FAST)

# Ray's workers, decoding processes and commands that tests start are not followed: read 0 % with that in mind.
coverage: install
	@$(TESTS) --cov --cov-report term:skip-covered --cov-report html:build/coverage

lint: install
	@set -x
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

check: lint
	@set -x
	$(TESTS)

# The variable silences a line about the generator's successor, which says nothing of these pages.
docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

hooks: install
	@$(BIN)/pre-commit install

# build/lib would add modules that are gone to the wheel.
wheel:
	@rm -rf build/lib $(WHEEL)
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(WHEEL) .

wheel-test: wheel
	@rm -rf build/empty
	trap 'rm -rf build/empty' EXIT
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check $(WHEEL)/securevqa-*.whl
	build/empty/bin/python tests/installed/smoke.py

ranges: install wheel
	@$(BIN)/python tests/installed/ranges.py $(WHEEL)/securevqa-*.whl --python $(PYTHONS)

constraints:
	@rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed \
	    --report build/pins/report.json '.[dev,train]'
	build/pins/bin/python -c "$$PINS" < build/pins/report.json > build/pins/constraints.txt
	mv build/pins/constraints.txt constraints.txt
	rm -rf build/pins

clean:
	@rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
