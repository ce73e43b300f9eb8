# Everything that is done with this repository, one line each. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV := $(or $(shell command -v uv 2>/dev/null),.local/uv/bin/uv)
PYTHON := .venv/bin/python
READY := .venv/.installed

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(READY) ## make .venv from uv.lock (fetches uv from PyPI if it is missing)

$(READY): pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --all-extras --compile-bytecode
	@touch $@

.local/uv/bin/uv:
	@bash deploy/local/get_uv.sh .local/uv

.PHONY: demo
demo: $(READY) ## start everything, play one VM's life over HTTP, verify the audit, stop everything
	@$(PYTHON) -m deploy.local.demo

.PHONY: up
up: $(READY) ## start everything and stay; prints the address, a key and three curl lines
	@$(PYTHON) -m deploy.local.up

.PHONY: down
down: $(READY) ## end what `make up` started
	@$(PYTHON) -m deploy.local.down

.PHONY: test
test: $(READY) ## all but the slow tests; the header says on which broker, database and cloud
	$(PYTHON) -m pytest -m "not slow" $(ARGS)

.PHONY: test-slow
test-slow: $(READY) ## whole stacks: services killed, Kafka, Postgres and the cloud gone, journeys, traces
	$(PYTHON) -m pytest -m slow $(ARGS)

.PHONY: test-embedded
test-embedded: $(READY) ## the tests that need a broker, on the embedded one
	HOSTLER_LOCAL_BROKER=embedded $(PYTHON) -m pytest -m "broker and not slow" $(ARGS)

.PHONY: conformance
conformance: $(READY) ## the drivers' suite on OS_CLOUD=… (OS_CLIENT_CONFIG_FILE=…), else on the simulator
	$(PYTHON) -m pytest tests/conformance $(ARGS)

.PHONY: chaos
chaos: $(READY) ## everything goes wrong at once by SEED=n for MINUTES=m (3), two of every service; then the books
	@SEED=$(SEED) MINUTES=$(MINUTES) $(PYTHON) -m tests.faults.chaos

.PHONY: property
property: $(READY) ## any sequence of commands, kills and losses, in memory; EXAMPLES=n STEPS=m look longer
	$(if $(EXAMPLES),HOSTLER_PROPERTY_EXAMPLES=$(EXAMPLES)) $(if $(STEPS),HOSTLER_PROPERTY_STEPS=$(STEPS)) \
		$(PYTHON) -m pytest tests/property $(ARGS)

.PHONY: bench
bench: $(READY) ## measure everything beside its floor; ROWS="accept reads" some of it, QUICK=1 smaller, MINUTES=60 of memory
	PYTHONPATH=clients/python $(PYTHON) -m bench $(ROWS) $(if $(QUICK),--quick) $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: rebuild
rebuild: $(READY) ## tell the gateway's read model anew, while it serves: FROM=kafka|audit, DRY=1 only counts
	@$(PYTHON) -m services.gateway.rebuild --from $(or $(FROM),kafka) $(if $(DRY),--dry-run)

.PHONY: sealing-key
sealing-key: $(READY) ## make a pair of keys by which user_data reaches the provisioner alone
	@$(PYTHON) -m chassis.sealing

.PHONY: rewrap
rewrap: $(READY) ## seal what open operations hold to the first of HOSTLER_SEALING_KEYS, while services run
	@$(PYTHON) -m services.provisioner.rewrap

.PHONY: lint
lint: $(READY) ## ruff: rules and format
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

.PHONY: types
types: $(READY) ## pyright, strict
	$(PYTHON) -m pyright

.PHONY: imports
imports: $(READY) ## imports run one way (.importlinter)
	.venv/bin/lint-imports

.PHONY: generated
generated: $(READY) ## files made from the contracts are current
	$(PYTHON) -m deploy.generate --check

.PHONY: generate
generate: $(READY) ## write the files made from contracts, routes and settings (MINOR=1: a type gained a field)
	$(PYTHON) -m deploy.generate $(if $(MINOR),--minor)

.PHONY: audit-deps
audit-deps: $(READY) ## known holes in what uv.lock pins; says so where no advisories can be had
	@UV=$(UV) $(PYTHON) -m deploy.supply_chain audit

.PHONY: licences
licences: $(READY) ## every distribution's licence against the list of those allowed
	@$(PYTHON) -m deploy.supply_chain licences

.PHONY: sbom
sbom: $(READY) ## what runs, as CycloneDX: .local/sbom.cdx.json
	@UV=$(UV) $(PYTHON) -m deploy.supply_chain sbom .local/sbom.cdx.json

.PHONY: fmt
fmt: $(READY) ## format, and fix what ruff can fix
	$(PYTHON) -m ruff format . && $(PYTHON) -m ruff check --fix .
