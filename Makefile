# Each target sets itself up in .venv first, and again whenever a requirements file changes.
#   make lab        JupyterLab at the first lesson            LAB_ARGS="--no-browser --port 9999"
#   make test       every test, notebooks included            TEST_ARGS="-k layers -n0"
#   make test-lessons   Run All with another seed, of the lessons that changed
#   make notebooks  execute the lessons that changed          ONLY="resnet densenet"
#   make seeds      run the lessons with four other seeds     ONLY="resnet"
#   make study-densenet   the long experiment behind a lesson's table; goes on where it stopped
#   make book       the site, in site/
PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: lab test test-lessons notebooks seeds book
.DELETE_ON_ERROR:

# Figures are scripts, and JupyterLab runs the scripts of trusted notebooks only.
lab: .venv/lab.stamp
	$(BIN)/jupyter trust notebooks/*.ipynb
	$(BIN)/jupyter lab $(LAB_ARGS) notebooks/resnet.ipynb

test: .venv/test.stamp
	$(BIN)/python -m pytest $(TEST_ARGS)

test-lessons: .venv/test.stamp
	$(BIN)/python -m pytest -m lessons --dist load tests/browser/test_lab.py $(TEST_ARGS)

notebooks: .venv/test.stamp
	$(BIN)/python -m kit.notebooks $(ONLY)

seeds: .venv/test.stamp
	set -e; for seed in 1 2 3 4; do LESSON_SEED=$$seed $(BIN)/python -m kit.notebooks $(ONLY); done

study-%: .venv/lab.stamp
	$(BIN)/python -m kit.study $*

# mdBook starts `python -m kit.book` by name, so .venv comes first on the path.
book: .venv/test.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" mdbook build

# Installing the project copies its JupyterLab defaults into .venv, so these are prerequisites too.
.venv/lab.stamp: requirements.txt pyproject.toml jupyterlab-settings.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, '$(PYTHON)' is not: make $(or $(MAKECMDGOALS),lab) PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

.venv/test.stamp: .venv/lab.stamp tests/requirements.txt
	$(BIN)/python -m pip install -r tests/requirements.txt
	$(BIN)/python -m pip install --no-deps pytorchcv==0.0.74
	touch $@
