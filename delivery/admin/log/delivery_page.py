"""A delivery's page: what of its story is worked out only to be shown."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.urls import reverse

from delivery.log import detail, querysets
from delivery.log.curl import as_curl, variable
from delivery.log.detail import Sent, Story, parsed
from delivery.log.field_trace import SAME, Trace, trace
from delivery.log.timeline import Moment, Try, timeline, tries
from delivery.models import Attempt, Delivery
from delivery.outbound import client
from delivery.status.deliveries import chip, delivery_in_words
from delivery.status.words import Words

MOST_FIELDS = 400


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt with request and answer, as text to show and to copy."""

    attempt: Attempt
    place: str
    request_headers: dict[str, str]
    request_body: str
    response_headers: dict[str, str]
    response_body: str
    curl: str

    @property
    def is_cut(self) -> bool:
        return len(self.request_body) >= detail.SHOWN

    @property
    def answer_cut(self) -> str:
        """What of the answer's body is not here, or ""."""
        if len(self.response_body) < client.MAX_ANSWER // 4:  # a character has four bytes at most
            return ""
        names = {name.lower(): value for name, value in self.response_headers.items()}
        return cut_in_words(self.response_body, names.get("content-length", ""))


def exchange(sent: Sent) -> Exchange | None:
    """Return an attempt's exchange, or None when it is not loaded or not kept any more."""
    full, attempt = sent.full, sent.attempt
    if full is None:
        return None
    headers = _headers(full.request_headers)
    vendor = attempt.installation.destination
    stand_in = variable(vendor.key, vendor.secret_keys)
    return Exchange(
        attempt,
        sent.place,
        headers,
        sent.body[: detail.SHOWN],
        _headers(full.response_headers),
        full.response_body,
        as_curl(attempt.method, attempt.url, headers, sent.body[: detail.SHOWN], stand_in=stand_in),
    )


def cut_in_words(body: str, length: str) -> str:
    """Say how much of an answer's body was kept, where that is not all of it."""
    if len(body.encode()) < client.MAX_ANSWER:
        return ""
    of = f" of {int(length):,}" if length.isdecimal() else ""
    return f"Cut: the first {client.MAX_ANSWER:,}{of} bytes were kept."


def _headers(text: str) -> dict[str, str]:
    return json.loads(text) if text else {}


@dataclass(frozen=True)
class Told:
    """A delivery's story with what its page adds to it."""

    story: Story
    now: datetime

    @property
    def delivery(self) -> Delivery:
        return self.story.delivery

    @cached_property
    def words(self) -> Words:
        return delivery_in_words(self.delivery, self.now)

    @cached_property
    def moments(self) -> list[tuple[Moment, Exchange | None]]:
        moments = timeline(self.story, self.now)
        return [(each, exchange(each.sent) if each.sent else None) for each in moments]

    @cached_property
    def tries(self) -> list[Try]:
        """Its attempts side by side; none where there is nothing to compare."""
        found = tries(self.story)
        return found if len(found) > 1 else []

    @property
    def differ(self) -> bool:
        """Whether anything is marked as not as the time before."""
        return any(each.changed for each in self.tries)

    @cached_property
    def payload(self) -> Any:
        """What was sent for it last, or what the blueprint makes of it when nothing was."""
        newest = next((each for each in self.story.sent if each.body), None)
        if newest:
            return parsed(newest.body[: detail.SHOWN])
        return [{"kind": each.kind, **each.fields} for each in self.story.result.actions]

    @cached_property
    def traces(self) -> list[Trace]:
        if not self.story.body or not self.payload:
            return []
        return trace(parsed(self.story.body), self.payload)[:MOST_FIELDS]

    @cached_property
    def differences(self) -> int:
        return sum(each.fate != SAME for each in self.traces)

    @cached_property
    def newer(self) -> int | None:
        return querysets.beside(self.delivery, newer=True)

    @cached_property
    def older(self) -> int | None:
        return querysets.beside(self.delivery, newer=False)

    @cached_property
    def elsewhere(self) -> list[tuple[Delivery, Words]]:
        """The same event's deliveries to other installations."""
        rows = (
            querysets.deliveries().filter(event=self.delivery.event_id).exclude(pk=self.delivery.pk)
        )
        return [(each, chip(each)) for each in rows.order_by("installation__name")]

    @property
    def kept_until(self) -> tuple[datetime, datetime | None]:
        """When it is purged, and when what was sent for it last is, if anything was."""
        last = self.delivery.last_attempt
        sent = last.started_at + timedelta(days=settings.KEEP_ATTEMPT_BODIES_DAYS) if last else None
        received_at = self.delivery.event.received_at
        return received_at + timedelta(days=settings.KEEP_DELIVERIES_DAYS), sent

    @property
    def mend(self) -> tuple[str, str] | None:
        """Return where what went wrong is mended, as (words, address), or None."""
        error, here = self.delivery.error, [self.delivery.installation_id]
        if error == "CredentialsRejected":
            return "Open its settings", reverse("admin:installation_settings", args=here)
        if error in ("MessageRejected", "TooLarge"):
            return "Open its blueprint", reverse("admin:installation_blueprint", args=here)
        return None
