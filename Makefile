# shardline: one command per task, the same by hand and in CI. Needs only make and Python >= 3.11 (make PYTHON=python3.12 ...).
#
# Conventions
#   * `make setup` lands in .venv; every target installs what it lacks. Stamps: .venv/.NAME = requirements/NAME.txt installed.
#   * `make TARGET ARGS="..."` hands options on to the program behind the target.
#   * A target that reports figures prints them for people and writes the same as one JSON object to out/TARGET.json.
# To add a target: name the stamp it needs, add it to .PHONY, give it a `##` line for `make help`:
#       .PHONY: sim
#       sim: $(VENV)/.check  ## Simulate fleets: ARGS="--seeds 100".
#       	$(BIN)/python -m tests.sim $(ARGS)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SHELL := /bin/bash
.DELETE_ON_ERROR:

# A build environment may forbid byte code; each process would then pay a second for importing an SDK.
export PYTHONDONTWRITEBYTECODE :=

# ---- set-up ---------------------------------------------------------------------------------------------------------
HASHED := --require-hashes --quiet

# uv where it works (3 s), else pip (50 s); both check the hashes. $(1): what to install.
install = { [ -x $(BIN)/uv ] && $(BIN)/uv pip install --python $(BIN)/python $(1); } || $(BIN)/python -m pip install $(1)

.PHONY: help setup
help:  ## List the targets.
	@grep -hE '^[a-z_-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.check  ## Make .venv with everything for tests and checks, shardline itself editable.

# The stamp comes last: a half-made environment does not count as made.
$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "shardline needs Python 3.11 or later: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	-$(BIN)/python -m pip install $(HASHED) -r requirements/uv.txt
	touch $@

# Two commands, because --require-hashes refuses an editable install.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/.made
	$(call install,$(HASHED) -r $<)
	$(call install,--quiet --no-deps --no-build-isolation --editable .)
	touch $@

# One resolution (all.txt); the others are subsets of it. No line names a host, so any index will do.
LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate pyproject.toml
SUBSET = $(LOCK) -c requirements/all.txt
.PHONY: lock
lock: $(VENV)/.uv  ## Resolve the dependencies anew: ARGS="--upgrade" for newer versions.
	$(LOCK) $(ARGS) --all-extras --group dev --group fuzz --group bench --group uv -o requirements/all.txt
	$(SUBSET) --extra all --group dev -o requirements/check.txt
	$(SUBSET) --extra all --group build -o requirements/demo.txt
	$(SUBSET) --extra all --group build --group bench -o requirements/bench.txt
	$(SUBSET) --group fuzz --group build -o requirements/fuzz.txt
	$(SUBSET) --group uv --group build -o requirements/uv.txt

# ---- run ------------------------------------------------------------------------------------------------------------
.PHONY: demo
demo: $(VENV)/.demo  ## Producers, a fleet, a kill, a reshard; nothing lost: ARGS="--seconds 30 --json".
	$(BIN)/shardline demo --out out/demo.json $(ARGS)

MINUTES ?= 30
SEED ?= 1
.PHONY: chaos
chaos: $(VENV)/.check  ## SIGKILL, SIGSTOP and reshards, MINUTES=30 SEED=1: lost 0? ARGS="--retrieval fanout".
	$(BIN)/python -m tools.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

.PHONY: layer
layer: $(VENV)/.check  ## A zip for a Lambda layer: its size, modules and import time; ARGS="--out FILE".
	$(BIN)/python -m tools.layer $(ARGS)

.PHONY: bench
bench: $(VENV)/.bench  ## CPU per user record, beside the peers: ARGS="--only encode/100 --repetitions 9".
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-java
bench-java: $(VENV)/.bench  ## CPU beside the KPL's and KCL's jars (needs JDK, Maven): ARGS="--only consume --rounds 4".
	$(BIN)/python -m bench.beside_java $(ARGS)

.PHONY: interop
interop: $(VENV)/.check  ## One fleet of the KCL's jar and our worker (needs JDK, Maven): ARGS="--kcl 3.5.1 --failover 5".
	$(BIN)/python -m tools.interop $(ARGS)

.PHONY: conformance
conformance: $(VENV)/.check  ## Our Kinesis and tables, moto and kinesis-local by one script: ARGS="--only split".
	$(BIN)/python -m tools.conformance $(ARGS)

.PHONY: overload
overload: $(VENV)/.check  ## Three times a shard's limit for five minutes: delivered, lost, memory: ARGS="--seconds 60".
	$(BIN)/python -m bench.overload $(ARGS)

# ---- test and check -------------------------------------------------------------------------------------------------
# The core tests: quick, no process, no network. `slow` marks what belongs to `make test` only.
CORE_TESTS := $(wildcard tests/tidy tests/common tests/producer tests/consumer tests/lambda_)
WORKERS ?= 2

.PHONY: test check check-ruff check-mypy check-pyright check-imports check-core format
test: $(VENV)/.check  ## The whole suite, and the gate: cores covered to 95 %, lines and branches.
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q -n $(WORKERS) --dist worksteal --durations=10 $(ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m tools.coverage_gate

# Two at a time: neither type checker uses a second core.
check: $(VENV)/.check  ## Static checks and core tests, at most 90 s.
	@$(MAKE) --no-print-directory -k -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) \
		check-ruff check-core check-pyright check-mypy check-imports
	@echo "make check passed"

check-ruff: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check-mypy: $(VENV)/.check
	$(BIN)/mypy

# pyright is a node program; on a machine without node mypy alone decides.
check-pyright: $(VENV)/.check
	@if command -v node >/dev/null; then echo $(BIN)/pyright; $(BIN)/pyright; \
	else echo "SKIPPED pyright: there is no node on PATH"; fi

check-imports: $(VENV)/.check
	$(BIN)/lint-imports --no-logo

check-core: $(VENV)/.check
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -q -m "not slow" $(CORE_TESTS)

format: $(VENV)/.check  ## Format the sources, mend what ruff can mend, and write the reference pages anew.
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .
	$(BIN)/python -m tools.reference

.PHONY: fuzz
fuzz: $(VENV)/.fuzz  ## Fuzz the decoder against protobuf for 60 s: ARGS="--seconds 600".
	$(BIN)/python tests/fuzz $(ARGS)

# ---- simulate -------------------------------------------------------------------------------------------------------
SEEDS ?=
FIRST ?= 1

.PHONY: sim sim-mutants sim-scale
sim: $(VENV)/.check  ## Simulate fleets under faults, 90 s of seeds: SEEDS=50000 FIRST=1, ARGS="--seed 7 --trace | --shrink".
	$(BIN)/python -m tests.sim.run --first $(FIRST) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

sim-mutants: $(VENV)/.check  ## Plant each known bug and catch it: ARGS="--bug NAME", ARGS=--model for the sound rules too.
	$(BIN)/python -m tests.sim.mutants $(ARGS)

sim-scale: $(VENV)/.check  ## 200 to 10,000 shards: balance, calls, kills, reshards, an hour of faults: ARGS="--only kill".
	$(BIN)/python -m tests.sim.scale $(ARGS)

# ---- tidy up --------------------------------------------------------------------------------------------------------
.PHONY: clean
clean:  ## Remove everything that is not under version control and can be made again.
	rm -rf $(VENV) out dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
