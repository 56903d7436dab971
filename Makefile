# Every target sets up what it needs: a .venv with the packages of requirements.txt.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --constraint constraints.txt

.PHONY: demo test lint bench evaluate evaluate-controls

demo: .venv/ready
	$(PY) run.py workflows/text_to_video.json

test: .venv/ready-dev
	$(PY) -m pytest

lint: .venv/ready-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright

bench: .venv/ready
	$(PY) benchmarks/attention.py
	$(PY) benchmarks/temporal.py
	$(PY) benchmarks/windows.py
	$(PY) benchmarks/controls.py

evaluate: .venv/ready
	$(PY) demo evaluate --seed $(or $(SEED),1)

evaluate-controls: .venv/ready
	$(PY) demo evaluate-controls --seed $(or $(SEED),1)

.venv/ready: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --requirement requirements.txt
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	$(PIP) --requirement requirements-dev.txt
	@touch $@
