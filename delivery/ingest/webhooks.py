"""Turns webhook calls of third parties into messages. Pure."""

from codecs import BOM_UTF8
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from delivery.ingest import json_repair, signatures
from delivery.ingest.envelope import MAX_NESTING_LEVELS
from delivery.ingest.errors import UnreadableRequest
from delivery.ingest.signatures import Headers
from integrations.jsonpath import NOT_FOUND, find_value
from integrations.models import WebhookSource

HEADER_PREFIX = "header:"
SourceType = WebhookSource.SourceType


def check_webhook_signature(
    webhook: WebhookSource, headers: Headers, body: bytes, now: datetime, *, method: str, url: str
) -> None:
    """Raise NotAllowed unless the call has the signature of the webhook source's third party."""
    secret = webhook.secret
    if webhook.source_type == SourceType.STRIPE:
        signatures.check_stripe(headers, body, secret, now)
    elif webhook.source_type == SourceType.SHOPIFY:
        signatures.check_shopify(headers, body, secret)
    elif webhook.source_type == SourceType.HUBSPOT:
        signatures.check_hubspot(headers, body, secret, now, method=method, url=url)
    elif webhook.source_type == SourceType.HMAC:
        signatures.check_hmac(headers, body, secret, header=webhook.signature_header)


def build_webhook_batch(webhook: WebhookSource, headers: Headers, body: bytes) -> bytes:
    """Return a webhook call as a batch, with one message per entry when the body is a list.

    A repeated call has the same message ids, either from the mapping or from a hash of the body.
    Raises UnreadableRequest.
    """
    data = _decode_body(body)
    digest = sha256(body).hexdigest()
    entries = data if isinstance(data, list) else [data]
    batch = [
        {"messageId": f"webhook-{digest}-{n}", **_build_message(webhook, entry, headers)}
        for n, entry in enumerate(entries)
    ]
    return msgspec.json.encode({"batch": batch})


def _decode_body(body: bytes) -> Any:
    body = body.removeprefix(BOM_UTF8)
    if json_repair.is_nested_deeper(body, MAX_NESTING_LEVELS):
        message = f"The body is nested deeper than {MAX_NESTING_LEVELS} levels."
        raise UnreadableRequest("invalid_json", message, text=body)
    try:
        return msgspec.json.decode(json_repair.to_strict_json(body))
    except ValueError as error:
        raise UnreadableRequest(
            "invalid_json", f"The body is not JSON: {error}", text=body
        ) from None


def _build_message(webhook: WebhookSource, entry: Any, headers: Headers) -> dict[str, Any]:
    library = {"name": "penstock-webhook", "source_type": webhook.source_type}
    message: dict[str, Any] = {"type": "track", "context": {"library": library}}
    for field, places in webhook.field_paths().items():
        value = _first_value(places, entry, headers)
        if value not in (NOT_FOUND, None):
            _set_at_path(message, field.split("."), value)
    return message


def _first_value(places: str | list[str], entry: Any, headers: Headers) -> Any:
    """Return the first value found; each place is a path, a header, or a literal value."""
    for place in [places] if isinstance(places, str) else places:
        value = _value_at(place, entry, headers)
        if value is not NOT_FOUND and value is not None:
            return value
    return NOT_FOUND


def _value_at(place: str, entry: Any, headers: Headers) -> Any:
    if place.startswith("$"):
        return find_value(place, entry)
    if place.startswith(HEADER_PREFIX):
        return headers.get(place.removeprefix(HEADER_PREFIX), NOT_FOUND)
    return place


def _set_at_path(message: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        inner = message.get(name)
        message[name] = dict(inner) if isinstance(inner, dict) else {}
        message = message[name]
    message[names[-1]] = value
