# Each target sets itself up in .venv first, and again whenever a requirements file changes.
#   make lab        JupyterLab with your copies of the lessons   LAB_ARGS="--no-browser --port 9999"
#   make edit       JupyterLab with the originals, saved to notebooks/ and lessons/
#   make test       every test, notebooks included            TEST_ARGS="-k layers -n0"
#   make test-lessons   Run All with another seed, of the lessons that changed
#   make notebooks  execute the lessons that changed          ONLY="resnet densenet"
#   make seeds      run the lessons with ten seeds: the margin of every claim   ONLY="resnet"
#   make bench      time the models beside the libraries', and the figures in Chromium
#   make mutants    put bugs into the lessons, see which test notices   ONLY="resnet"
#   make study-densenet   the long experiment behind a lesson's table; goes on where it stopped
#   make book       the site, in site/
#   make slides     a deck for each lesson, in slides/         ONLY="resnet"
#   make assignments   a course for nbgrader, in course/       ONLY="resnet"
PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: lab edit test test-lessons notebooks seeds mutants bench book slides assignments asked-for
.DELETE_ON_ERROR:

lab: .venv/lab.stamp
	$(BIN)/python -m kit.lab $(LAB_ARGS)

edit: .venv/lab.stamp
	$(BIN)/python -m kit.lab --edit $(LAB_ARGS)

test: .venv/test.stamp
	$(BIN)/python -m pytest $(TEST_ARGS)

test-lessons: .venv/test.stamp
	$(BIN)/python -m pytest -m lessons --dist load tests/browser/test_lab.py $(TEST_ARGS)

notebooks: .venv/test.stamp
	$(BIN)/python -m kit.notebooks $(ONLY)

seeds: .venv/test.stamp
	$(BIN)/python -m proof.seeds $(ONLY)

bench: .venv/test.stamp
	$(BIN)/python -m proof.bench
	$(BIN)/python -m proof.widgets

mutants: .venv/test.stamp
	$(BIN)/python -m proof.mutants $(ONLY)

study-%: .venv/lab.stamp
	$(BIN)/python -m kit.study $*

# mdBook starts `python -m kit.book` by name, so .venv comes first on the path.
# It copies the wheel, as it does the notebooks, and the start page offers it.
book: .venv/test.stamp
	rm -f notebooks/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir notebooks .
	PATH="$(CURDIR)/$(BIN):$$PATH" mdbook build
	rm -f notebooks/*.whl

slides: .venv/test.stamp
	$(BIN)/python -m kit.slides $(ONLY)

assignments: .venv/test.stamp
	$(BIN)/python -m kit.assignments $(ONLY)

# A .venv of another Python than PYTHON=… asks for is not used in silence.
asked-for:
	@test "$(origin PYTHON)" = file || test ! -e .venv || \
	  test "`$(BIN)/python -V 2>&1`" = "`$(PYTHON) -V 2>&1`" || \
	  { echo ".venv has `$(BIN)/python -V 2>&1`, not '$(PYTHON)': remove the folder .venv first" >&2; exit 1; }

NO_BUILD := { echo "If there is no build of a package for this Python: tested are 3.11, 3.12 and 3.13, chosen by PYTHON=python3.12" >&2; exit 1; }

# Installing the project copies its JupyterLab defaults into .venv, so these are prerequisites too.
.venv/lab.stamp: requirements.txt pyproject.toml hatch_build.py jupyterlab-settings.json | asked-for
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, '$(PYTHON)' is not: make $(or $(MAKECMDGOALS),lab) PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt || $(NO_BUILD)
	touch $@

.venv/test.stamp: .venv/lab.stamp tests/requirements.txt
	$(BIN)/python -m pip install -r tests/requirements.txt || $(NO_BUILD)
	$(BIN)/python -m pip install --no-deps pytorchcv==0.0.74 sphinx-revealjs==3.2.1
	touch $@
