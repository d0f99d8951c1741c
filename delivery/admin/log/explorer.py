"""The log explorer: a search in the address, its newest rows, and what can be done with them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from delivery.accounting.bounded_count import bounded
from delivery.admin.charts import trend
from delivery.admin.keyset import number
from delivery.log import querysets
from delivery.log.search.language import KEYS, ONCE, Search, Term, moment, parse
from delivery.log.search.names import named
from delivery.log.search.query import Scope, scope
from delivery.log.search.suggestions import TABLES
from delivery.log.summary import Group, Summary, summary
from delivery.models import Delivery
from delivery.replay.form import OWN_FIELDS
from delivery.status.deliveries import chip, gives_up_at, is_held_up, next_try_at
from delivery.status.words import Words
from integrations.keyset import Page
from integrations.models import Installation

ROWS = 50
SPANS = (("", "Any time"), ("15m", "15 min"), ("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d"))
STATES = (("", "All"), *((value, label) for value, label in Delivery.State.choices))
SHORT = {
    "VendorUnavailable": "unavailable",
    "VendorFailed": "vendor failed",
    "CredentialsRejected": "credentials",
    "MessageRejected": "rejected",
    "TooLarge": "too large",
}
State = Delivery.State
TRIGGERS = {  # icon and words
    Delivery.Trigger.HAND: ("touch_app", "Queued again by hand"),
    Delivery.Trigger.REPLAY: ("replay", "Queued again by replay"),
    Delivery.Trigger.BACKFILL: ("history", "Queued by backfill"),
}
BY_JOBS = (Delivery.Trigger.REPLAY, Delivery.Trigger.BACKFILL)
COUNTED = (State.DELIVERED, State.FAILED, State.QUEUED, State.FILTERED, State.CANCELLED)
ALWAYS = (State.DELIVERED, State.FAILED)  # of these, zero tells, too
REPLAYED = {  # keys of a search, and the fields of a replay's form that say the same
    "installation": "installation", "state": "states", "event": "event", "user": "user_id",
    "anon": "anonymous_id", "message": "message_id", "error": "error", "source": "source",
    "since": "since", "until": "until", "resolved": "resolved",
}  # fmt: skip
ALL_THAT_MATCH = (
    ("resolve", State.FAILED, "Mark all that match resolved…"),
    ("cancel", State.QUEUED, "Cancel all that match…"),
)
Choice = tuple[str, str, bool]  # title, address, whether it is chosen


@dataclass(frozen=True)
class Row:
    """replay: which one queued it, or None when none did"""

    delivery: Delivery
    replay: int | None
    now: datetime

    @property
    def words(self) -> Words:
        return chip(self.delivery)

    @property
    def person(self) -> str:
        event = self.delivery.event
        return event.user_id or event.anonymous_id

    @property
    def error(self) -> str:
        return SHORT.get(self.delivery.error, self.delivery.error)

    @cached_property
    def next_try(self) -> datetime | str:
        """When it is tried next, or why not for now; "" when that need not be said."""
        delivery = self.delivery
        if delivery.state == State.QUEUED and is_held_up(delivery):
            return "waits for a person" if delivery.installation.enabled else "paused"
        return next_try_at(delivery, self.now) or ""

    @property
    def gives_up_at(self) -> datetime | None:
        """How long it is tried; None where it has not been tried in vain, or nobody tries."""
        delivery = self.delivery
        return gives_up_at(delivery) if delivery.attempts and not is_held_up(delivery) else None

    @property
    def trigger(self) -> tuple[str, str] | None:
        """What queued it, as icon and words; None when its event came in."""
        if self.delivery.trigger not in TRIGGERS:
            return None
        icon, words = TRIGGERS[self.delivery.trigger]
        return icon, f"{words} {self.replay}" if self.replay else words

    @property
    def version(self) -> str:
        """What of it a person sees change."""
        delivery = self.delivery
        tried = f"{delivery.attempts} {delivery.error} {delivery.last_attempt_id}"
        state = f"{delivery.state} {delivery.resolved or ''}"
        return f"{state} {tried} {self.next_try} {delivery.trigger} {self.replay or ''}"


@dataclass(frozen=True)
class Explorer:
    """One view of the log. typed: the search as it was written, to be mended where it is wrong."""

    search: Search
    typed: str
    before: int | None
    after: int | None
    now: datetime

    @cached_property
    def scope(self) -> Scope:
        return scope(self.search, self.now)

    @cached_property
    def page(self) -> Page:
        return self.scope.page(limit=ROWS, before=self.before, after=self.after)

    @property
    def rows(self) -> list[Row]:
        by_jobs = [each.pk for each in self.page.rows if each.trigger in BY_JOBS]
        replays = querysets.replays_of(by_jobs) if by_jobs else {}
        return [Row(delivery, replays.get(delivery.pk), self.now) for delivery in self.page.rows]

    @cached_property
    def looked_back_to(self) -> datetime | None:
        if self.page.looked_to is None:
            return None
        edge = Delivery.objects.filter(pk=self.page.looked_to)
        return edge.values_list("queued_at", flat=True).first()

    @cached_property
    def count(self) -> str:
        """How many there are in all, as far as that can be told without reading the log."""
        page = self.page
        if not (page.has_newer or page.has_older):
            return bounded(len(page.rows))
        return "" if self.scope.is_looked_through else bounded(self.scope.count())

    @cached_property
    def summary(self) -> Summary | None:
        """What the view adds up to; only beside its newest page."""
        if self.before is not None or self.after is not None:
            return None
        found = self.scope if self.page.rows else Scope(querysets.deliveries().none())
        return summary(self.search, found, self.now)

    @property
    def figures(self) -> Iterator[tuple[str, str, str, datetime | None]]:
        """Yield what is added up: label, number, address of the search for these, a time beside."""
        found = self.summary
        if found is None:
            return
        for state in COUNTED:
            count = getattr(found, state)
            if state == Delivery.State.QUEUED and found.queued:
                yield "Waiting", found.queued, self._only(state), found.oldest_queued_at
            elif state != Delivery.State.QUEUED and (count or state in ALWAYS):
                yield state.label, f"{count:,}", self._only(state), None

    def _only(self, state: str) -> str:
        return link(self.search.only("state", state))

    @property
    def groups(self) -> Iterator[tuple[Group, str]]:
        """Yield errors that are alike, with the address of the search for them."""
        for group in self.summary.groups if self.summary else ():
            keys = {term.key for term in group.terms}
            others = tuple(term for term in self.search.terms if term.key not in keys)
            yield group, link(Search(others + group.terms))

    @cached_property
    def trend(self) -> str:
        """What was settled over time, drawn; "" where there is nothing to draw."""
        return trend(self.summary.bars) if self.summary else ""

    @property
    def untimed(self) -> Search:
        """The search without times: a part of the trend that is marked puts its own there."""
        return self.search.only("since").only("until")

    # --- links ---

    @property
    def newest(self) -> str:
        return link(self.search) if self.page.has_newer else ""

    @property
    def newer(self) -> str:
        if not self.page.has_newer or not self.page.rows or self.scope.is_looked_through:
            return ""
        return link(self.search, after=self.page.rows[0].pk)

    @property
    def older(self) -> str:
        page = self.page
        if not page.has_older:
            return ""
        return link(self.search, before=page.looked_to or page.rows[-1].pk)

    @cached_property
    def replay(self) -> str:
        """The address of a new replay of all that match, or "" where none can say the same: of
        several installations, or of all states but one."""
        search = self.search
        of_fields = [term for term in search.terms if self._has_field(term)]
        rest = search.without(*of_fields)
        cannot = {term.key for term in rest.terms} & OWN_FIELDS
        if search.problems or len(search.values("installation")) != 1 or cannot:
            return ""
        given = [(REPLAYED[term.key], self._replayed(term)) for term in of_fields]
        given += [("q", str(rest))] if rest.terms else []
        return f"{reverse('admin:delivery_replay_new')}?{urlencode(given)}"

    def _has_field(self, term: Term) -> bool:
        """Say whether the form of a replay has a field that says the same."""
        once = term.key == "state" or len(self.search.values(term.key)) == 1
        return term.key in REPLAYED and once and not term.negated

    @property
    def verbs(self) -> Iterator[tuple[str, str]]:
        """Yield what can be done to all that match in one installation, as title and address."""
        states = self.search.values("state")
        if self.search.problems or len(self.search.values("installation")) != 1:
            return
        for verb, state, title in ALL_THAT_MATCH:
            if states == [state]:
                url = reverse("admin:delivery_delivery_all", args=[verb])
                yield title, f"{url}{link(self.search)}"

    def _replayed(self, term: Term) -> str:
        """Return a term's value as the form of a replay takes it."""
        if term.key in TABLES:
            return str(self.search.numbers_of(term.key)[0])
        if term.key in ONCE:
            return moment(term.value, self.now).isoformat(timespec="seconds")
        return term.value

    @property
    def chips(self) -> list[tuple[Term, str]]:
        """Each term with the address of the search without it; what is chosen above stays there."""
        above = self._chosen("state"), self._chosen("since")
        return [
            (term, link(self.search.without(term)))
            for term in self.search.terms
            if (term.key, term.value) not in above
        ]

    def _chosen(self, key: str) -> tuple[str, str]:
        """Return the only value of a key, where it is one to choose from above the table."""
        choices, values = dict(STATES if key == "state" else SPANS), self.search.values(key)
        return (key, values[0]) if len(values) == 1 and values[0] in choices else (key, "")

    @property
    def states(self) -> Iterator[Choice]:
        return self._choices("state", STATES)

    @property
    def spans(self) -> Iterator[Choice]:
        return self._choices("since", SPANS)

    def _choices(self, key: str, choices: tuple[tuple[str, str], ...]) -> Iterator[Choice]:
        values = self.search.values(key)
        for value, title in choices:
            wanted = [value] if value else []
            yield title, link(self.search.only(key, *wanted)), values == wanted

    @property
    def why_empty(self) -> str:
        """What the log waits for: "installation", "event" or, events having come, "wanted"."""
        if not Installation.objects.exists():
            return "installation"
        return "wanted" if querysets.any_event() else "event"

    @property
    def keys(self) -> list[dict[str, object]]:
        """What the search box suggests before anything is asked of the server."""
        return [
            {"key": key.name, "help": key.help, "choices": key.choices} for key in KEYS.values()
        ]


def explorer(given: QueryDict, now: datetime) -> Explorer:
    """Return the view that an address asks for: `q`, or single keys as other pages link them."""
    single = [(key, value) for key in KEYS for value in given.getlist(key) if value]
    if given.get("received"):
        single.append(("since", given["received"]))
    search = named(parse(given.get("q", ""), single))
    typed = given["q"] if search.problems and "q" in given else str(search)
    return Explorer(search, typed, number(given.get("before")), number(given.get("after")), now)


def link(search: Search, **place: int) -> str:
    given = {"q": str(search)} if search.terms else {}
    return f"?{urlencode({**given, **place})}"
