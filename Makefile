# `make run` starts Penstock, `make check test` checks it. POSIX make; needs Python 3.11 or newer.
PYTHON = .venv/bin/python
INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes
SCHEMA = $(PYTHON) manage.py spectacular --validate --fail-on-warn
AT_ONCE = -q -n auto --dist loadgroup
ARGS =

.PHONY: run test test-all check schema examples format bench kills faults faults-table outage fuzz sdks editor pictures lock clean

run: .venv/installed .env
	@exec $(PYTHON) manage.py up

# The tests that need no other service and kill nothing: some minutes on two cores.
test: .venv/installed-dev
	@echo "Runs for minutes; make test ARGS=tests/config runs a part."
	$(PYTHON) -m pytest -m "not kills and not end_to_end" $(AT_ONCE) $(ARGS)
	@echo "Left out: tests that start whole clusters, kill processes or send with other vendors'"
	@echo "SDKs (end_to_end, kills), and the database tests on PostgreSQL. make test-all runs all."

# Everything. Tests that kill processes run two at a time and with nothing beside them, because they
# measure how long a recovery takes.
test-all: .venv/installed-dev
	@url=`$(PYTHON) -m tests.support.services postgres` || exit 1; \
	if [ -n "$$url" ]; then \
		echo "Database tests on PostgreSQL:"; \
		DATABASE_URL="$$url" $(PYTHON) -m pytest --only-database $(AT_ONCE) || exit 1; \
		echo "All tests, on SQLite unless a test chooses:"; \
	fi; \
	$(PYTHON) -m pytest -m "not kills" $(AT_ONCE) && \
	$(PYTHON) -m pytest -m kills -q -n 2 --dist loadgroup

check: .venv/installed-dev .env
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/mypy
	$(PYTHON) manage.py makemigrations --check --dry-run
	$(PYTHON) manage.py check
	@mkdir -p var && $(SCHEMA) --file var/schema.yml && cmp -s schema.yml var/schema.yml || \
		{ echo "schema.yml is not current: make schema" >&2; exit 1; }

# The OpenAPI schema of the API, which is served at /v1/schema.
schema: .venv/installed-dev .env
	$(SCHEMA) --file schema.yml

# The examples in the schema: makes every call and writes down its request and response.
examples: .venv/installed-dev .env
	PENSTOCK_WRITE_EXAMPLES=1 $(PYTHON) -m pytest tests/integrations/api/test_every_call.py -q -k examples
	@$(MAKE) schema

format: .venv/installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/installed-dev .env
	$(PYTHON) benchmarks/run.py $(ARGS)

# Faults that kill the cluster, and replays, in full: rows 2, 3, 4 and 20, and tests/kills.
kills: .venv/installed-dev
	PENSTOCK_FAULTS=full PENSTOCK_REPLAYED=$${PENSTOCK_REPLAYED:-50000} \
		$(PYTHON) -m pytest tests/kills tests/faults -m kills -s \
		-k "freezes or replay or fault[2- or fault[3- or fault[4-" $(ARGS)

# The fault suite with all rounds, on both databases; takes hours. ARGS="-k 12a" runs one row.
# The results are appended to var/faults.jsonl; `make faults-table` writes them into the docs.
faults: .venv/installed-dev
	@url=`$(PYTHON) -m tests.support.services postgres` || exit 1; \
	if [ -n "$$url" ]; then \
		PENSTOCK_FAULTS=full DATABASE_URL="$$url" \
			$(PYTHON) -m pytest tests/faults --only-database -s $(ARGS); \
	fi; \
	PENSTOCK_FAULTS=full $(PYTHON) -m pytest tests/faults -s $(ARGS)

faults-table: .venv/installed-dev
	$(PYTHON) -m tests.faults.table

# Stops a PostgreSQL of its own for 30 s under load, and prints the figures.
outage: sdks
	PENSTOCK_OUTAGE=$${PENSTOCK_OUTAGE:-30} $(PYTHON) -m pytest tests/end_to_end/test_outage.py -s $(ARGS)

# 200,000 generated requests against the parser, with its memory; 20,000 posted; and 2,000 generated
# from the OpenAPI schema, 100 for each call of the API.
fuzz: .venv/installed-dev
	PENSTOCK_FUZZ_API=$${PENSTOCK_FUZZ_API:-100} $(PYTHON) -m pytest tests/integrations/api/test_openapi.py -k made_up $(ARGS)
	PENSTOCK_FUZZ=$${PENSTOCK_FUZZ:-200000} $(PYTHON) -m pytest tests/delivery/ingest/test_fuzz.py \
		tests/delivery/ingest/test_openapi.py -s $(ARGS)

# The vendors' SDKs that tests/end_to_end/test_sdks.py uses. Needs npm; installs into var/sdks. Not
# `npm ci`, because it fails where a registry lacks the optional packages of other platforms.
sdks: var/sdks/installed

var/sdks/installed: .venv/installed-dev tests/sdks/python.txt tests/sdks/analytics-python.txt tests/sdks/package-lock.json
	@rm -rf var/sdks && mkdir -p var/sdks
	@cp tests/sdks/package.json tests/sdks/package-lock.json var/sdks
	@npm install --prefix var/sdks --ignore-scripts --no-audit --no-fund --loglevel=error
	@for each in python analytics-python; do \
		.venv/bin/uv pip install --quiet --require-hashes --target var/sdks/$$each \
			-r tests/sdks/$$each.txt || exit 1; \
	done
	@touch $@

# Builds the code editor of the blueprint page from pinned packages. The result is committed, so
# that Penstock runs without npm. Not `npm ci`: see sdks.
CODEMIRROR = delivery/static/penstock/codemirror

editor:
	@mkdir -p var/editor && cp templates/codemirror/* var/editor
	@npm install --prefix var/editor --ignore-scripts --no-audit --no-fund --loglevel=error
	@cd var/editor && node_modules/.bin/esbuild entry.js --bundle --minify --format=iife \
		--global-name=CodeMirror --target=es2022 --charset=utf8 --log-level=warning \
		--metafile=packed.json --outfile=codemirror.js && node licences.mjs packed.json > licences.txt
	@cp var/editor/codemirror.js $(CODEMIRROR).js && cp var/editor/licences.txt $(CODEMIRROR).licences.txt

# Takes the pictures of the docs, of a shop on a Penstock of its own. Needs 3 minutes, ports 8000
# and 8001, and a Chromium. ARGS="log home" takes only these.
pictures: .venv/installed-dev
	$(PYTHON) -m tests.pictures $(ARGS)

lock: .venv/installed-dev
	$(LOCK) --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(LOCK) --custom-compile-command "make lock" -c requirements.txt \
		requirements-dev.in -o requirements-dev.txt
	for each in python analytics-python; do \
		$(LOCK) --custom-compile-command "make lock" tests/sdks/$$each.in -o tests/sdks/$$each.txt; \
	done

# Removes everything that can be generated. Keeps .env and var/, which hold your keys and data.
clean:
	rm -rf .venv staticfiles .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: requirements.txt .venv/bin/python
	@echo "Installing what requirements.txt says…"
	@$(INSTALL) -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/bin/python
	@echo "Installing what requirements-dev.txt says…"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

.venv/bin/python:
	@for each in python3 python3.14 python3.13 python3.12 python3.11; do \
		if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec $$each -m venv .venv; \
		fi; \
	done; \
	echo "Penstock needs Python 3.11 or newer; found: `python3 --version 2>&1`." >&2; \
	exit 1

.env:
	@umask 077 && $(PYTHON) -m config.new_env > .env.new && mv .env.new .env
