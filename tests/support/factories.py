"""Factories of rows for tests, with a plain default for every field."""

import json
from itertools import count

from django.utils import timezone

from delivery.lanes import routes
from delivery.models import Attempt, AttemptBody, Carried, Delivery, Event, EventBody, Lane
from integrations.access import groups
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import ApiToken, Source, digest

TOKEN = "pst_only-for-tests"
CONFIG = {"app_id": "1234567890", "api_key": "your_api_key"}
numbers = count(1)


def make_source(name="Shop", **fields):
    return Source.objects.create(name=name, **fields)


def make_installation(name="Heap", destination="heap", config=CONFIG, **fields):
    """Install a destination, and create the lane that the first event would create."""
    installation = install(catalog()[destination], name=name, config=config, **fields)
    routes.plan_routes()
    return installation


def make_event(source=None, **fields):
    """Store an event; `body` is its JSON as a Python value."""
    number = next(numbers)
    source = source or Source.objects.first() or make_source()
    now = timezone.now()
    values = {
        "type": "track",
        "name": "Order Completed",
        "message_id": f"message-{number}",
        "user_id": "ada",
        "timestamp": now,
        "received_at": now,
        **fields,
    }
    body = values.pop("body", None) or body_of(values)
    event = Event.objects.create(source=source, **values)
    EventBody.objects.create(event=event, text=json.dumps(body))
    return event


def body_of(values):
    return {
        "type": values["type"],
        "event": values["name"],
        "userId": values["user_id"],
        "messageId": values["message_id"],
        "properties": {"order_id": "A-1001"},
    }


def make_delivery(installation=None, event=None, **fields):
    """Queue an event for an installation, or create a delivery in any other state."""
    from integrations.models import Installation

    installation = installation or Installation.objects.first() or make_installation()
    lane = Lane.objects.get(installation=installation, number=0)
    event = event or make_event()
    if fields.get("state", "queued") != "queued":
        fields = {"settled_at": timezone.now(), "revision": installation.revision, **fields}
    return Delivery.objects.create(event=event, installation=installation, lane=lane, **fields)


def make_attempt(*deliveries, request=None, answer="", **fields):
    """Create one attempt that carried these deliveries, in this order, in one bulk request."""
    installation = deliveries[0].installation
    values = {
        "started_at": timezone.now(),
        "duration_ms": 123,
        "method": "POST",
        "url": "https://heapanalytics.com/api/track",
        "status": 200,
        "outcome": "accepted",
        "items": len(deliveries),
        **fields,
    }
    attempt = Attempt.objects.create(installation=installation, **values)
    AttemptBody.objects.create(
        attempt=attempt,
        request_headers=json.dumps({"Content-Type": "application/json"}),
        request_body=json.dumps(request or bulk_of(deliveries)),
        response_headers=json.dumps({"Server": "heap"}),
        response_body=answer,
    )
    for position, delivery in enumerate(deliveries):
        Carried.objects.create(delivery=delivery, attempt=attempt, position=position)
    ids = [each.pk for each in deliveries]
    Delivery.objects.filter(pk__in=ids).update(last_attempt=attempt, attempts=1)
    return attempt


def bulk_of(deliveries):
    events = [{"event": each.event.name, "identity": each.event.user_id} for each in deliveries]
    return {"app_id": "1234567890", "events": events}


def make_user(name="admin", *, role=None, is_superuser=True, **fields):
    """Create a superuser, or a user with only the given role."""
    from django.contrib.auth.models import Group, User

    is_superuser = is_superuser and role is None
    user = User.objects.create_user(
        name, password="secret", is_staff=True, is_superuser=is_superuser, **fields
    )
    if role:
        groups.sync_role_groups()  # a test that flushes the database deletes the groups
        user.groups.add(Group.objects.get(name=role))
    return user


def make_token(user=None, token=TOKEN, **fields):
    """Create an API token and return the text that a client sends."""
    user = user or make_user()
    fields.setdefault("scopes", ["admin"])
    ApiToken.objects.create(name="Test", digest=digest(token), user=user, **fields)
    return token
