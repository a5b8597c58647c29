# Verbs: `make help`. One virtual environment, .venv, filled from a lock file with hashes; a stamp in it says what is
# already there, so that a second run starts at once. Programs of other makers that tests and bench start live in
# .venv-peers: nothing imports them. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
UPGRADE ?=

PY_TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# pip comes with the interpreter and asks for its own update; nothing here depends on that.
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-input
INSTALL_SELF = $(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test truth prove bench clean lock

help:  ## what can be done here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.ready-demo  ## simulated meters, the agent, a broker and a centre, on this machine alone
	$(BIN)/edge-agent-sim demo

# Whole agents with brokers and kills have the machine to themselves; the other tests mostly wait, two at a time.
test: $(VENV)/.ready-test $(PEERS)/.ready  ## style, types, walls between the rooms, tests
	@sh tests/install-system.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/e2e
	$(BIN)/python -m pytest tests/e2e

prove: $(VENV)/.ready-test $(PEERS)/.ready  ## the guarantees, one by one, with kills and faults; prints what was shown
	@sh tests/install-system.sh
	$(BIN)/python -m tests.prove

truth: $(VENV)/.ready-test  ## known customers and faults through the audit: how often it is right
	$(BIN)/python -m tests.truth

bench: $(VENV)/.ready-test $(PEERS)/.ready  ## figures beside those of an independent program
	@sh tests/install-system.sh
	$(BIN)/python -m tests.bench

clean:  ## remove everything that make made, the virtual environments too
	rm -rf $(VENV) $(PEERS) build dist demo-state bench-results .truth
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The two lock files agree: the smaller one starts from the pins of the larger.
# --fork-strategy fewest gives every Python and both processors the same versions.
LOCK = build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header
lock: build/uv/bin/uv  ## write the lock files again; UPGRADE=--upgrade takes newer versions
	$(LOCK) $(UPGRADE) --group build --extra sim --extra test --output-file requirements-test.lock pyproject.toml >/dev/null
	cp requirements-test.lock requirements.lock
	$(LOCK) --group build --extra sim --output-file requirements.lock pyproject.toml >/dev/null
	$(LOCK) $(UPGRADE) --output-file tests/peers/requirements.txt tests/peers/requirements.in >/dev/null

build/uv/bin/uv:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python $(PIP_INSTALL) uv

$(VENV)/.python-$(PY_TAG):
	@case "$(PY_TAG)" in \
	3.11|3.12|3.13) ;; \
	"") echo "make: there is no $(PYTHON) here; name one: make PYTHON=python3.12 ..." >&2; exit 1 ;; \
	*) echo "make: $(PYTHON) is Python $(PY_TAG); this needs 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..." >&2; exit 1 ;; \
	esac
	rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "make: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.ready-demo: requirements.lock pyproject.toml $(VENV)/.python-$(PY_TAG)
	$(BIN)/python $(PIP_INSTALL) --require-hashes --requirement requirements.lock
	$(INSTALL_SELF)
	@touch $@

$(VENV)/.ready-test: requirements-test.lock pyproject.toml $(VENV)/.python-$(PY_TAG)
	$(BIN)/python $(PIP_INSTALL) --require-hashes --requirement requirements-test.lock
	$(INSTALL_SELF)
	@touch $@ $(VENV)/.ready-demo

$(PEERS)/.ready: tests/peers/requirements.txt
	rm -rf $(PEERS)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(PIP_INSTALL) --require-hashes --requirement tests/peers/requirements.txt
	@touch $@
