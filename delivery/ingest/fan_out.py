"""Fan-out: queue a delivery for each installation that wants an event."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property

import msgspec

from delivery import bulk
from delivery.ingest.parsing import Parsed
from delivery.lanes import routes as lanes_routes
from delivery.models import Delivery, Tally
from delivery.transform.stored_messages import CUT, compiled, message_of
from integrations.blueprints import NAMED, Blueprint, BlueprintError, View, view_of
from integrations.messages import Message

logger = logging.getLogger(__name__)

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

    def is_wanted(self, blueprint: Blueprint) -> bool:
        """Say whether a blueprint wants it. A trigger that errs counts as wanting: the event is
        queued, and what is wrong will be said on its delivery."""
        reads = blueprint.reads(self.parsed.type)
        try:
            return blueprint.wants(self.columns if self._suffices(reads) else self.view)
        except (LookupError, TypeError, ValueError, RecursionError):
            logger.exception("A trigger erred for message %s", self.parsed.message_id)
            return True

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
    try:
        blueprint = compiled(revision)
    except BlueprintError:
        logger.exception("Revision %s cannot be compiled", revision)
        return list(arrivals)  # it counts as wanting: nothing is lost when it is mended
    return [pk for pk, arrival in arrivals.items() if arrival.is_wanted(blueprint)]
