# Works with GNU make 3.81 and a POSIX sh. A target is listed by the comment after its "##".
PYTHON = python3
VENV = .venv-test
QUIET = PYTHONDONTWRITEBYTECODE=1

.PHONY: help demo test test-all pull-the-plug live mcp-clients harnesses agents evals bench check install uninstall dist
help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 20

demo: ## one task from file to answer to file, on this machine, with no account and no network
	@$(QUIET) $(PYTHON) examples/demo.py

test: ## every test on one Python (PYTHON=...); fetches pytest into .venv-test if there is none
	@if $(PYTHON) -c 'import pytest' 2>/dev/null; then python=$(PYTHON); else \
	  python=$(VENV)/bin/python; \
	  $$python -c 'import pytest' 2>/dev/null || { \
	    echo "no pytest here: making $(VENV)" >&2; \
	    $(PYTHON) -m venv --clear $(VENV) && \
	    $$python -m pip install -q --disable-pip-version-check 'pytest>=7' </dev/null; } || exit 1; \
	fi; $(QUIET) $$python -m pytest -q $(TESTS) </dev/null

test-all: ## the tests on each Python 3.8 to 3.13 that pyenv has, as the gate does: all on the oldest and the newest
	@bash .ci/run

pull-the-plug: ## kill a batch of 20 at 200 moments, type the same line again, and count
	@$(QUIET) $(PYTHON) tests/pull_the_plug.py $(PLUG)

live: ## ask a real deployment what the documents say of it; costs money, so it says how to opt in
	@$(QUIET) $(PYTHON) tests/live.py

harnesses: ## the skill in the real agent programs, from npm, against a scripted model (HARNESSES="Codex opencode")
	@$(QUIET) $(PYTHON) tests/harnesses.py $(HARNESSES)

agents: ## the real agent programs behind --local, from npm, against a scripted model (AGENTS="claude --cases work")
	@$(QUIET) $(PYTHON) tests/agents.py $(AGENTS)

evals: ## the jobs of tests/evals with and without the skill, in a program that you are logged in to (EVALS="--program claude"); costs what your model costs
	@$(QUIET) $(PYTHON) tests/evals/run.py $(EVALS)

bench: ## ratios against curl, requests, httpx and nginx, where they are installed (BENCH="start trips fan-out stream bytes growth", BENCH_GB=2)
	@$(QUIET) $(PYTHON) tests/bench/bench.py --markdown $(BENCH)

check: ## sizes that have a limit, and the linters that are installed
	@$(QUIET) $(PYTHON) tests/measure.py

install: ## one copy for the harnesses that are here, and a link for those that need one (PREFIX=folder, DRY_RUN=1, FORCE=1)
	@PREFIX='$(PREFIX)' DRY_RUN='$(DRY_RUN)' FORCE='$(FORCE)' $(QUIET) $(PYTHON) tools/bundle.py install

uninstall: ## remove what make install made
	@PREFIX='$(PREFIX)' DRY_RUN='$(DRY_RUN)' FORCE='$(FORCE)' $(QUIET) $(PYTHON) tools/bundle.py uninstall

mcp-clients: ## clients of others against `rebyte_cli.py mcp`: the official Python SDK, fastmcp, the inspector, where they are installed
	@$(QUIET) $(PYTHON) tests/mcp_clients.py

dist: ## the skill as one file to upload, and as a bundle for desktop hosts of MCP (.mcpb): the same bytes every time, and SHA256SUMS
	@PREFIX='$(PREFIX)' $(QUIET) $(PYTHON) tools/bundle.py dist
