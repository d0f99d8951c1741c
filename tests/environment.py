"""The environment of every test: never a developer's `.env`. Loaded by pytest before Django.

DATABASE_URL of the caller stands; without one the tests run on SQLite.
"""

import os

os.environ.update(
    SECRET_KEY="only-for-tests",
    PENSTOCK_SECRETS_KEYS="dGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGU=",
    PENSTOCK_SANDBOX_URL="http://127.0.0.1:8085",
    DEBUG="",
    PENSTOCK_CONN_MAX_AGE="0",  # a thread of the test server that ends must leave nothing open
)
os.environ.setdefault("DATABASE_URL", "")
os.environ.setdefault("BROKER_URL", "")
