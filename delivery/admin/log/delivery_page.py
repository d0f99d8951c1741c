"""The context of a delivery's page: timeline, attempts, payload and comparisons."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.urls import reverse

from delivery.log import detail, querysets
from delivery.log.curl import build_curl_command, secret_variable_name
from delivery.log.detail import DeliveryAttempt, DeliveryDetail
from delivery.log.field_trace import SAME, FieldTrace, trace_fields
from delivery.log.timeline import AttemptComparison, TimelineEntry, build_timeline, compare_attempts
from delivery.models import Attempt, Delivery
from delivery.outbound import client
from delivery.status.deliveries import describe_delivery, status_chip
from delivery.status.status_text import StatusText
from integrations.formats.json_values import parse_json_or_text

MAX_TRACED_FIELDS = 400


@dataclass(frozen=True, slots=True)
class AttemptPanel:
    """One attempt with its request and response, as text to show and copy."""

    attempt: Attempt
    place: str
    request_headers: dict[str, str]
    request_body: str
    response_headers: dict[str, str]
    response_body: str
    cut_note: str
    curl: str

    @property
    def is_truncated(self) -> bool:
        return len(self.request_body) >= detail.MAX_BODY_CHARS


def attempt_panel(sent: DeliveryAttempt) -> AttemptPanel | None:
    """Return an attempt's request and response, or None if not loaded or purged."""
    full, attempt = sent.attempt_body, sent.attempt
    if full is None:
        return None
    headers, answered = _headers(full.request_headers), _headers(full.response_headers)
    cut_note = answered.pop(client.CUT_NOTE, "")
    vendor = attempt.installation.destination
    shell_variable = secret_variable_name(vendor.key, vendor.secret_keys)
    return AttemptPanel(
        attempt,
        sent.position_text,
        headers,
        sent.body[: detail.MAX_BODY_CHARS],
        answered,
        full.response_body,
        cut_note,
        build_curl_command(
            attempt.method,
            attempt.url,
            headers,
            sent.body[: detail.MAX_BODY_CHARS],
            shell_variable=shell_variable,
        ),
    )


def _headers(text: str) -> dict[str, str]:
    return json.loads(text) if text else {}


@dataclass(frozen=True)
class DeliveryPage:
    """A delivery's details with everything that its page adds."""

    detail: DeliveryDetail
    now: datetime

    @property
    def delivery(self) -> Delivery:
        return self.detail.delivery

    @cached_property
    def status(self) -> StatusText:
        return describe_delivery(self.delivery, self.now)

    @cached_property
    def timeline_entries(self) -> list[tuple[TimelineEntry, AttemptPanel | None]]:
        moments = build_timeline(self.detail, self.now)
        return [
            (each, attempt_panel(each.delivery_attempt) if each.delivery_attempt else None)
            for each in moments
        ]

    @cached_property
    def attempt_comparisons(self) -> list[AttemptComparison]:
        """The attempts side by side; empty for fewer than two."""
        found = compare_attempts(self.detail)
        return found if len(found) > 1 else []

    @property
    def attempts_differ(self) -> bool:
        """Whether any attempt differs from the one before it."""
        return any(each.changed_fields for each in self.attempt_comparisons)

    @cached_property
    def payload(self) -> Any:
        """The body sent last, or what the blueprint makes of the event if nothing was sent."""
        newest = next((each for each in self.detail.attempts if each.body), None)
        if newest:
            return parse_json_or_text(newest.body[: detail.MAX_BODY_CHARS])
        return [{"kind": each.kind, **each.fields} for each in self.detail.result.actions]

    @cached_property
    def traces(self) -> list[FieldTrace]:
        if not self.detail.body or not self.payload:
            return []
        return trace_fields(parse_json_or_text(self.detail.body), self.payload)[:MAX_TRACED_FIELDS]

    @cached_property
    def differences(self) -> int:
        return sum(each.change != SAME for each in self.traces)

    @cached_property
    def newer(self) -> int | None:
        return querysets.find_adjacent_delivery(self.delivery, newer=True)

    @cached_property
    def older(self) -> int | None:
        return querysets.find_adjacent_delivery(self.delivery, newer=False)

    @cached_property
    def other_deliveries(self) -> list[tuple[Delivery, StatusText]]:
        """The event's deliveries to other installations."""
        rows = (
            querysets.deliveries_with_relations()
            .filter(event=self.delivery.event_id)
            .exclude(pk=self.delivery.pk)
        )
        return [(each, status_chip(each)) for each in rows.order_by("installation__name")]

    @property
    def kept_until(self) -> tuple[datetime, datetime | None]:
        """When the delivery is purged, and when its last request body is, if it has one."""
        last = self.delivery.last_attempt
        sent = last.started_at + timedelta(days=settings.KEEP_ATTEMPT_BODIES_DAYS) if last else None
        received_at = self.delivery.event.received_at
        return received_at + timedelta(days=settings.KEEP_DELIVERIES_DAYS), sent

    @property
    def fix_link(self) -> tuple[str, str] | None:
        """The page where the error can be fixed, as (title, URL), or None."""
        error, here = self.delivery.error, [self.delivery.installation_id]
        if error == "CredentialsRejected":
            return "Open its settings", reverse("admin:installation_settings", args=here)
        if error in ("MessageRejected", "TooLarge"):
            return "Open its blueprint", reverse("admin:installation_blueprint", args=here)
        return None
