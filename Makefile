# Two commands: `make demo` and `make test`. Each first makes .venv; a second call installs nothing again.
# `make web EXPORT=runs/classifier/export` builds the page of web/ around an exported classifier; it needs Node alone.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PRECISION ?= int8

.PHONY: demo test test-slow lint web clean

demo: $(INSTALLED)
	@$(RUN) -m benchmarks.demo --output_dir=runs/demo

test: lint
	@$(RUN) -m pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: $(INSTALLED)
	@$(RUN) -m pytest -q -m slow

lint: $(INSTALLED)
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check .

web:
	@test -n "$(EXPORT)" || { echo "error: EXPORT is empty; call make web EXPORT=runs/classifier/export" >&2; exit 1; }
	@command -v npm > /dev/null || { echo "error: no npm found; install Node 20 or later" >&2; exit 1; }
	@$(MAKE) --no-print-directory web/node_modules/.package-lock.json
	@node web/build.mjs --export="$(EXPORT)" --precision="$(PRECISION)"

web/node_modules/.package-lock.json: web/package-lock.json
	@cd web && npm ci --loglevel=error --no-audit --no-fund

$(INSTALLED): setup.py
	@test -n "$(PYTHON)" || { echo "error: no python3.11 found; install Python 3.11, or call make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "error: $(PYTHON) is $$("$(PYTHON)" -V 2>&1), but Python 3.11 is needed; call make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into $(VENV) (once, a few minutes)"
	@"$(PYTHON)" -m venv $(VENV) || { echo "error: can't make $(VENV); on Debian: apt install python3-venv" >&2; exit 1; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[demo,test]' > $(VENV)/install.log 2>&1 || { \
	  tail -n 5 $(VENV)/install.log >&2; \
	  echo "error: installation failed; the whole log is $(VENV)/install.log" >&2; exit 1; }
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) runs build *.egg-info web/node_modules web/dist
