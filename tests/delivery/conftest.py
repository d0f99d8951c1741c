"""Fixtures of the delivery app's tests."""

import pytest

from tests.support.factories import make_source
from tests.support.fake_vendor import FakeVendor


@pytest.fixture
def source(db):
    return make_source()


@pytest.fixture
def vendor(settings):
    """A vendor server on a local port; the sandbox region of installations points to it."""
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        yield vendor
