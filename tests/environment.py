"""The environment of every test, never a developer's `.env`. pytest loads it before Django.

The caller's DATABASE_URL is kept; without one, the tests run on SQLite.
"""

import os

os.environ.update(
    SECRET_KEY="only-for-tests-only-for-tests-only-for-tests",
    PENSTOCK_SECRETS_KEYS="dGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGU=",
    PENSTOCK_SANDBOX_URL="http://127.0.0.1:8085",
    DEBUG="",
    PENSTOCK_CONN_MAX_AGE="0",  # a test server's thread must leave no connection open
)
os.environ.setdefault("DATABASE_URL", "")
os.environ.setdefault("BROKER_URL", "")
