# Everything on a machine without ROS. Each target brings up what it needs and does nothing twice.
# On a robot this file is not used: there it is `rosdep install` and `colcon build`, see README.md.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# What a sourced ROS or another virtual environment left behind would be found before our own.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONHOME PYTHONPATH \
	RMW_IMPLEMENTATION ROS_DISTRO VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE

export OMP_WAIT_POLICY ?= passive
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

PYTHON3 := .venv/bin/python
WITH_ROS := . .ws/install/setup.bash && export PYTHONPATH="$(CURDIR):$$PYTHONPATH" &&

# Arguments of pytest, as in `make test ARGS="test/radar -k heatmap"`.
ARGS ?=

.PHONY: help setup build demo test test-slow lint audit format docs pictures fuzz bench clean distclean
.PHONY: campaign campaign-page

help:
	@echo 'make setup      create .venv with ROS 2, torch and the rest (PYTHON=... chooses the Python)'
	@echo 'make build      build messages and programs with colcon, in .ws'
	@echo 'make demo       emulated radars to a live skeleton; pictures and numbers in demo_out'
	@echo 'make test       run the tests, those of the running nodes too (ARGS="test/radar -x")'
	@echo 'make test-slow  run the tests that take long'
	@echo 'make fuzz       search the parsers for faults (ARGS="calibration uart --seconds 60")'
	@echo 'make lint       ruff, mypy, bandit, codespell, the documentation'
	@echo 'make audit      known weaknesses of what is pinned, as far as a service can be asked'
	@echo 'make format     let ruff format the sources'
	@echo 'make docs       the documentation as a site, in out/site/index.html'
	@echo 'make pictures   draw docs/view_*.png: records emulated graphs, needs Chromium'
	@echo 'make bench      time the parts against named peers; numbers in out/bench.json'
	@echo 'make campaign   try every fault at its whole volume, for hours (ARGS="W1 R2 --seed 7" chooses)'
	@echo 'make clean      remove the build; make distclean removes .venv too'

# Setup ------------------------------------------------------------------------------------------

setup: .venv/.ready

.venv/.created:
	@python=$$(sh underlay/check_machine.sh) && $$python -m venv .venv
	@touch $@

.venv/.requirements: requirements.txt .venv/.created
	@echo 'Installing ROS 2, torch and the rest into .venv: some minutes, the first time'
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

.venv/.ready: .venv/.requirements underlay/prepare.py radar_pose_ros/environment.py setup.py package.xml
	@$(PYTHON3) underlay/prepare.py
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Build ------------------------------------------------------------------------------------------

# The build links to the sources: only a message, a build file or a new or removed file wants another.
SOURCE_FOLDERS := $(shell find radar_pose_ros config launch rviz weights -type d -not -name __pycache__)
BUILD_INPUTS := CMakeLists.txt package.xml $(wildcard cmake/*) $(wildcard msg/*.msg) msg $(wildcard src/*) \
	$(shell find underlay/tf2_msgs -type f)

build: .ws/.built

.ws/.built: .venv/.ready $(BUILD_INPUTS) $(SOURCE_FOLDERS)
	@mkdir -p .ws/src
	@ln -sfn ../.. .ws/src/radar_pose_ros
	@ln -sfn ../../underlay/tf2_msgs .ws/src/tf2_msgs
	@. .venv/setup.bash && cd .ws && colcon build --symlink-install
	@touch $@

# Use --------------------------------------------------------------------------------------------

demo: build
	@.venv/bin/radar-pose demo --seconds 20 --out demo_out

test: build
	@$(WITH_ROS) python -m pytest -m "not slow" $(ARGS)

test-slow: build
	@$(WITH_ROS) python -m pytest -m slow $(ARGS)

# Only what fuzzing needs beyond the tests; where there is no wheel of it, `fuzz` says so.
.venv/.fuzz: test/fuzz/requirements.txt .venv/.ready
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

fuzz: .venv/.fuzz
	@PYTHONPATH=.:test nice $(PYTHON3) -m fuzz.run $(ARGS)

bench: build
	@mkdir -p out
	@.venv/bin/radar-pose bench all --json out/bench.json

# The rows of faults import each other from test/.
campaign: build
	@$(WITH_ROS) PYTHONPATH="$(CURDIR)/test:$$PYTHONPATH" python -m faults.campaign $(ARGS)

campaign-page: build
	@$(WITH_ROS) PYTHONPATH="$(CURDIR)/test:$$PYTHONPATH" python -m faults.campaign --page

lint: .venv/.ready docs
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml .
	@.venv/bin/codespell

audit: .venv/.requirements
	@$(PYTHON3) underlay/audit.py

format: .venv/.ready
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: .venv/.ready
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo 'out/site/index.html'

pictures: build
	@.venv/bin/python docs/view_pictures.py

clean:
	@rm -rf .ws build install log .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	@rm -rf .venv *.egg-info
