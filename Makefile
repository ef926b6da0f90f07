# One entry point for people and for CI. Nothing but make and Python >= 3.10 with venv is expected on the machine.

PYTHON ?= python3
VENV ?= .venv
TORCH := $(shell sed -n 's/^torch==//p' requirements-dev.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
USABLE := $(VENV)/.usable
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-ros lint format package docs clean

# What is on PyPI for Linux as torch is the CUDA build, gigabytes that nothing here needs. So the CPU build is asked
# for by name: first where pip is configured to look, then in PyTorch's own index. Where no such build exists (macOS)
# the plain one is right. It goes first: the pin in requirements-dev.txt then finds itself satisfied.
# $(call install_torch,PIP)
define install_torch
$(1) install "torch==$(TORCH)+cpu" 2>/dev/null \
  || { echo "torch $(TORCH)+cpu is not where pip looks: trying $(TORCH_INDEX)"; \
       $(1) install --retries 1 --timeout 15 --extra-index-url $(TORCH_INDEX) "torch==$(TORCH)+cpu" 2>/dev/null; } \
  || { echo "not there either: taking the plain torch $(TORCH), which on Linux is a large download"; \
       $(1) install "torch==$(TORCH)"; }
endef

help: ## this text
	@echo "usage: make TARGET [PYTHON=python3.12] [VENV=.venv]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(USABLE) ## localize in a virtual room and replay a robot's drive; needs no data
	$(BIN)/neumap demo

test: lint ## lint, then all tests that need no ROS 2
	$(BIN)/python -m pytest

test-ros: $(READY) ## tests of the node on real ROS 2, of which the core is installed into .ros; needs no ROS installation
	$(BIN)/python tools/ros_core.py pytest test/ros

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# tried from a folder where Python does not find the checkout
package: $(READY) ## build sdist and wheel into dist/, install the wheel into a fresh environment and try it there
	rm -rf dist build/package
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/package/fresh
	@$(call install_torch,build/package/fresh/bin/python -m pip --disable-pip-version-check --quiet)
	build/package/fresh/bin/python -m pip --disable-pip-version-check install --quiet "$$(echo dist/*.whl)[opencv,plots,bags]"
	cd build/package && fresh/bin/neumap demo

docs: $(READY) ## the documentation as a site, in build/site; what is wrong with it, such as a dead link, is an error (Python 3.11 on)
	$(PIP) install --quiet -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(READY) ## make the virtual environment, with the development tools

clean: ## remove the virtual environment, builds and caches
	rm -rf $(VENV) .ros build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(USABLE): pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: '$(PYTHON)' was not found: sudo apt install python3-venv, or name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: Python >= 3.10 is needed and '$(PYTHON)' is older: name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot make virtual environments: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@$(call install_torch,$(PIP))
	@echo "installing neumap"
	@$(PIP) install --quiet --editable '.[all]'
	@touch $@

# the development tools, and every package in the version that the tests are known to pass with
$(READY): $(USABLE) requirements-dev.txt
	@echo "installing requirements-dev.txt"
	@$(PIP) install --quiet -r requirements-dev.txt
	@touch $@
