"""Fixtures of the ingest tests."""

import pytest

from tests.support.factories import make_source


@pytest.fixture
def source(db):
    return make_source(write_key="wk_shop")
