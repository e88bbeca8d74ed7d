# make demo: see obverse work.   make test: check it.   Needs only Python 3.11 to 3.13 with pip and venv, and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test clean

demo: $(VENV)/installed
	$(RUN) -m obverse demo --out demo

test: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first and alone: a plain newest torch brings gigabytes of CUDA packages on some machines
$(VENV)/torch: constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/torch
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache
