# `make run` starts Penstock, `make check test` checks it. POSIX make; needs Python 3.11 or newer.
PYTHON = .venv/bin/python
INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes
SCHEMA = $(PYTHON) manage.py spectacular --validate --fail-on-warn
AT_ONCE = -q -n auto --dist loadgroup
ARGS =

.PHONY: run test check schema examples format bench kills faults faults-table outage fuzz sdks editor pictures lock clean

run: .venv/installed .env
	@exec $(PYTHON) manage.py up

# The database tests on PostgreSQL, then everything, with SQLite. Of tests that kill processes two
# run at once, and nothing beside them: they wait more than they work, and look at the clock.
test: .venv/installed-dev
	@url=`$(PYTHON) -m tests.support.services postgres` || exit 1; \
	if [ -n "$$url" ]; then \
		echo "Database tests on PostgreSQL:"; \
		DATABASE_URL="$$url" $(PYTHON) -m pytest --only-database $(AT_ONCE) || exit 1; \
		echo "Everything, on SQLite where nothing else is said:"; \
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

# The API's OpenAPI schema, which is served at /v1/schema.
schema: .venv/installed-dev .env
	$(SCHEMA) --file schema.yml

# The examples in the schema: every call is made, and what was given and answered is written down.
examples: .venv/installed-dev .env
	PENSTOCK_WRITE_EXAMPLES=1 $(PYTHON) -m pytest tests/integrations/api/test_every_call.py -q -k examples
	@$(MAKE) schema

format: .venv/installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/installed-dev .env
	$(PYTHON) benchmarks/run.py $(ARGS)

# What kills the cluster, and replays, at full length: rows 2, 3, 4 and 20, and tests/kills.
kills: .venv/installed-dev
	PENSTOCK_FAULTS=full PENSTOCK_REPLAYED=$${PENSTOCK_REPLAYED:-50000} \
		$(PYTHON) -m pytest tests/kills tests/faults -m kills -s \
		-k "freezes or replay or fault[2- or fault[3- or fault[4-" $(ARGS)

# The fault suite with its full rounds, on both databases; hours. ARGS="-k 12a" takes one row.
# What comes of it is kept in var/faults.jsonl; `make faults-table` puts it into the docs.
faults: .venv/installed-dev
	@url=`$(PYTHON) -m tests.support.services postgres` || exit 1; \
	if [ -n "$$url" ]; then \
		PENSTOCK_FAULTS=full DATABASE_URL="$$url" \
			$(PYTHON) -m pytest tests/faults --only-database -s $(ARGS); \
	fi; \
	PENSTOCK_FAULTS=full $(PYTHON) -m pytest tests/faults -s $(ARGS)

faults-table: .venv/installed-dev
	$(PYTHON) -m tests.faults.table

# PostgreSQL, a server of the test's own, away for 30 s under load, with the figures.
outage: sdks
	PENSTOCK_OUTAGE=$${PENSTOCK_OUTAGE:-30} $(PYTHON) -m pytest tests/end_to_end/test_outage.py -s $(ARGS)

# 200,000 requests made up against the parser, with its memory; 20,000 posted; and 2,000 made up
# from the OpenAPI schema, 100 for each call of the API.
fuzz: .venv/installed-dev
	PENSTOCK_FUZZ_API=$${PENSTOCK_FUZZ_API:-100} $(PYTHON) -m pytest tests/integrations/api/test_openapi.py -k made_up $(ARGS)
	PENSTOCK_FUZZ=$${PENSTOCK_FUZZ:-200000} $(PYTHON) -m pytest tests/delivery/ingest/test_fuzz.py \
		tests/delivery/ingest/test_openapi.py -s $(ARGS)

# The SDKs of other people that tests/end_to_end/test_sdks.py sends with. Needs npm; kept in var/sdks. Not
# `npm ci`: it fails where a registry lacks the optional packages of other platforms.
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

# The code editor of the blueprint page, from the pinned packages. Its result is committed, so that
# nobody needs npm to run Penstock. Not `npm ci`: see sdks.
CODEMIRROR = delivery/static/penstock/codemirror

editor:
	@mkdir -p var/editor && cp templates/codemirror/* var/editor
	@npm install --prefix var/editor --ignore-scripts --no-audit --no-fund --loglevel=error
	@cd var/editor && node_modules/.bin/esbuild entry.js --bundle --minify --format=iife \
		--global-name=CodeMirror --target=es2022 --charset=utf8 --log-level=warning \
		--metafile=packed.json --outfile=codemirror.js && node licences.mjs packed.json > licences.txt
	@cp var/editor/codemirror.js $(CODEMIRROR).js && cp var/editor/licences.txt $(CODEMIRROR).licences.txt

# The pictures of the docs, of a shop on a Penstock of its own: 3 minutes, ports 8000 and 8001, and a
# Chromium. ARGS="log home" takes only these.
pictures: .venv/installed-dev
	$(PYTHON) -m tests.pictures $(ARGS)

lock: .venv/installed-dev
	$(LOCK) --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(LOCK) --custom-compile-command "make lock" -c requirements.txt \
		requirements-dev.in -o requirements-dev.txt
	for each in python analytics-python; do \
		$(LOCK) --custom-compile-command "make lock" tests/sdks/$$each.in -o tests/sdks/$$each.txt; \
	done

# Everything that can be made again. Keeps .env and var/: they hold your keys and data.
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
