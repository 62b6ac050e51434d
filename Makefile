# `make demo` and `make test` are all that a fresh machine needs: Python 3.11 or later, make, and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiling is most of what the tests do, each on one core. A file's tests share what they compiled, and the
# full-size networks take gigabytes a process. Files keep their order: by default those of one long test come last. A
# process that crashes ends the run, which would wait for its tests for ever.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
    --max-worker-restart=0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo studio test fast test-oldest lint docs notebooks dist bench train-default format clean

demo: $(VENV)/core.stamp
	$(BIN)/ranet-jax segment ranet_jax/demo/bunny.mp4 --mask ranet_jax/demo/bunny_mask.png \
	    --out demo-output/masks --overlay demo-output/overlay.mp4 --preview demo-output/preview.png --overwrite
	@echo "look at demo-output/overlay.mp4 and demo-output/preview.png; your own video, with the mask of its first frame:"
	@echo "    $(BIN)/ranet-jax segment video.mp4 --mask first.png --out masks --overlay overlay.mp4"

studio: $(VENV)/studio.stamp
	$(BIN)/ranet-jax studio ranet_jax/demo/bunny.mp4 --out demo-output/studio

test: $(VENV)/dev.stamp
	$(PYTEST)

fast: $(VENV)/dev.stamp
	$(PYTEST) -m "not slow"

# The fast tests with the oldest versions that pyproject.toml allows, for the oldest Python: once a release.
OLDEST := .venv-oldest
test-oldest:
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct -e '.[train,studio,dev]'
	$(OLDEST)/bin/python -m pytest -m "not slow" --numprocesses=auto --maxprocesses=4 --dist=loadfile

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages, into site/. Material tells at every build when its own maintenance ends; that is nothing about the pages.
docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html, or: $(BIN)/python -m mkdocs serve"

notebooks: $(VENV)/dev.stamp $(VENV)/docs.stamp
	$(BIN)/python -m nbconvert --execute --to notebook --inplace docs/notebooks/*.ipynb

# What would be published, checked; the wheel segments its own clip in an environment that has nothing else.
dist: $(VENV)/dev.stamp
	rm -rf dist build
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/clean
	build/clean/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build/clean && clip=$$(bin/python -c 'import pathlib, ranet_jax; print(pathlib.Path(ranet_jax.__file__).parent / "demo")') \
	    && bin/ranet-jax segment $$clip/bunny.mp4 --mask $$clip/bunny_mask.png --end 5 --out masks --overwrite

bench: $(VENV)/dev.stamp
	$(BIN)/python -m eval.benchmarks --model released --objects 1,5
	$(BIN)/python -m eval.benchmarks --model lite --objects 1,5,10
	$(BIN)/python -m eval.benchmarks --model lite --video --start-up
	$(BIN)/python -m eval.benchmarks --model released --roofline --lockstep
	$(BIN)/python -m eval.benchmarks --model lite --roofline
	$(BIN)/python -m eval.benchmarks --train --recipes ranet_lite_davis16 --objects 1,3 --repeats 3

# Weights like `lite`, from the data (docs/datasets.md) and EfficientNet-Lite0's ImageNet weights; goes on where it was interrupted.
DATA ?= data
ENCODER ?= efficientnet-lite0-57934424.pth
train-default: $(VENV)/dev.stamp
	$(BIN)/ranet-jax train ranet_lite_davis16 --workdir runs/lite --config.data.root=$(DATA) \
	    --config.backbone_checkpoint=$(ENCODER) --config.loop.steps=5830
	$(BIN)/ranet-jax train ranet_lite_photographs --workdir runs/lite-photographs --config.data.root=$(DATA) \
	    --config.initial_checkpoint=runs/lite/inference
	$(BIN)/ranet-jax train ranet_lite_look_alikes --workdir runs/lite-look-alikes --config.data.root=$(DATA) \
	    --config.initial_checkpoint=runs/lite-photographs/inference

clean:
	rm -rf $(VENV) $(OLDEST) build dist site demo-output

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ranet-jax needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: $(BIN)/python pyproject.toml
	$(PIP) -e .
	touch $@

$(VENV)/studio.stamp: $(VENV)/core.stamp
	$(PIP) -e '.[studio]'
	touch $@

$(VENV)/docs.stamp: $(VENV)/core.stamp
	$(PIP) -e '.[docs]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	$(PIP) -e '.[train,studio,dev]'
	touch $@
