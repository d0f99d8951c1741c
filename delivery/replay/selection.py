"""Selects the deliveries or events of a replay and splits them into windows of ids.

Windows bound the cost of each step, however rare the matches are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet

from delivery.log.querysets import with_event_name
from delivery.log.search.conditions import search_condition
from delivery.log.search.language import parse_search
from delivery.models import Delivery, Event, Replay
from integrations.keyset import ID_TIME_SKEW, end_id, first_id
from integrations.models import Installation

REPLAY_SCAN_ROWS = 20_000  # rows scanned in one step
BACKFILL_SCAN_ROWS = 5_000  # events scanned in one step; fewer, because each body is read

ReplayKind = Replay.Kind
State = Delivery.State
CURRENT_BLUEPRINT, LAST_BLUEPRINT = "current", "last"  # blueprints


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySelection:
    """The filters of a replay; "" and None match anything.

    states, error   of deliveries; not for a backfill, whose deliveries do not exist yet
    resolved        for failed deliveries: "no", "yes" or "any"
    q               further terms of the log's search language; not for a backfill
    event           the name of an event, or its type
    since, until    when the event was received: [since, until)
    blueprint       CURRENT_BLUEPRINT, or LAST_BLUEPRINT for the revision that last shaped each
                    delivery, which leaves out deliveries that were never shaped
    """

    states: Sequence[str] = (State.FAILED,)
    error: str = ""
    resolved: str = "no"
    q: str = ""
    blueprint: str = CURRENT_BLUEPRINT
    event: str = ""
    user_id: str = ""
    anonymous_id: str = ""
    message_id: str = ""
    source: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def condition(self, prefix: str) -> Q:
        """Return the condition on events, whose columns are named `prefix` + name."""
        names = ("user_id", "anonymous_id", "message_id", "source")
        given = {name: getattr(self, name) for name in names}
        equal = {f"{prefix}{name}": value for name, value in given.items() if value}
        times = {"received_at__gte": self.since, "received_at__lt": self.until}
        within = {f"{prefix}{name}": at for name, at in times.items() if at is not None}
        return Q(**equal, **within) & (with_event_name(self.event, prefix) if self.event else Q())


def selection_to_json(wanted: ReplaySelection) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(wanted)
    return values


def selection_from_json(value: dict[str, Any]) -> ReplaySelection:
    return msgspec.convert(value, ReplaySelection)


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """The ids that a replay scans: after `first`, up to and including `end`."""

    kind: str
    installation_id: int
    wanted: ReplaySelection
    first: int
    end: int

    def matching(self) -> QuerySet[Any]:
        """Return the deliveries to queue again, or the events that have no delivery."""
        if self.kind == ReplayKind.BACKFILL:
            own = Delivery.objects.filter(event=OuterRef("pk"), installation=self.installation_id)
            return Event.objects.filter(
                self.wanted.condition(""), self._from_its_sources(), ~Exists(own)
            )
        states = [state for state in self.wanted.states if state != State.QUEUED]
        errors = {"error": self.wanted.error} if self.wanted.error else {}
        rows = Delivery.objects.filter(
            self.wanted.condition("event__"),
            installation=self.installation_id,
            state__in=states,
            **errors,
        )
        if self.wanted.q:
            rows = rows.filter(search_condition(parse_search(self.wanted.q)))
        if self.wanted.blueprint == LAST_BLUEPRINT:
            rows = rows.filter(revision__isnull=False)
        if self.wanted.resolved == "any" or State.FAILED not in states:
            return rows
        is_resolved = Delivery.is_resolved()
        return rows.filter(is_resolved if self.wanted.resolved == "yes" else ~is_resolved)

    def unshaped(self) -> "ReplayRange | None":
        """Return this range with never shaped deliveries included; None when none is left out."""
        if self.kind == ReplayKind.BACKFILL or self.wanted.blueprint != LAST_BLUEPRINT:
            return None
        return replace(self, wanted=replace(self.wanted, blueprint=CURRENT_BLUEPRINT))

    def _from_its_sources(self) -> Q:
        """Return the condition that an event's source sends to the installation."""
        installation = Installation.objects.filter(pk=self.installation_id)
        listed = installation.filter(sources__isnull=False).values("sources")
        return Exists(installation.filter(all_sources=True)) | Q(source__in=listed)

    def within(self, after: int, end: int) -> QuerySet[Any]:
        """Return the matches with an id in (after, end], in order."""
        return self.matching().filter(pk__gt=after, pk__lte=end).order_by("pk")

    def window_end(self, after: int) -> int:
        """Return the last id of the window that starts after an id."""
        most = BACKFILL_SCAN_ROWS if self.kind == ReplayKind.BACKFILL else REPLAY_SCAN_ROWS
        rows = self._all_rows().filter(pk__gt=after, pk__lte=self.end)[:most]
        return rows.aggregate(last=Max("pk"))["last"] or self.end

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yield (after, end) of each window."""
        after = self.first
        while after < self.end:
            end = self.window_end(after)
            yield after, end
            after = end

    def _all_rows(self) -> QuerySet[Any]:
        if self.kind == ReplayKind.BACKFILL:
            return Event.objects.order_by("pk")
        # With an equality, PostgreSQL would walk the whole log by its primary key. A range of one
        # value, ordered by both columns, makes it use the index of the installation.
        pk = self.installation_id
        rows = Delivery.objects.filter(installation__gte=pk, installation__lte=pk)
        return rows.order_by("-installation_id", "pk")


def build_replay_range(kind: str, installation_id: int, wanted: ReplaySelection) -> ReplayRange:
    """Return the range as of now. Later rows are not part of it."""
    model, column = (
        (Event, "received_at") if kind == ReplayKind.BACKFILL else (Delivery, "event__received_at")
    )
    ids = model._default_manager.aggregate(first=Min("pk"), last=Max("pk"))
    first, end = (ids["first"] or 1) - 1, ids["last"] or 0
    if wanted.since is not None:
        first = max(first, first_id(model, column, wanted.since - ID_TIME_SKEW) - 1)
    if wanted.until is not None:
        end = min(end, end_id(model, column, wanted.until + ID_TIME_SKEW) - 1)
    return ReplayRange(kind, installation_id, wanted, first, max(first, end))


def stored_replay_range(replay: Replay) -> ReplayRange:
    wanted = selection_from_json(replay.wanted)
    return ReplayRange(replay.kind, replay.installation_id, wanted, replay.first, replay.end)
