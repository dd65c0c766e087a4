# make repro   set up .venv, then run the graph; GPU=1 with CUDA's libraries for TensorFlow
# make test    set up .venv, then run the tests; ARGS="-k splits" for some
# make check-photos PHOTOS=folder LABELS=file   before dvc add: what is unsafe, what is unusable?
# make report  all figures and pictures on one page: report.html; BASE=main compares with main
# make pr-report BASE=main   what this branch changes, as Markdown for a pull request
# make serve   a web page that names the cars of photos: http://localhost:8000
# make train-distributed   train again, as two processes (PROCESSES=2) that share each batch
# make bench   measure side by side; NAME="reading workers" for some
# make bench-check   measure again: which ratio fell by more than a fifth, or below its bar?
# make image-steps   as root: what Dockerfile says, done without Docker; IMAGE=Dockerfile.gpu for that
# make lint    ruff, formatting included; make format mends what it can
# make lock    pin what requirements*.in ask for; UPGRADE=--upgrade takes the newest versions
#
# Works from any folder (make -C, make -f) and again on top of itself.

TARGETS := repro test report pr-report check-photos serve train-distributed bench bench-check \
	image-steps lint format lock help
.PHONY: $(TARGETS) renewed
.DEFAULT_GOAL := help

# Else make expands what its command line gives, and runs what a name such as main$(shell …) asks for.
$(foreach name,BASE PHOTOS LABELS,$(if $(filter command,$(firstword $(origin $(name)))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))

ROOT := $(shell cd "$$(dirname "$(strip $(MAKEFILE_LIST))")" && pwd -P)
ifneq ($(ROOT),$(CURDIR))
check-photos: export CALLED_FROM := $(CURDIR)
$(TARGETS):
	@$(MAKE) --no-print-directory -C "$(ROOT)" $@
else

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

# After the folder was moved, or Python upgraded, the shell would take programs from elsewhere.
WHERE := import os, sys; print(os.path.realpath(sys.prefix), *sys.version_info[:2])
STAMP := $(shell cat .venv/ready 2>/dev/null)
ifneq ($(STAMP),$(shell .venv/bin/python -c '$(WHERE)' 2>/dev/null || echo gone))
.venv/ready: renewed
STAMP_OF_ANOTHER := $(STAMP)
else ifneq ($(filter command,$(firstword $(origin PYTHON))),)
ifneq ($(lastword $(STAMP)),$(lastword $(shell $(PYTHON) -c '$(WHERE)')))
.venv/ready: renewed
STAMP_OF_ANOTHER := $(STAMP)
endif
endif
renewed:

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

repro: .venv/ready $(if $(filter-out 0 no,$(GPU)),.venv/ready-gpu)
	$(IN_VENV) python src/check.py
	$(IN_VENV) dvc repro

# Make hands PHOTOS and LABELS on in the environment, so that no name is ever read as a command.
check-photos: .venv/ready
	@test -n "$$PHOTOS" || { echo "error: make check-photos PHOTOS=folder LABELS=file" >&2; exit 1; }
	@$(IN_VENV) python src/check_photos.py "$$PHOTOS" $${LABELS:+"$$LABELS"}

test: .venv/ready-dev
	$(IN_VENV) python -m pytest $(ARGS)

report: .venv/ready
	@$(IN_VENV) python src/report.py $(if $(filter-out undefined file,$(origin BASE)),--base "$$BASE")

export BASE ?= main
pr-report: .venv/ready
	@$(IN_VENV) python src/pr_report.py "$$BASE"

serve: .venv/ready
	$(IN_VENV) python src/serve.py $(ARGS)

PROCESSES := 2
train-distributed: .venv/ready-jax
	$(IN_VENV) python src/train_distributed.py --processes $(PROCESSES)

lint: .venv/ready-dev
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .

format: .venv/ready-dev
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .

NAME :=
bench: .venv/ready-dev
	$(IN_VENV) python benchmarks/run.py $(NAME)

bench-check: .venv/ready-dev
	$(IN_VENV) python benchmarks/run.py --check $(NAME)

image-steps:
	@$(or $(PYTHON),python3) tests/image_steps.py "$${IMAGE:-Dockerfile}"

UPGRADE :=
lock: .venv/ready-dev
	for name in requirements $(EXTRAS) requirements-dev; do $(IN_VENV) uv pip compile --quiet \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		$(UPGRADE) $$name.in -o $$name.txt || exit; done

EXTRAS := requirements-dask requirements-gpu requirements-jax requirements-ray requirements-s3
INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r

# What was put into .venv by hand stays, unless another Python made it, it was made in another place, or
# an installation into a new one broke off. (A Python that was upgraded finds no pip there; uv puts none in.)
CLEAR = $(if $(STAMP_OF_ANOTHER),--clear,$(shell { \
	.venv/bin/python -c '$(SUPPORTED)' && \
	{ .venv/bin/python -c 'import pip' || grep -q '^uv = ' .venv/pyvenv.cfg; } && \
	[ "$$(. .venv/bin/activate && echo "$$VIRTUAL_ENV")" -ef .venv ]; } >/dev/null 2>&1 || echo --clear))

# The stamps are written last, so an installation that broke off is made anew. Make would delete a stamp after Ctrl-C.
.PRECIOUS: .venv/ready
.venv/ready: requirements.txt
	@test -n "$(PYTHON)" || { \
		echo "error: no Python 3.11, 3.12 or 3.13 found; give one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { \
		echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@test ! -L .venv || { \
		echo "error: .venv is a link to $$(readlink .venv), which would be $(if $(CLEAR),emptied,changed); remove the link" >&2; exit 1; }
	$(if $(CLEAR),$(PYTHON) -m venv --clear .venv && echo unfinished > $@)
	@.venv/bin/python -c 'import pip' 2>/dev/null || .venv/bin/python -m ensurepip >/dev/null
	$(INSTALL) requirements.txt
	@.venv/bin/python -c '$(WHERE)' > $@

# Of each requirements-NAME.txt: make .venv/ready-NAME.
.venv/ready-%: .venv/ready requirements-%.txt
	$(INSTALL) requirements-$*.txt
	@touch $@

endif
