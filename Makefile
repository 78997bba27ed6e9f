# make demo, make test: each sets itself up on the first call.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo compare benchmark benchmark-quick sbom test soak lint screenshots setup clean

help:
	@echo "make demo   scan a real chest CT, then the same with simulated emphysema; results in demo-output/"
	@echo "make compare  train every model of the paper's Table 1, small, on simulated cases, half an hour; in build/compare/table/"
	@echo "make benchmark  time and memory beside what others would use, on a quiet machine; writes docs/performance.md"
	@echo "make benchmark-quick  in three minutes: how times compare with those of docs/performance.json"
	@echo "make sbom   what the virtual environment holds, as CycloneDX; in build/sbom.json"
	@echo "make test   style, types and tests"
	@echo "make soak   the long tests: thousands of damaged files, kills and scans; see docs/reliability.md"
	@echo "make lint   style and types only"
	@echo "make screenshots  pictures of the window's panel in each state, light and dark; in build/screenshots/"
	@echo "make setup  the virtual environment in .venv; the others call it"
	@echo "make clean  remove demo-output/ and caches (keeps .venv)"

demo:
	@echo "Scanning a real chest CT (LIDC-IDRI-0001), then the same anatomy with simulated emphysema, into demo-output/ (the first call sets up .venv, a few minutes)."
	@$(MAKE) -s --no-print-directory setup
	@$(VENV)/bin/emphysema-scanner demo --out demo-output

compare: $(READY)
	scripts/compare.sh build/compare

benchmark: build/peers/.ready
	$(VENV)/bin/python benchmarks

benchmark-quick: $(READY)
	$(VENV)/bin/python benchmarks --amount quick

build/peers/.ready: benchmarks/requirements.txt $(READY)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --upgrade --target build/peers -r benchmarks/requirements.txt
	@touch $@

# The first call installs the tool; the list itself is made of what is installed, without a network.
sbom: build/sbom-tools/.ready
	PYTHONPATH=build/sbom-tools $(VENV)/bin/python -m cyclonedx_py environment --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file build/sbom.json $(VENV)

build/sbom-tools/.ready: requirements-sbom.txt $(READY)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --upgrade --target build/sbom-tools -r requirements-sbom.txt
	@touch $@

test: lint
	$(VENV)/bin/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

soak: $(READY)
	$(VENV)/bin/pytest -m soak -s

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

screenshots: $(READY)
	PYTHONPATH=Testing:EmphysemaScanner $(VENV)/bin/python -m window.harness.screenshots build/screenshots

setup: $(READY)

$(READY): requirements-dev.txt requirements-data.txt requirements-testdata.txt pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) scripts/setup.sh $(VENV)
	@touch $@

clean:
	rm -rf demo-output build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
