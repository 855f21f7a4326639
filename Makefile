# Everything is set up by the first target that needs it; `make help` lists the targets.
PYTHON ?= python3
# Optional extras to install, e.g. `make setup EXTRAS=gpu` (see pyproject.toml).
EXTRAS ?=
UV := .uv/bin/uv
VENV := .venv/.synced
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup run test check test-chaos lint bench-tokenizer bench-vocabulary bench-data bench-evaluation bench-training bench-peers clean docs check-prerequisites

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' | column -t -s '|'

run: $(VENV) ## run the whole pipeline on this machine, from raw text to a release
	@$(RUN) -m pipeline run

test: lint ## ruff, mypy and all tests
	$(RUN) -m pytest

check: lint ## ruff, mypy and the tests that need no pipeline run, no training run and no conversion
	$(RUN) -m pytest -m "not slow"

test-chaos: $(VENV) ## a changed byte in every file of a run, and 50 kills; prints tables
	@$(RUN) -m tests.chaos

lint: $(VENV) ## ruff, and mypy on pipeline/, components/ and modules/
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench-tokenizer: $(VENV) ## tokens per second in tf.data and in Transform, compared with other libraries
	@$(RUN) -m tests.benchmarks.tokenizer

bench-vocabulary: $(VENV) ## time to train a vocabulary on 50 MB, compared with HF tokenizers
	@$(RUN) -m tests.benchmarks.vocabulary

bench-data: $(VENV) bench-peers ## MB/s and peak memory from files to token ids at 10, 100 and 1,000 MB, compared with datatrove
	@$(RUN) -m tests.benchmarks.data

bench-evaluation: $(VENV) ## time of the Evaluator, compared with a bare forward pass over the same tokens
	@$(RUN) -m tests.benchmarks.evaluation

bench-training: $(VENV) bench-peers ## tokens per second of training, compared with Hugging Face's Trainer
	@$(RUN) -m tests.benchmarks.training

bench-peers: .peers/.installed ## install PyTorch, Hugging Face's Trainer and datatrove into .peers, for the benchmarks

.peers/.installed: tests/benchmarks/peers/requirements.txt | check-prerequisites
	@echo "installing PyTorch, transformers and datatrove into .peers (once) …"
	@$(PYTHON) -m venv .peers
	@.peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

docs: $(VENV) ## rewrite the tables of settings in the README.md files
	@$(RUN) -m pipeline.settings_tables

setup: $(VENV) ## install the locked packages into .venv

clean: ## remove the environments; keep the workspace
	rm -rf .venv .uv .peers

# Requested extras are installed even if the environment already exists.
ifneq ($(strip $(EXTRAS)),)
.PHONY: $(VENV)
endif

# Bytecode is compiled at once: TFX's imports take 12 s with it and up to a minute without.
$(VENV): uv.lock pyproject.toml | $(UV)
	@echo "installing the locked packages (once, a minute or two) …"
	@UV_PYTHON_DOWNLOADS=never $(UV) sync --frozen --quiet --compile-bytecode $(EXTRAS:%=--extra %) \
	  --python "$$(command -v $(PYTHON))"
	@touch $@

$(UV): | check-prerequisites
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv

# Prints one line per missing prerequisite, with its cure.
check-prerequisites:
	@command -v git >/dev/null || { echo "missing: git. Cure: apt-get install git" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || \
	  { echo "missing: $(PYTHON). Cure: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version), but 3.11 to 3.13 is needed. Cure: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "missing: Python's venv. Cure: apt-get install python3-venv" >&2; exit 1; }
