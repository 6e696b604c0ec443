# From a fresh clone: `make demo` or `make test`; each sets up what it needs, once.
# Needs Python 3.11 or 3.12 with venv and headers, a C++ compiler, and PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip

# A sourced ROS, or a process of another environment with ROS wheels, must not leak in: its
# libraries and modules would win over those of .venv.
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport LD_LIBRARY_PATH
endif
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH

REQUIREMENTS := config/requirements.txt config/requirements-ros.txt config/requirements-test.txt
INTERFACES := $(wildcard occ_msgs/*.py occ_msgs/package.xml occ_msgs/*/*.msg occ_msgs/*/*.srv \
	occ_msgs/pip/*/package.xml occ_msgs/pip/*/*/*.msg)
TYPED := $(wildcard occ_perception/core occ_perception/geometry occ_perception/sync \
	occ_perception/weights occ_perception/runtime occ_perception/ros/params.py)

# The steps of the set-up work in one environment.
.NOTPARALLEL:
.PHONY: help setup demo test parity lint colcon bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(VENV)/.package $(VENV)/.interfaces  ## make .venv with everything in it

demo: setup  ## camera bag -> node -> voxels -> recorded bag and pictures
	$(BIN)/occ demo

test: setup  ## unit, node and small parity tests
	$(BIN)/python -m pytest -m "not heavy" --require-ros

parity: setup  ## full-size networks against the golden numbers
	$(BIN)/python -m pytest -m heavy --require-ros

lint: setup  ## ruff, mypy, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/codespell

bench: setup  ## speed and memory on this machine
	$(BIN)/occ bench

colcon:  ## build both packages as an installed ROS would, and look at what was installed
	PYTHON="$(PYTHON)" .ci/colcon

clean:  ## remove everything that make has made
	rm -rf $(VENV) build occ_msgs/build *.egg-info occ_msgs/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a step is done again only when what it was made from has changed.

$(VENV)/.created:
	@PYTHON="$(PYTHON)" .ci/check_machine
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.requirements: $(VENV)/.created $(REQUIREMENTS)
	$(PIP) install $(REQUIREMENTS:%=-r %)
	@touch $@

$(VENV)/.interfaces: $(VENV)/.requirements $(INTERFACES)
	$(PIP) install --no-build-isolation --no-deps --force-reinstall ./occ_msgs
	@rm -rf occ_msgs/build occ_msgs/*.egg-info
	@touch $@

# Editable: code is used where it lies, so only a change of the packaging asks for this again.
$(VENV)/.package: $(VENV)/.requirements setup.py package.xml
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@
