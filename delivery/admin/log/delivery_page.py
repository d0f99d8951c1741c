"""A delivery's page: what of its story is worked out only to be shown."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.urls import reverse

from delivery.log import detail, querysets
from delivery.log.curl import build_curl_command, secret_variable_name
from delivery.log.detail import DeliveryAttempt, DeliveryDetail, parse_json_or_text
from delivery.log.field_trace import SAME, FieldTrace, trace_fields
from delivery.log.timeline import AttemptComparison, TimelineEntry, build_timeline, compare_attempts
from delivery.models import Attempt, Delivery
from delivery.outbound import client
from delivery.status.deliveries import describe_delivery, status_chip
from delivery.status.status_text import StatusText

MAX_TRACED_FIELDS = 400


@dataclass(frozen=True, slots=True)
class AttemptPanel:
    """One attempt with request and answer, as text to show and to copy."""

    attempt: Attempt
    place: str
    request_headers: dict[str, str]
    request_body: str
    response_headers: dict[str, str]
    response_body: str
    curl: str

    @property
    def is_truncated(self) -> bool:
        return len(self.request_body) >= detail.MAX_BODY_CHARS

    @property
    def truncation_note(self) -> str:
        """What of the answer's body is not here, or ""."""
        if (
            len(self.response_body) < client.MAX_RESPONSE_BYTES // 4
        ):  # a character has four bytes at most
            return ""
        names = {name.lower(): value for name, value in self.response_headers.items()}
        return describe_truncation(self.response_body, names.get("content-length", ""))


def attempt_panel(sent: DeliveryAttempt) -> AttemptPanel | None:
    """Return an attempt's exchange, or None when it is not loaded or not kept any more."""
    full, attempt = sent.attempt_body, sent.attempt
    if full is None:
        return None
    headers = _headers(full.request_headers)
    vendor = attempt.installation.destination
    shell_variable = secret_variable_name(vendor.key, vendor.secret_keys)
    return AttemptPanel(
        attempt,
        sent.position_text,
        headers,
        sent.body[: detail.MAX_BODY_CHARS],
        _headers(full.response_headers),
        full.response_body,
        build_curl_command(
            attempt.method,
            attempt.url,
            headers,
            sent.body[: detail.MAX_BODY_CHARS],
            shell_variable=shell_variable,
        ),
    )


def describe_truncation(body: str, length: str) -> str:
    """Say how much of an answer's body was kept, where that is not all of it."""
    if len(body.encode()) < client.MAX_RESPONSE_BYTES:
        return ""
    of = f" of {int(length):,}" if length.isdecimal() else ""
    return f"Cut: the first {client.MAX_RESPONSE_BYTES:,}{of} bytes were kept."


def _headers(text: str) -> dict[str, str]:
    return json.loads(text) if text else {}


@dataclass(frozen=True)
class DeliveryPage:
    """A delivery's story with what its page adds to it."""

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
        """Its attempts side by side; none where there is nothing to compare."""
        found = compare_attempts(self.detail)
        return found if len(found) > 1 else []

    @property
    def attempts_differ(self) -> bool:
        """Whether anything is marked as not as the time before."""
        return any(each.changed_fields for each in self.attempt_comparisons)

    @cached_property
    def payload(self) -> Any:
        """What was sent for it last, or what the blueprint makes of it when nothing was."""
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
        """The same event's deliveries to other installations."""
        rows = (
            querysets.deliveries_with_relations()
            .filter(event=self.delivery.event_id)
            .exclude(pk=self.delivery.pk)
        )
        return [(each, status_chip(each)) for each in rows.order_by("installation__name")]

    @property
    def kept_until(self) -> tuple[datetime, datetime | None]:
        """When it is purged, and when what was sent for it last is, if anything was."""
        last = self.delivery.last_attempt
        sent = last.started_at + timedelta(days=settings.KEEP_ATTEMPT_BODIES_DAYS) if last else None
        received_at = self.delivery.event.received_at
        return received_at + timedelta(days=settings.KEEP_DELIVERIES_DAYS), sent

    @property
    def fix_link(self) -> tuple[str, str] | None:
        """Return where what went wrong is mended, as (words, address), or None."""
        error, here = self.delivery.error, [self.delivery.installation_id]
        if error == "CredentialsRejected":
            return "Open its settings", reverse("admin:installation_settings", args=here)
        if error in ("MessageRejected", "TooLarge"):
            return "Open its blueprint", reverse("admin:installation_blueprint", args=here)
        return None
