# Gander. `make` alone prints this list.
# Where a target needs something from the system, deploy/prepare.sh installs it (and asks first when a person is there).

PYTHON ?= python3
VENV ?= .venv
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gander
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
STAMP_TRAINING := $(VENV)/.setup-training
export GANDER_CACHE := $(CACHE)

help: ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: $(STAMP) ## create .venv with gander and the test tools

$(STAMP): requirements.txt pyproject.toml deploy/prepare.sh
	sh deploy/prepare.sh $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable '.[test,desk]'
	touch $@

setup-training: $(STAMP_TRAINING) ## add TensorFlow, for making models

$(STAMP_TRAINING): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable '.[test,desk,training,mlflow]'
	touch $@

run: $(STAMP) ## watch the rendered yard: no camera, broker or GPIO needed (stop with Ctrl-C)
	$(BIN)/gander run --set policy.initial_mode=armed $(ARGS)

test: $(STAMP_TRAINING) ## check, then the whole suite (under 10 minutes)
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal $(ARGS)

check: $(STAMP_TRAINING) ## format, lint, types, layers
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_text.py

format: $(STAMP) ## let ruff put the code into its one form
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

lab: $(STAMP_TRAINING) ## the heavy tests with real neighbours (minutes; caches outside the checkout); ARGS='-k test_install -s'
ifdef ARGS
	$(BIN)/python -m pytest -m lab --timeout 1800 $(ARGS)
else
	$(BIN)/python -m pytest -m 'lab and not alone' --timeout 1800 --durations 15 --numprocesses 2 --dist loadfile \
	    --no-loadscope-reorder
	$(BIN)/python -m pytest -m 'lab and alone' --timeout 1800 --durations 15
endif

bench: $(STAMP) ## measure: motion, models, pipeline
	$(BIN)/gander bench motion
	$(BIN)/gander bench models
	$(BIN)/gander bench pipeline

starter: $(STAMP_TRAINING) ## make the starter bundle anew from rendered scenes (with a fresh key pair)
	$(BIN)/python -m training.starter

picture: $(STAMP) ## make the README's picture of `make run` anew
	$(BIN)/gander run --set policy.initial_mode=armed --state $$(mktemp -d) --for 24 --picture .github/run.svg

clean: ## remove what was built; state and pictures are elsewhere and stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup setup-training run test check format lab bench starter picture clean
.DEFAULT_GOAL := help
