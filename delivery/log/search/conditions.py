"""Translates search terms into database conditions."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import and_, or_

from django.db.models import (
    BooleanField,
    Exists,
    ExpressionWrapper,
    OuterRef,
    Q,
    Subquery,
)

from delivery.log import querysets
from delivery.log.search.language import Search, parse_comparison
from delivery.models import Carried, Delivery, Event, Replay, Replayed

State = Delivery.State

EVENT_ID_COLUMNS = ("message_id", "user_id", "anonymous_id")


def queued_by_replays(replays: Iterable[str]) -> Q:
    ids = [int(pk) for pk in replays]
    return Q(Exists(Replayed.objects.filter(delivery=OuterRef("pk"), replay__in=ids)))


def replay_id_ranges(replays: Iterable[str]) -> Q:
    """Return the ranges of delivery ids that replays queued, so that no other ids are scanned."""
    ranges = (
        Q(pk__gte=replay.first_delivery, pk__lte=replay.last_delivery)
        if replay.first_delivery is not None and replay.last_delivery is not None
        else Q(pk__gt=replay.first, pk__lte=replay.end)
        for replay in Replay.objects.filter(pk__in=replays)
    )
    return reduce(or_, ranges, Q(pk__in=[]))


def event_matches(condition: Q) -> Subquery:
    """Return the condition on a delivery that its event matches.

    This is a scalar subquery per delivery, because PostgreSQL cannot turn it into a join. With a
    join it would misestimate the matches, and read and sort all of them for one page.
    """
    own = Event.objects.filter(pk=OuterRef("event"))
    fits = own.annotate(fits=ExpressionWrapper(condition, BooleanField()))
    return Subquery(fits.values("fits"))


def unindexed_condition(search: Search) -> Q:
    """Return the condition of the terms on a delivery without an index, and of negated terms."""
    excluded = (~DELIVERY_CONDITIONS[term.key](term.value) for term in search.excluded_terms)
    return reduce(and_, excluded, combine_terms(search, UNINDEXED_KEYS, DELIVERY_CONDITIONS))


def combine_terms(
    search: Search, keys: Iterable[str], conditions: Mapping[str, Callable[[str], Q]]
) -> Q:
    """Return the terms of these keys as one condition."""
    alternatives = (
        reduce(or_, map(conditions[key], search.values(key))) for key in keys if search.values(key)
    )
    return reduce(and_, alternatives, Q())


def search_condition(search: Search) -> Q:
    """Return all terms of a search as one condition.

    Apply it only to rows that something else bounds, because it uses no index.
    """
    said = combine_terms(search, DELIVERY_CONDITIONS, DELIVERY_CONDITIONS)
    return reduce(
        and_, (~DELIVERY_CONDITIONS[term.key](term.value) for term in search.excluded_terms), said
    )


def _has_any_id(text: str) -> Q:
    return reduce(or_, (Q(**{f"event__{name}": text}) for name in EVENT_ID_COLUMNS))


def _has_status(status: str) -> Q:
    if status == "none":
        return Q(last_attempt__isnull=False, last_attempt__status__isnull=True)
    if status.endswith("xx"):
        first = int(status[0]) * 100
        return Q(last_attempt__status__range=(first, first + 99))
    return Q(last_attempt__status=int(status))


def _has_attempt_count(value: str) -> Q:
    lookup, number = parse_comparison(value)
    return Q(**{f"attempts__{lookup}": number})


def _carried_by_attempt(request: str) -> Q:
    return Q(Exists(Carried.objects.filter(delivery=OuterRef("pk"), attempt=int(request))))


def _has_resolution(value: str) -> Q:
    resolved = Delivery.is_resolved()
    return resolved if value == "yes" else Q(state=State.FAILED) & ~resolved


UNINDEXED_KEYS = ("error", "status", "attempts", "trigger", "resolved")

EVENT_CONDITIONS: dict[str, Callable[[str], Q]] = {  # conditions on an event
    "event": querysets.with_event_name,
    "type": lambda text: Q(type=text),
    "source": lambda text: Q(source__name=text),
}

DELIVERY_CONDITIONS: dict[str, Callable[[str], Q]] = {  # conditions on a delivery
    "": _has_any_id,
    "event": lambda text: querysets.with_event_name(text, "event__"),
    "type": lambda text: Q(event__type=text),
    "source": lambda text: Q(event__source__name=text),
    "error": lambda text: Q(error=text),
    "status": _has_status,
    "attempts": _has_attempt_count,
    "trigger": lambda text: Q(trigger=text),
    "resolved": _has_resolution,
    "user": lambda text: Q(event__user_id=text),
    "anon": lambda text: Q(event__anonymous_id=text),
    "message": lambda text: Q(event__message_id=text),
    "state": lambda text: Q(state=text),
    "installation": lambda text: Q(installation__name=text),
    "delivery": lambda text: Q(pk=text),
    "request": _carried_by_attempt,
    "replay": lambda text: queued_by_replays([text]),
}
