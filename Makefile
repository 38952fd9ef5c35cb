# Everything runs in .venv, which the first target makes. Another Python: make PYTHON=python3.13 test
# torch is the large download. For a build without CUDA, install torch into .venv first
# (see pytorch.org); pip then keeps it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests.
JOBS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-all coverage test-matrix mutants lint stale format docs wheel guards paper clean

help:
	@echo "make demo    fit handwritten digits, and draw their codes beside those of PCA"
	@echo "make test    run the tests that are not slow, doctests included"
	@echo "make test-all  run the whole test suite, with the long claims about quality"
	@echo "make coverage  run the whole suite and measure what it covers, which takes longer"
	@echo "make test-matrix  run the tests of the core with the oldest and newest versions of what it needs"
	@echo "make mutants  change the arithmetic in many small ways, and count what the tests notice"
	@echo "make lint    run the linters"
	@echo "make stale   list results that were measured with other code than today's"
	@echo "make format  let ruff rewrite what it can"
	@echo "make docs    build the documentation into docs/_build/html"
	@echo "make wheel   build what is released, and run its examples where nothing else is installed"
	@echo "make guards  measure the ratios of speed that asv follows from commit to commit"
	@echo "make paper   run the experiments of the paper again, in their quick size"
	@echo "make clean   remove what was built, and .venv"

demo: $(VENV)/.stamp-demo
	$(BIN)/python -m benchmarks demo

# A thread for each process: theirs are better used by another test.
test: $(VENV)/.stamp-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

test-all: $(VENV)/.stamp-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

coverage: $(VENV)/.stamp-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov

test-matrix: $(VENV)/.stamp-matrix
	$(BIN)/nox

# Hours on two cores. What is done already is kept in the folder mutants, and not done again.
mutants: $(VENV)/.stamp-mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(JOBS)
	$(BIN)/python -m benchmarks mutants

lint: $(VENV)/.stamp-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/numpydoc lint $$(find skvaeense -name '*.py' | sort)
	$(BIN)/bandit -q -c pyproject.toml -r skvaeense
	$(BIN)/python .ci/audit.py

# Results that were measured with other code than today's.
stale: $(VENV)/.stamp-test
	$(BIN)/python -m benchmarks stale

format: $(VENV)/.stamp-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of the API reference are made anew: one left over from a removed name is a warning.
# So are the pictures of the paper's experiments: their code stays as it is where their numbers change.
# Then every link inside the site is followed, and the examples of the guide and of README.md run.
docs: $(VENV)/.stamp-docs
	rm -rf docs/generated docs/auto_examples/plot_*_paper_*.md5
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check.py docs/_build/html
	$(BIN)/python -m pytest -q --doctest-glob='*.rst' docs/user_guide

# Its environment is new each time and lies outside of the checkout, whose modules and configuration
# would be taken else. The tests of the archive are collected from the archive alone.
wheel: $(VENV)/.stamp-release $(VENV)/.stamp-test
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	set -e; folder=$$(mktemp -d); trap 'rm -rf $$folder' EXIT; wheel=$$(ls $$PWD/dist/*.whl); \
		tar -xzf dist/*.tar.gz -C $$folder; python=$$PWD/$(BIN)/python; \
		(cd $$folder/skvaeense-* && $$python -m pytest -q --collect-only > /dev/null); \
		$(PYTHON) -m venv $$folder; \
		$$folder/bin/python -m pip install "$$wheel[plot,progress,pandas]" pytest; \
		cd $$folder; MPLBACKEND=agg bin/python -m pytest -q -W error --doctest-modules --pyargs skvaeense \
			-o doctest_optionflags="ELLIPSIS NORMALIZE_WHITESPACE NUMBER"

# One thread, as in the committed results; they are kept under build/asv, a file for each commit.
guards: $(VENV)/.stamp-guards
	$(BIN)/asv machine --yes
	cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/asv run --config asv.conf.json \
		--environment existing:../$(BIN)/python --set-commit-hash $$(git rev-parse HEAD)

# Digits come from the folder that SKVAEENSE_DATA names, or else from OpenML.
paper: $(VENV)/.stamp-demo
	set -e; for name in subspaces unions spheres few_latents convergence minima mnist; do \
		$(BIN)/python -m benchmarks paper.$$name --quick; done

clean:
	rm -rf $(VENV) .nox mutants build dist *.egg-info htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache
	rm -rf .import_linter_cache docs/_build docs/generated docs/generated_tables docs/auto_examples docs/sg_execution_times.rst
	find skvaeense tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} +

# pip is the last thing that venv installs, so it stands for the whole environment.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
		"skvaeense needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
		"; name another one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# One stamp for each extra: installed once, and again when pyproject.toml changes.
$(VENV)/.stamp-%: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install -e ".[$*]"
	@touch $@
