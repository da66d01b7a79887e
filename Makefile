# The two commands that a newcomer needs are `make demo` and `make test`. All is re-entrant: what is
# up to date is not made again.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCE := pyproject.toml meson.build meson.options $(shell find kernels src -type f -not -path '*/__pycache__/*')
# One build folder a machine, so that a changed line compiles one file and not fifty.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --config-settings=build-dir=build

.PHONY: demo test interop bench lint sanitize clean help

help:
	@echo 'make demo      train a small network into NaN, ask the doctor why, train it again'
	@echo 'make test      the whole test suite'
	@echo 'make interop   the tests beside torch, JAX, ONNX and autograd: over 1 GB of them'
	@echo 'make bench     the benchmark against the rivals (QUICK=1: a few minutes)'
	@echo 'make lint      ruff, mypy and the docstrings'
	@echo 'make sanitize  the C++ tests of the kernels under ASan, UBSan and TSan'
	@echo 'make clean     remove what was made'

# Say in one line what is missing, before pip or meson say it in a hundred.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) not found: install Python 3.11 or newer (Debian: apt install python3)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: Python lacks its venv module (Debian: apt install python3-venv)' >&2; exit 1; }
	@command -v c++ >/dev/null || { echo 'make: no C++ compiler (Debian: apt install g++)' >&2; exit 1; }
	@printf '%s\n' '#include <Python.h>' | c++ -E -x c++ -I"$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_paths()["include"])')" - >/dev/null 2>&1 || { echo 'make: the Python headers are missing (Debian: apt install python3-dev)' >&2; exit 1; }
	@echo 'Making $(VENV) ...'
	@$(PYTHON) -m venv $(VENV)

# The package with one set of extras; the stamp is newer than everything it was made from.
$(VENV)/.installed-%: $(SOURCE) | $(BIN)/python
	@echo 'Building stablesoftmax and installing it with what [$*] needs. The first time takes one to three'
	@echo 'minutes: each kernel is compiled for every instruction set, and kept in build/ ...'
	@$(INSTALL) '.[$*]'
	@touch $@

demo: $(VENV)/.installed-demo
	@echo '1. A network, with np.exp(x) / np.sum(np.exp(x)), under the doctor:'
	@$(BIN)/stablesoftmax run --report examples/digits.html examples/digits.py --textbook || test $$? -eq 1
	@echo; echo '2. The same network without and with the cure:'
	@$(BIN)/python -W ignore examples/digits.py

# Debian's chromium and chromium-driver, where they are there, open the doctor's page; else that test is skipped.
test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest $(PYTEST)

# The tests that `make test` skips without these libraries.
interop: $(VENV)/.installed-test $(VENV)/.installed-interop
	@$(BIN)/python -m pytest -m interop

bench: $(VENV)/.installed-bench
	@$(BIN)/python benchmarks/run.py

lint: $(VENV)/.installed-lint
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/numpydoc lint $(addprefix src/stablesoftmax/,errors.py threads.py training.py doctor/diagnosis.py doctor/auditing/__init__.py doctor/checking/__init__.py doctor/auditing/assertions.py $(addsuffix /__init__.py,_dispatch functions gradients information losses sampling segments sums testing))

# -Og: at -O3 a sanitized level takes four minutes to compile. Threads race at one level as at another.
SETUP := $(BIN)/meson setup --reconfigure -Dextension=false -Dkernel_tests=true -Dbuildtype=plain -Doptimization=g \
	-Db_lundef=false '-Dcpp_args=-g1 -fno-sanitize-recover=all'

sanitize: $(VENV)/.installed-lint
	@echo 'Kernel tests under AddressSanitizer and UndefinedBehaviorSanitizer ...'
	@$(SETUP) -Db_sanitize=address,undefined build/asan >/dev/null && $(BIN)/meson test -C build/asan --print-errorlogs
	@echo 'The pool under ThreadSanitizer ...'
	@$(SETUP) -Db_sanitize=thread -Dlevels=baseline build/tsan >/dev/null && $(BIN)/meson test -C build/tsan --print-errorlogs

clean:
	rm -rf $(VENV) build build-* dist
