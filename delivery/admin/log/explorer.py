"""The log explorer: a search in the URL, its newest deliveries, and the actions on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from delivery.accounting.bounded_count import format_bounded_count
from delivery.admin.charts import trend_svg
from delivery.admin.keyset import parse_integer
from delivery.log import querysets
from delivery.log.search.language import (
    SEARCH_KEYS,
    SINGLE_USE_KEYS,
    Search,
    Term,
    parse_search,
    parse_time,
)
from delivery.log.search.names import resolve_names
from delivery.log.search.query import LogQuery, compile_search
from delivery.log.search.suggestions import SUGGESTED_MODELS
from delivery.log.summary import ErrorGroup, Summary, summarize
from delivery.models import Delivery
from delivery.replay.form import SEARCH_KEYS_WITH_OWN_FIELD
from delivery.status.deliveries import gives_up_at, is_on_hold, next_attempt_at, status_chip
from delivery.status.status_text import StatusText
from integrations.keyset import Page
from integrations.models import Installation

LOG_PAGE_SIZE = 50
LOG_TIME_CHOICES = (
    ("", "Any time"),
    ("15m", "15 min"),
    ("1h", "1 h"),
    ("24h", "24 h"),
    ("7d", "7 d"),
)
LOG_STATE_CHOICES = (("", "All"), *((value, label) for value, label in Delivery.State.choices))
ERROR_LABELS = {
    "VendorUnavailable": "unavailable",
    "VendorFailed": "vendor failed",
    "CredentialsRejected": "credentials",
    "MessageRejected": "rejected",
    "TooLarge": "too large",
}
State = Delivery.State
TRIGGER_LABELS = {  # icon and text
    Delivery.Trigger.HAND: ("touch_app", "Queued again manually"),
    Delivery.Trigger.REPLAY: ("replay", "Queued again by replay"),
    Delivery.Trigger.BACKFILL: ("history", "Queued by backfill"),
}
JOB_TRIGGERS = (Delivery.Trigger.REPLAY, Delivery.Trigger.BACKFILL)
SUMMARY_STATES = (State.DELIVERED, State.FAILED, State.QUEUED, State.FILTERED, State.CANCELLED)
STATES_SHOWN_AT_ZERO = (State.DELIVERED, State.FAILED)  # their zero is information, too
REPLAY_FORM_FIELDS = {  # search key → equivalent field of the replay form
    "installation": "installation", "state": "states", "event": "event", "user": "user_id",
    "anon": "anonymous_id", "message": "message_id", "error": "error", "source": "source",
    "since": "since", "until": "until", "resolved": "resolved",
}  # fmt: skip
BULK_ACTION_LINKS = (
    ("resolve", State.FAILED, "Mark all matches resolved…"),
    ("cancel", State.QUEUED, "Cancel all matches…"),
)
FilterLink = tuple[str, str, bool]  # title, URL, whether it is selected


@dataclass(frozen=True)
class DeliveryRow:
    """A delivery as a row of the log.

    replay  the id of the replay that queued it, or None
    """

    delivery: Delivery
    replay: int | None
    now: datetime

    @property
    def status(self) -> StatusText:
        return status_chip(self.delivery)

    @property
    def profile_id(self) -> str:
        event = self.delivery.event
        return event.user_id or event.anonymous_id

    @property
    def error(self) -> str:
        return ERROR_LABELS.get(self.delivery.error, self.delivery.error)

    @cached_property
    def next_attempt(self) -> datetime | str:
        """The time of the next attempt, or why there is none for now; "" if neither applies."""
        delivery = self.delivery
        if delivery.state == State.QUEUED and is_on_hold(delivery):
            return "needs attention" if delivery.installation.enabled else "paused"
        return next_attempt_at(delivery, self.now) or ""

    @property
    def gives_up_at(self) -> datetime | None:
        """When retrying ends; None before the first failed attempt and while on hold."""
        delivery = self.delivery
        return gives_up_at(delivery) if delivery.attempts and not is_on_hold(delivery) else None

    @property
    def trigger(self) -> tuple[str, str] | None:
        """What queued the delivery, as icon and text; None if the arrival of its event did."""
        if self.delivery.trigger not in TRIGGER_LABELS:
            return None
        icon, words = TRIGGER_LABELS[self.delivery.trigger]
        return icon, f"{words} {self.replay}" if self.replay else words

    @property
    def version(self) -> str:
        """A text that changes whenever the visible row does."""
        delivery = self.delivery
        tried = f"{delivery.attempts} {delivery.error} {delivery.last_attempt_id}"
        state = f"{delivery.state} {delivery.current_resolution or ''}"
        return f"{state} {tried} {self.next_attempt} {delivery.trigger} {self.replay or ''}"


@dataclass(frozen=True)
class Explorer:
    """One view of the log.

    search_text  the search as it was typed if it has problems, so that it can be corrected
    """

    search: Search
    search_text: str
    before: int | None
    after: int | None
    now: datetime

    @cached_property
    def query(self) -> LogQuery:
        return compile_search(self.search, self.now)

    @cached_property
    def page(self) -> Page:
        return self.query.page(limit=LOG_PAGE_SIZE, before=self.before, after=self.after)

    @property
    def rows(self) -> list[DeliveryRow]:
        by_jobs = [each.pk for each in self.page.rows if each.trigger in JOB_TRIGGERS]
        replays = querysets.last_replay_ids(by_jobs) if by_jobs else {}
        return [
            DeliveryRow(delivery, replays.get(delivery.pk), self.now) for delivery in self.page.rows
        ]

    @cached_property
    def scanned_back_to(self) -> datetime | None:
        if self.page.scanned_to is None:
            return None
        edge = Delivery.objects.filter(pk=self.page.scanned_to)
        return edge.values_list("queued_at", flat=True).first()

    @cached_property
    def count(self) -> str:
        """The number of all matches, or "" if counting them would mean scanning the log."""
        page = self.page
        if not (page.has_newer or page.has_older):
            return format_bounded_count(len(page.rows))
        return "" if self.query.is_scanned else format_bounded_count(self.query.count())

    @cached_property
    def summary(self) -> Summary | None:
        """The summary of all matches; None except on the newest page."""
        if self.before is not None or self.after is not None:
            return None
        found = (
            self.query if self.page.rows else LogQuery(querysets.deliveries_with_relations().none())
        )
        return summarize(self.search, found, self.now)

    @property
    def figures(self) -> Iterator[tuple[str, str, str, datetime | None]]:
        """Yield the figures of the summary: label, number, URL of the search, and a time."""
        found = self.summary
        if found is None:
            return
        for state in SUMMARY_STATES:
            count = getattr(found, state)
            if state == Delivery.State.QUEUED and found.queued:
                yield "Waiting", found.queued, self._state_url(state), found.oldest_queued_at
            elif state != Delivery.State.QUEUED and (count or state in STATES_SHOWN_AT_ZERO):
                yield state.label, f"{count:,}", self._state_url(state), None

    def _state_url(self, state: str) -> str:
        return explorer_link(self.search.only("state", state))

    @property
    def groups(self) -> Iterator[tuple[ErrorGroup, str]]:
        """Yield groups of similar errors, each with the URL of the search for them."""
        for group in self.summary.groups if self.summary else ():
            keys = {term.key for term in group.terms}
            others = tuple(term for term in self.search.terms if term.key not in keys)
            yield group, explorer_link(Search(others + group.terms))

    @cached_property
    def trend(self) -> str:
        """The settled deliveries over time as an SVG, or "" if there are none."""
        return trend_svg(self.summary.bars) if self.summary else ""

    @property
    def search_without_times(self) -> Search:
        """The search without times, to which a selection on the trend adds its own."""
        return self.search.only("since").only("until")

    # --- links ---

    @property
    def newest(self) -> str:
        return explorer_link(self.search) if self.page.has_newer else ""

    @property
    def newer(self) -> str:
        if not self.page.has_newer or not self.page.rows or self.query.is_scanned:
            return ""
        return explorer_link(self.search, after=self.page.rows[0].pk)

    @property
    def older(self) -> str:
        page = self.page
        if not page.has_older:
            return ""
        return explorer_link(self.search, before=page.scanned_to or page.rows[-1].pk)

    @cached_property
    def replay_url(self) -> str:
        """The URL of a new replay of all matches, or "" if a replay cannot express the search.

        Examples are a search of several installations, and one that excludes a state.
        """
        search = self.search
        of_fields = [term for term in search.terms if self._has_field(term)]
        rest = search.without(*of_fields)
        cannot = {term.key for term in rest.terms} & SEARCH_KEYS_WITH_OWN_FIELD
        if search.problems or len(search.values("installation")) != 1 or cannot:
            return ""
        params = [(REPLAY_FORM_FIELDS[term.key], self._replay_value(term)) for term in of_fields]
        params += [("q", str(rest))] if rest.terms else []
        return f"{reverse('admin:delivery_replay_new')}?{urlencode(params)}"

    def _has_field(self, term: Term) -> bool:
        """Return whether the replay form has a field that is equivalent to the term."""
        once = term.key == "state" or len(self.search.values(term.key)) == 1
        return term.key in REPLAY_FORM_FIELDS and once and not term.negated

    @property
    def bulk_actions(self) -> Iterator[tuple[str, str]]:
        """Yield the actions on all matches in one installation, as title and URL."""
        states = self.search.values("state")
        if self.search.problems or len(self.search.values("installation")) != 1:
            return
        for action, state, title in BULK_ACTION_LINKS:
            if states == [state]:
                url = reverse("admin:delivery_delivery_all", args=[action])
                yield title, f"{url}{explorer_link(self.search)}"

    def _replay_value(self, term: Term) -> str:
        """Return a term's value as the form of a replay takes it."""
        if term.key in SUGGESTED_MODELS:
            return str(self.search.ids_of(term.key)[0])
        if term.key in SINGLE_USE_KEYS:
            return parse_time(term.value, self.now).isoformat(timespec="seconds")
        return term.value

    @property
    def chips(self) -> list[tuple[Term, str]]:
        """Each term with the URL of the search without it, except those selected above the
        table."""
        above = self._selected_choice("state"), self._selected_choice("since")
        return [
            (term, explorer_link(self.search.without(term)))
            for term in self.search.terms
            if (term.key, term.value) not in above
        ]

    def _selected_choice(self, key: str) -> tuple[str, str]:
        """Return the only value of a key if it is among the choices above the table."""
        choices, values = (
            dict(LOG_STATE_CHOICES if key == "state" else LOG_TIME_CHOICES),
            self.search.values(key),
        )
        return (key, values[0]) if len(values) == 1 and values[0] in choices else (key, "")

    @property
    def states(self) -> Iterator[FilterLink]:
        return self._choices("state", LOG_STATE_CHOICES)

    @property
    def spans(self) -> Iterator[FilterLink]:
        return self._choices("since", LOG_TIME_CHOICES)

    def _choices(self, key: str, choices: tuple[tuple[str, str], ...]) -> Iterator[FilterLink]:
        values = self.search.values(key)
        for value, title in choices:
            wanted = [value] if value else []
            yield title, explorer_link(self.search.only(key, *wanted)), values == wanted

    @property
    def empty_reason(self) -> str:
        """What is missing: "installation", "event", or "wanted" if no event was wanted."""
        if not Installation.objects.exists():
            return "installation"
        return "wanted" if querysets.has_events() else "event"

    @property
    def keys(self) -> list[dict[str, object]]:
        """The suggestions of the search box that need no request."""
        return [
            {"key": key.name, "help": key.help, "choices": key.choices}
            for key in SEARCH_KEYS.values()
        ]


def build_explorer(params: QueryDict, now: datetime) -> Explorer:
    """Return the view for the parameters of a URL: `q`, or single keys as other pages link them."""
    single = [(key, value) for key in SEARCH_KEYS for value in params.getlist(key) if value]
    if params.get("received"):
        single.append(("since", params["received"]))
    search = resolve_names(parse_search(params.get("q", ""), single))
    search_text = params["q"] if search.problems and "q" in params else str(search)
    return Explorer(
        search,
        search_text,
        parse_integer(params.get("before")),
        parse_integer(params.get("after")),
        now,
    )


def explorer_link(search: Search, **place: int) -> str:
    params = {"q": str(search)} if search.terms else {}
    return f"?{urlencode({**params, **place})}"
