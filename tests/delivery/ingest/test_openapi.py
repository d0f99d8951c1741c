"""The addresses for SDKs: all are documented, and every response is as documented.

PENSTOCK_FUZZ is how many requests `make fuzz` generates in all; this module makes a hundredth.
"""

import json
import os

import msgspec
import pytest
import schemathesis
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings

from delivery.ingest import urls
from delivery.models import Event, Rejection
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS, decode_stored_message
from integrations.blueprints import build_message_view
from integrations.models import WebhookSource
from tests.support.factories import make_source

KEY = "wk_openapi"
DESCRIBED = SchemaGenerator(patterns=urls.urlpatterns).get_schema(request=None, public=True)
EACH = max(int(os.environ.get("PENSTOCK_FUZZ", "0")) // 100 // len(DESCRIBED["paths"]), 5)
schemathesis.checks.load_all_checks()
CHECKS = schemathesis.checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)

schema = schemathesis.openapi.from_dict(DESCRIBED)
schema.app = get_wsgi_application()
schema.config.phases.coverage.enabled = False  # it makes hundreds of requests for each address


def test_every_address_is_documented():
    known = {f"/{each.pattern}".replace("<str:key>", "{key}") for each in urls.urlpatterns}
    there = {address for address in known if not address.endswith("/")}
    assert DESCRIBED["paths"].keys() == there


def test_every_operation_has_a_name_of_its_own():
    names = [each["operationId"] for item in DESCRIBED["paths"].values() for each in item.values()]
    assert len(set(names)) == len(names)


@pytest.fixture
def kept_connection(db):
    """Keep requests from closing the connection that holds the test's transaction."""
    ends = (signals.request_started, signals.request_finished)
    for each in ends:
        each.disconnect(close_old_connections)
    yield
    for each in ends:
        each.connect(close_old_connections)


@pytest.fixture
def webhook(kept_connection):
    source = make_source(write_key=KEY, rate_limit=0)
    return WebhookSource.objects.create(name="Any", source=source, source_type="none")


@schema.parametrize()
@settings(
    max_examples=EACH,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_comes_is_answered_as_documented_and_stored_readable(case, webhook):
    known = {"wk": KEY, "source": webhook.key}
    case.query = {name: known.get(name, value) for name, value in (case.query or {}).items()}
    case.headers["X-Write-Key"] = KEY
    if case.path != "/v1/events":
        case.headers.pop("X-Signature", None)  # otherwise few requests would be parsed
    last = Event.objects.count()
    answer = case.call()
    case.validate_response(answer, checks=CHECKS)
    new = Event.objects.order_by("pk")[last:].select_related("body")
    assert answer.status_code == 200 or not new
    for event in new:
        is_readable(event)
    for rejection in Rejection.objects.all():
        (rejection.reason + rejection.text).encode()


def is_readable(event):
    assert isinstance(json.loads(event.body.text), dict)
    seen = decode_stored_message(
        event.body.text, *(getattr(event, each) for each in STORED_MESSAGE_COLUMNS[1:])
    )
    msgspec.json.encode(build_message_view(seen))
