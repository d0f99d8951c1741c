"""Which deliveries or events a replay is about, and how it goes through them: by id, window after
window, so that no step costs more than its window, however rare what it looks for is."""

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

REPLAY_SCAN_ROWS = 20_000  # rows that are looked at in one step
BACKFILL_SCAN_ROWS = 5_000  # the same, when the body of each is read

ReplayKind = Replay.Kind
State = Delivery.State
CURRENT_BLUEPRINT, LAST_BLUEPRINT = "current", "last"  # blueprints


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySelection:
    """Which ones; "" and None are any.

    states, error   of deliveries; a backfill has none yet
    resolved        of failed ones: "no", "yes" or "any"
    q               what else a search of the log says of deliveries; a backfill has none yet
    event           the name of an event, or its type
    since, until    when the event was received: [since, until)
    blueprint       by which a replay shapes them: CURRENT_BLUEPRINT, or LAST_BLUEPRINT: the
                    revision that shaped each last, as it was sent then; what was never
                    shaped is left out
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
        """Return the condition on events, whose columns are called `prefix` + name."""
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
    """What a replay looks through. Ids after `first`, up to and including `end`."""

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
        """Return the same with what is left out because it was never shaped; None of nothing."""
        if self.kind == ReplayKind.BACKFILL or self.wanted.blueprint != LAST_BLUEPRINT:
            return None
        return replace(self, wanted=replace(self.wanted, blueprint=CURRENT_BLUEPRINT))

    def _from_its_sources(self) -> Q:
        """Return the condition that an event is of a source that feeds the installation."""
        installation = Installation.objects.filter(pk=self.installation_id)
        listed = installation.filter(sources__isnull=False).values("sources")
        return Exists(installation.filter(all_sources=True)) | Q(source__in=listed)

    def within(self, after: int, end: int) -> QuerySet[Any]:
        """Return what matches with an id in (after, end], in order."""
        return self.matching().filter(pk__gt=after, pk__lte=end).order_by("pk")

    def window_end(self, after: int) -> int:
        """Return the id up to which the rows of the next step reach."""
        most = BACKFILL_SCAN_ROWS if self.kind == ReplayKind.BACKFILL else REPLAY_SCAN_ROWS
        rows = self._all_rows().filter(pk__gt=after, pk__lte=self.end)[:most]
        return rows.aggregate(last=Max("pk"))["last"] or self.end

    def windows(self) -> Iterator[tuple[int, int]]:
        """Go through it: (after, end) of each window."""
        after = self.first
        while after < self.end:
            end = self.window_end(after)
            yield after, end
            after = end

    def _all_rows(self) -> QuerySet[Any]:
        if self.kind == ReplayKind.BACKFILL:
            return Event.objects.order_by("pk")
        # a range of one and both columns in order: else PostgreSQL walks the whole log by its key
        pk = self.installation_id
        rows = Delivery.objects.filter(installation__gte=pk, installation__lte=pk)
        return rows.order_by("-installation_id", "pk")


def build_replay_range(kind: str, installation_id: int, wanted: ReplaySelection) -> ReplayRange:
    """Return the range as of now: what comes later is not in it."""
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
