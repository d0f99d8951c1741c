"""Fan-out: queue a delivery for each installation that wants an event."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property

import msgspec

from delivery import bulk
from delivery.ingest.parsing import Parsed
from delivery.lanes import routes as lanes_routes
from delivery.models import Delivery, Tally
from delivery.transform.stored_messages import CUT, message_of
from delivery.transform.triggers import blueprint_or_none, wants
from integrations.blueprints import NAMED, Blueprint, View, view_of
from integrations.messages import Message

Came = tuple[Parsed, datetime]  # a message, and when it came

DELIVERY = (
    "event_id", "installation_id", "lane_id", "state", "queued_at", "attempts", "failures", "error",
    "reason", "notes",
)  # fmt: skip


class Arrival:
    """A message that has just come in, to be asked which blueprints want it.

    Its body is decoded only for a trigger that reads what no column holds, and then once.
    """

    def __init__(self, parsed: Parsed, now: datetime):
        self.parsed, self.now = parsed, now

    @property
    def person(self) -> str:
        return self.parsed.user_id or self.parsed.anonymous_id

    def is_wanted(self, blueprint: Blueprint | None) -> bool:
        """Return whether a blueprint wants it, or errs."""
        reads = blueprint.reads(self.parsed.type) if blueprint else frozenset()
        return wants(blueprint, lambda: self._view_of(reads), self.parsed.message_id)

    def _view_of(self, fields: frozenset[str]) -> View:
        return self.columns if self._suffices(fields) else self.view

    def _suffices(self, reads: frozenset[str]) -> bool:
        """Say whether the columns hold these fields whole."""
        if not reads:
            return True
        longest = max(map(len, (self.parsed.name, self.parsed.user_id, self.parsed.anonymous_id)))
        return longest < CUT and reads <= self.columns.keys()

    @cached_property
    def columns(self) -> View:
        parsed = self.parsed
        columns = {
            "type": parsed.type,
            "messageId": parsed.message_id,
            "userId": parsed.user_id or None,
            "anonymousId": parsed.anonymous_id or None,
        }
        if parsed.type in NAMED:
            columns[NAMED[parsed.type]] = parsed.name or None
        return columns

    @cached_property
    def view(self) -> View:
        return view_of(self.message)

    @property
    def message(self) -> Message:
        parsed = self.parsed
        return message_of(
            parsed.text,
            parsed.type,
            parsed.message_id,
            parsed.name,
            parsed.user_id,
            parsed.anonymous_id,
            parsed.timestamp,
            self.now,
            parsed.added_context,
        )


def fan_out(
    source: int,
    new: Sequence[tuple[int, Came]],
    routes: Sequence[lanes_routes.Route],
    whole: bulk.Transaction,
) -> list[int]:
    """Queue a delivery for each installation that wants an event, count the others.

    Return the lanes that have something new.
    """
    arrivals = {pk: Arrival(*came) for pk, came in new}
    rows, unwanted = [], {}
    for route in routes:
        wanted = _wanted(route.revision_id, arrivals)
        rows += [
            (pk, route.installation_id, route.lane_of(arrivals[pk].person),
             Delivery.State.QUEUED, arrivals[pk].now, 0, 0, "", "", "")
            for pk in wanted
        ]  # fmt: skip
        unwanted[route.installation_id] = len(new) - len(wanted)
    if rows:
        rows.sort()  # by event, so that deliveries of all lanes rise together
        whole.do(bulk.insertion(Delivery, DELIVERY, rows))
    at = max(now for _, (_, now) in new)
    tally = (source, at, len(new), msgspec.json.encode(unwanted).decode())
    whole.do(bulk.insertion(Tally, ("source_id", "at", "events", "unwanted"), [tally]))
    return sorted({lane for _, _, lane, *_ in rows})


def _wanted(revision: int, arrivals: Mapping[int, Arrival]) -> list[int]:
    blueprint = blueprint_or_none(revision)
    return [pk for pk, arrival in arrivals.items() if arrival.is_wanted(blueprint)]
