# What there is to do with a checkout of rsttrace; `make` alone lists it. tools/install.sh does the
# installing and looks first, so a second run of any target is quick and needs no network.

PREFIX ?= /usr/local
PYTHON ?= /usr/bin/python3
ARGS ?=
PYTEST_ARGS ?=
GUESTS ?=

export PREFIX PYTHON
# The labs call ip, nft and sysctl; a plain `su` leaves sbin out of PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Caches per user, so that `sudo make test` does not spoil a later `make lint`.
CACHE := .venv/cache-$(shell id -u)
export RUFF_CACHE_DIR := $(CACHE)/ruff
export MYPY_CACHE_DIR := $(CACHE)/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(CACHE)/hypothesis

VENV := .venv/bin/python3
PYTEST = $(VENV) -m pytest -o cache_dir=$(CACHE)/pytest $(PYTEST_ARGS)
INSTALL = MAKE_TARGET=$@ sh tools/install.sh
NEED_ROOT = [ "$$(id -u)" = 0 ] || { echo "make $@ needs root: sudo make $@" >&2; exit 1; }

.PHONY: help run install uninstall test test-kernels lint test-unit bench clean

help: ## list the targets (default)
	@echo 'usage: make TARGET [ARGS="options of rsttrace"] [PREFIX=$(PREFIX)]'
	@echo '       make test-kernels [GUESTS="bookworm sid"]   (default: all of tools/vm/guests)'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16

run: ## install what is missing, then trace: sudo make run ARGS="-d 10"
	@$(NEED_ROOT)
	@$(INSTALL) install
	@exec "$(PREFIX)/bin/rsttrace" $(ARGS)

install: ## install system packages and rsttrace to PREFIX
	@$(NEED_ROOT)
	@$(INSTALL) install
	@echo "rsttrace is at $(PREFIX)/bin/rsttrace"

uninstall: ## remove rsttrace from PREFIX (system packages stay)
	@$(NEED_ROOT)
	@$(INSTALL) uninstall

test: ## install what is missing, then lint and run the unit and kernel tests
	@$(NEED_ROOT)
	@$(INSTALL) test
	$(LINT)
	RSTTRACE_SERVERS="$(CURDIR)/.venv/servers" $(PYTEST) tests/unit tests/kernel

test-kernels: ## run the labs on other kernels, in virtual machines, then write docs/coverage.md
	@$(INSTALL) vm
	status=0; RSTTRACE_GUESTS="$(GUESTS)" $(PYTEST) tests/vm || status=$$?; \
	$(VENV) tools/vm/coverage_table.py && exit $$status

lint: ## check format, lint and types
	@$(INSTALL) dev
	$(LINT)

test-unit: ## run the tests that need no root
	@$(INSTALL) dev
	$(PYTEST) tests/unit

bench: ## run the benchmarks
	@$(NEED_ROOT)
	@$(INSTALL) test
	$(VENV) tools/bench/run.py $(ARGS)

clean: ## remove .venv, caches and build output
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

define LINT
$(VENV) -m ruff format --check .
$(VENV) -m ruff check .
$(VENV) -m mypy --strict
endef
