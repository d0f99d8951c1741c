"""Which deliveries a search means, found at a cost that does not grow with the log.

What an index tells (a person, a message, an installation, a state that is rare, a time) is asked of
it. The rest is read off the newest rows, LOOK of them at a time and so many times a page: a page
that is not full by then says how far back it looked, and the next one goes on from there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, reduce
from operator import and_, or_
from typing import Any, NamedTuple

from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    Max,
    Min,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)

from delivery.log import detail
from delivery.log.search_language import Search, Term, bound, moment
from delivery.models import Carried, Delivery, Event, Lane, Replay, Replayed, Resolution
from integrations import keyset
from integrations.keyset import SKEW, Edge, Page, ids_at
from integrations.models import Installation, Source

LOOK = 10_000  # rows
LOOKS = 2  # a page that people look at; a program comes for the next one by itself
FURTHER = 2  # times as many rows, in a look after the first one
DENSE = 5  # events for each row of a look, up to which all of them are read at once
OF_A_PERSON = 10_000  # events, the newest
MOST = 10_000  # is counted no further
NAMED: dict[str, type[Model]] = {"installation": Installation, "source": Source}
UNSENT = ("failed", "filtered", "cancelled")
AT = "event__received_at"  # a delivery's time
ANY_ID = ("message_id", "user_id", "anonymous_id")
IDS = {"user": ("user_id",), "anon": ("anonymous_id",), "message": ("message_id",), "": ANY_ID}

State = Delivery.State


class IsUnsent(Func):
    """The condition of the indexes `delivery_unsent` and `_there`, word by word, beside a state.

    SQLite uses a partial index only for a query that repeats its condition, and does not look into
    parameters. PostgreSQL concludes it from the state, and must not be told: it would multiply what
    both leave, expect a fiftieth of the rows, and for one page read and sort all there are.
    """

    template = "%(expressions)s IN ('failed', 'filtered', 'cancelled')"
    output_field = BooleanField()

    def as_postgresql(self, *_: Any, **__: Any) -> tuple[str, tuple[()]]:
        return "TRUE", ()


IS_UNSENT = IsUnsent("state")


class Seen(NamedTuple):
    """A look: how many rows it has, where it ends (None: nowhere, there are none), and among which
    events theirs are; None where these would be many more than the rows, or nothing is asked of
    them."""

    count: int
    end: int | None
    among: QuerySet[Event] | None


@dataclass(frozen=True)
class Scope:
    """A search as queries.

    rows      what an index finds
    rest      what else must hold, or an empty Q
    of_event  what must hold of a delivery's event, in columns of Event, or an empty Q
    by        the column to order by: the id, under whatever name
    look      how many rows are looked through at a time
    """

    rows: QuerySet[Any]
    rest: Q = Q()
    of_event: Q = Q()
    by: str = "pk"
    look: int = field(default_factory=lambda: LOOK)

    @property
    def is_looked_through(self) -> bool:
        """Whether no index tells all that is asked."""
        return bool(self.rest or self.of_event)

    @property
    def fitting(self) -> QuerySet[Any]:
        """All rows of the search; to be read by id only, for nothing bounds what that costs."""
        return self._fitting(self.rows, None)

    def page(
        self,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        looks: int | None = None,
    ) -> Page:
        """Return a page, after so many looks at most: LOOKS, when not said."""
        if self.is_looked_through:
            return self._looked(limit, before, looks or LOOKS)
        place = {"before": before, "after": after, "by": self.by}
        return keyset.page(self.rows, limit=limit, **place, shown=self._shown)

    def _looked(self, limit: int, before: int | None, looks: int) -> Page:
        found: list[int] = []
        newer, end = before is not None, before
        for number in range(looks):
            size = self.look * FURTHER if number else self.look
            rows = self.rows if end is None else self.rows.filter(pk__lt=end)
            count, end, among = self._first if end is None else self._seen(rows, size)
            if end is None:
                return Page(self._rows(found), newer, has_older=False)
            fitting = self._fitting(rows.filter(pk__gte=end), among)
            ids = fitting.order_by(f"-{self.by}").values_list("pk", flat=True)
            found += ids[: limit + 1 - len(found)]
            if len(found) > limit or count < size:
                return Page(self._rows(found[:limit]), newer, has_older=len(found) > limit)
        return Page(self._rows(found), newer, has_older=True, looked_to=end)

    def _rows(self, ids: list[int]) -> list[Any]:
        return list(self._shown.filter(pk__in=ids).order_by("-pk")) if ids else []

    @property
    def _shown(self) -> QuerySet[Any]:
        """Any rows, with all that is shown of them: to be joined to those of a page alone, not to
        all that were looked through, or that PostgreSQL reads when it misjudges how many fit."""
        rows = self.rows.model._default_manager.all()
        rows.query.select_related = self.rows.query.select_related
        return rows

    @cached_property
    def _first(self) -> Seen:
        """The newest look: what a page shows and what it adds up to are both of it."""
        return self._seen(self.rows, self.look)

    def _seen(self, rows: QuerySet[Any], size: int) -> Seen:
        """Look at so many rows."""
        columns = ("pk", "event") if self.of_event else ("pk",)
        newest = rows.order_by(f"-{self.by}").values(*columns)[:size]
        bounds = {"first": Min("event"), "last": Max("event")} if self.of_event else {}
        seen = newest.aggregate(count=Count("pk"), end=Min("pk"), **bounds)
        count, end = seen["count"], seen["end"]
        if not self.of_event or end is None or seen["last"] - seen["first"] > DENSE * count:
            return Seen(count, end, None)
        among = Event.objects.filter(pk__gte=seen["first"], pk__lte=seen["last"])
        return Seen(count, end, among)

    def _fitting(self, rows: QuerySet[Any], among: QuerySet[Event] | None) -> QuerySet[Any]:
        """Return those of the rows that are as is asked, and of such events."""
        if self.of_event and among is None:
            rows = rows.filter(_of_event_that(self.of_event))
        elif self.of_event and among is not None:
            # Not by a join: PostgreSQL would take the ids' bounds for those of the deliveries
            # alone, and read all events.
            rows = rows.filter(event__in=among.filter(self.of_event).order_by().values("pk"))
        return rows.filter(self.rest)

    def newest(self) -> QuerySet[Delivery]:
        """Return what matches, newest first; what is looked through, in one look."""
        if not self.is_looked_through:
            return self.rows.order_by(f"-{self.by}")
        _, end, among = self._first
        rows = self.rows.none() if end is None else self.rows.filter(pk__gte=end)
        return self._fitting(rows, among).order_by(f"-{self.by}")

    def counted(self) -> tuple[int, bool]:
        """Return how many there are, as far as one look goes, and whether those are all."""
        if not self.is_looked_through:
            count = self.count()
            return count, count <= MOST
        seen, end, among = self._first
        if end is None:
            return 0, True
        found = self._fitting(self.rows.filter(pk__gte=end), among)
        return len(found.values_list("pk", flat=True)), seen < self.look

    def count(self) -> int:
        """Return how many there are, or more than MOST; without a look at the rest."""
        # all of the log by its key: PostgreSQL reads from the table's start, where purged rows were
        rows = self.rows if self.rows.query.where else self.rows.order_by("-pk")
        return rows.values("pk")[: MOST + 1].count()


def named(search: Search) -> Search:
    """Return a search with installations and sources by their names, given by name or id, with the
    numbers of these, and with a problem for each that is not there."""
    keys = sorted({term.key for term in search.terms} & NAMED.keys())
    for key, names in _names(keys).items():
        search = _named(search, key, names)
    return search


def _names(keys: list[str]) -> dict[str, dict[int, str]]:
    """Return the names of all that there are of these keys, by their numbers, in one statement."""
    names: dict[str, dict[int, str]] = {key: {} for key in keys}
    if keys:
        first, *others = (
            NAMED[key]._default_manager.order_by().values_list(Value(key), "pk", "name")
            for key in keys
        )
        for key, pk, name in first.union(*others, all=True).order_by("name"):
            names[key][pk] = name
    return names


def _named(search: Search, key: str, names: dict[int, str]) -> Search:
    known = {**{str(pk): name for pk, name in names.items()}}
    known |= {name.lower(): name for name in names.values()}
    terms, problems = [], list(search.problems)
    for term in search.terms:
        if term.key != key:
            terms.append(term)
        elif term.value.lower() in known:
            terms.append(Term(key, known[term.value.lower()], term.negated))
        else:
            there = ", ".join(names.values()) or "none yet"
            problems.append(f"{term}: there is no {key} of that name; there are: {there}.")
    wanted = {term.value for term in terms if term.key == key}
    numbers = tuple((key, name, pk) for pk, name in names.items() if name in wanted)
    return Search(tuple(terms), tuple(problems), search.numbers + numbers)


def scope(search: Search, now: datetime) -> Scope:
    """Return the rows that a search from named() means; none when it has problems."""
    if search.problems:
        return Scope(detail.deliveries().none())
    rows, rest = _in_states(*_of_installations(search), search.values("state"))
    if search.values("resolved"):  # either way it is about those
        rows = rows.filter(IS_UNSENT, state=State.FAILED)
        if search.values("resolved") == ["yes"]:  # found by two indexes, before any row is read
            rows = rows.filter(pk__in=Resolution.objects.values("delivery"))
    rows, rest = _of_numbers(rows, rest, search)
    rest &= _others(search)
    of_event = _all_of(search, OF_EVENTS, OF_EVENTS)
    near, surely, received = _times(search, now)
    rows = rows.filter(near)
    if rest or of_event:
        of_event &= received
    elif received:
        rows = rows.filter(surely | Q(_of_event_that(received))).order_by("-pk")
    keys = [key for key in IDS if search.values(key)]
    if not keys:
        return Scope(rows, rest, of_event)
    events = set.intersection(*(_events(IDS[key], search.values(key)) for key in keys))
    # By a sum, which no index has: PostgreSQL would walk the whole log by its key for them.
    rows = rows.order_by().filter(event__in=events).annotate(place=F("pk") + 0)
    return Scope(rows, rest, of_event, by="place")


def _of_installations(search: Search) -> tuple[QuerySet[Delivery], Q]:
    ids, rows = search.numbers_of("installation"), detail.deliveries()
    if not search.values("installation"):
        return rows, Q()
    if not ids:  # nobody looked the name up: that must not mean all, which may be cancelled
        raise ValueError(f"{search}: goes through named() first.")
    if len(ids) == 1:
        return rows.filter(installation=ids[0]), Q()
    return rows, Q(installation__in=ids)


def _in_states(
    rows: QuerySet[Delivery], rest: Q, states: list[str]
) -> tuple[QuerySet[Delivery], Q]:
    if not states:
        return rows, rest
    if len(states) == 1 and states[0] in UNSENT:
        return rows.filter(IS_UNSENT, state=states[0]), rest
    if states == [State.QUEUED]:
        rows = rows.filter(pk__lte=_newest_queued())
    return rows, rest & Q(state__in=states)


def _of_numbers(rows: QuerySet[Delivery], rest: Q, search: Search) -> tuple[QuerySet[Delivery], Q]:
    """Narrow down to deliveries by their id, those of a request to a vendor, those of a replay."""
    if deliveries := search.values("delivery"):
        rows = rows.filter(pk__in=deliveries)
    if requests := search.values("request"):
        carried = Carried.objects.filter(attempt__in=requests)
        rows = rows.filter(pk__in=list(carried.values_list("delivery", flat=True)))
    replays = search.values("replay")
    if replays:
        rows = rows.filter(_where_replays_were(replays))
        rest &= _of_replays(replays)
    return rows, rest


def _of_replays(replays: Iterable[str]) -> Q:
    return Q(Exists(Replayed.objects.filter(delivery=OuterRef("pk"), replay__in=replays)))


def _where_replays_were(replays: Iterable[str]) -> Q:
    """Return the ranges of ids in which replays queued: an old one need not be looked for."""
    ranges = (
        Q(pk__gte=replay.first_delivery, pk__lte=replay.last_delivery)
        if replay.first_delivery is not None and replay.last_delivery is not None
        else Q(pk__gt=replay.first, pk__lte=replay.end)
        for replay in Replay.objects.filter(pk__in=replays)
    )
    return reduce(or_, ranges, Q(pk__in=[]))


def _newest_queued() -> int:
    """Return the id above which nothing is queued, by one look into each lane's queue."""
    queue = Delivery.objects.filter(lane=OuterRef("pk"), state=State.QUEUED).order_by("-pk")
    lanes = Lane.objects.annotate(newest=Subquery(queue.values("pk")[:1]))
    return max(filter(None, lanes.values_list("newest", flat=True)), default=0)


def _events(columns: Iterable[str], values: list[str]) -> set[int]:
    """Return the newest events that have one of the values in one of the columns."""
    return {
        pk
        for column in columns
        for value in values
        for pk in Event.objects.filter(detail.with_id(column, value))
        .order_by(column, "-pk")
        .values_list("pk", flat=True)[:OF_A_PERSON]
    }


def _times(search: Search, now: datetime) -> tuple[Q, Q, Q]:
    """Return what holds of deliveries of events received in [since, until): of their own ids; of
    their events' ids, where these alone are enough; and of what their events say.

    Ids rise with the times but for SKEW: outside of it they tell, within it the event is asked.
    """
    near, surely, received = Q(), Q(), Q()
    since, until = _time(search, "since", now), _time(search, "until", now)
    edges = []  # of each end the outer one, beyond which nothing is, and the inner one
    if since is not None:
        edges += [Edge(Delivery, AT, since - SKEW), Edge(Event, "received_at", since + SKEW)]
    if until is not None:
        edges += [
            Edge(Delivery, AT, until + SKEW, is_end=True),
            Edge(Event, "received_at", until - SKEW),
        ]
    ids = iter(ids_at(*edges))
    if since is not None:
        near, surely = Q(pk__gte=next(ids)), Q(event__gte=next(ids))
        received = Q(received_at__gte=since)
    if until is not None:
        near &= Q(pk__lt=next(ids))
        surely, received = surely & Q(event__lt=next(ids)), received & Q(received_at__lt=until)
    return near, surely, received


def _of_event_that(condition: Q) -> Subquery:
    """Return the condition for a delivery that its event is so. As a value of one delivery after
    the other, which PostgreSQL cannot make a join of: it would guess how many fit, and for one page
    read and sort all of them."""
    own = Event.objects.filter(pk=OuterRef("event"))
    fits = own.annotate(fits=ExpressionWrapper(condition, BooleanField()))
    return Subquery(fits.values("fits"))


def _time(search: Search, key: str, now: datetime) -> datetime | None:
    values = search.values(key)
    return moment(values[0], now) if values else None


def _others(search: Search) -> Q:
    """Return what no index tells of a delivery itself, and all that is excluded."""
    excluded = (~CONDITIONS[term.key](term.value) for term in search.excluded)
    return reduce(and_, excluded, _all_of(search, READ_OFF, CONDITIONS))


def _all_of(search: Search, keys: Iterable[str], conditions: Mapping[str, Callable[[str], Q]]) -> Q:
    """Return what a search says by these keys, as one condition."""
    alternatives = (
        reduce(or_, map(conditions[key], search.values(key))) for key in keys if search.values(key)
    )
    return reduce(and_, alternatives, Q())


def condition(search: Search) -> Q:
    """Return all that a search says of a delivery as one condition, to be tried on rows that are
    bounded by something else."""
    said = _all_of(search, CONDITIONS, CONDITIONS)
    return reduce(and_, (~CONDITIONS[term.key](term.value) for term in search.excluded), said)


def _with_any_id(text: str) -> Q:
    return reduce(or_, (Q(**{f"event__{name}": text}) for name in ANY_ID))


def _answered(status: str) -> Q:
    if status == "none":
        return Q(last_attempt__isnull=False, last_attempt__status__isnull=True)
    if status.endswith("xx"):
        first = int(status[0]) * 100
        return Q(last_attempt__status__range=(first, first + 99))
    return Q(last_attempt__status=int(status))


def _tried(value: str) -> Q:
    lookup, number = bound(value)
    return Q(**{f"attempts__{lookup}": number})


def _carried(request: str) -> Q:
    return Q(Exists(Carried.objects.filter(delivery=OuterRef("pk"), attempt=request)))


def _resolved(value: str) -> Q:
    resolved = Delivery.is_resolved()
    return resolved if value == "yes" else Q(state=State.FAILED) & ~resolved


READ_OFF = ("error", "status", "attempts", "trigger", "resolved")
OF_EVENTS: dict[str, Callable[[str], Q]] = {  # what a term says of an event
    "event": detail.named,
    "type": lambda text: Q(type=text),
    "source": lambda text: Q(source__name=text),
}
CONDITIONS: dict[str, Callable[[str], Q]] = {  # what a term says of a delivery
    "": _with_any_id,
    "event": lambda text: detail.named(text, "event__"),
    "type": lambda text: Q(event__type=text),
    "source": lambda text: Q(event__source__name=text),
    "error": lambda text: Q(error=text),
    "status": _answered,
    "attempts": _tried,
    "trigger": lambda text: Q(trigger=text),
    "resolved": _resolved,
    "user": lambda text: Q(event__user_id=text),
    "anon": lambda text: Q(event__anonymous_id=text),
    "message": lambda text: Q(event__message_id=text),
    "state": lambda text: Q(state=text),
    "installation": lambda text: Q(installation__name=text),
    "delivery": lambda text: Q(pk=text),
    "request": _carried,
    "replay": lambda text: _of_replays([text]),
}
