# make run: the whole system with a sample alliance.  make test: all tests that need no Debian package.
PYTHON ?= python3
PYTEST = -q -p no:cacheprovider
CORE = .venv-core/bin/python
FULL = .venv/bin/python

.PHONY: agent run install dev lint test test-core test-airflow peers test-all prove lock clean help

help:
	@echo "make run [STUDIES=FOLDER]   start everything with a sample alliance; Ctrl-C ends it"
	@echo "make test                   lint, types and all tests that need no Debian package"
	@echo "make test-all               the rest: installs PostgreSQL, Chromium, Orthanc, dcmtk and tests against them"
	@echo "make prove                  the long counts; goes on where it was stopped"
	@echo "make agent [FOR=TARGETS]    build/teleread-agent.pyz, the clinic's agent as one file"
	@echo "make install                only make the environment that make run uses"

install:
	@$(PYTHON) deploy/install.py .venv requirements-airflow.lock

# the core in an environment of its own, without Airflow; and the development tools beside Airflow
dev: install
	@$(PYTHON) deploy/install.py .venv-core requirements.lock requirements-dev.lock
	@$(FULL) deploy/install.py .venv requirements-airflow.lock requirements-dev.lock

run: install
	@exec .venv/bin/teleread up $(if $(STUDIES),--studies "$(STUDIES)")

lint: dev
	$(CORE) -m ruff check .
	$(CORE) -m ruff format --check .
	.venv-core/bin/lint-imports
	$(CORE) -m mypy

test: lint test-core test-airflow

test-core: dev
	$(CORE) -m pytest $(PYTEST) -n 2 -m "not peers and not airflow" tests

test-airflow: dev
	$(FULL) -m pytest $(PYTEST) -m "airflow and not peers" tests/airflow

peers:
	@sh deploy/install-peers.sh

test-all: dev peers
	$(CORE) -m pytest $(PYTEST) -n 2 --dist loadfile -m "peers and not airflow" tests
	$(FULL) -m pytest $(PYTEST) -m "peers and airflow" tests

prove: dev
	$(CORE) -m tests.prove

agent:
	@$(PYTHON) deploy/make_agent.py $(FOR)

lock:
	@sh deploy/lock.sh

clean:
	rm -rf .venv .venv-core build *.egg-info
