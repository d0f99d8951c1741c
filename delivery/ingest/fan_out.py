"""Fan-out: queue a delivery for each installation that wants an event."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property

import msgspec

from delivery import bulk
from delivery.ingest.parsing import ParsedMessage
from delivery.lanes import routes as lanes_routes
from delivery.models import Delivery, Tally
from delivery.transform.stored_messages import STORED_ID_CHARS, decode_stored_message
from delivery.transform.switches import switch_names
from delivery.transform.triggers import blueprint_or_none, wants_message
from integrations.blueprints import NAME_FIELDS, Blueprint, MessageView, build_message_view
from integrations.messages import Message

ReceivedMessage = tuple[ParsedMessage, datetime]  # a message, and when it was received

NEW_DELIVERY_COLUMNS = (
    "event_id", "installation_id", "lane_id", "state", "queued_at", "attempts", "failures", "error",
    "reason", "notes",
)  # fmt: skip


class IncomingMessage:
    """A message that was just received, as blueprint triggers read it.

    Its body is decoded at most once, and only for a trigger that reads a field without a column.
    """

    def __init__(self, parsed: ParsedMessage, now: datetime):
        self.parsed, self.now = parsed, now

    @property
    def person(self) -> str:
        return self.parsed.user_id or self.parsed.anonymous_id

    def is_wanted(self, blueprint: Blueprint | None) -> bool:
        """Return whether a blueprint wants it; True when the blueprint raises."""
        reads = blueprint.reads(self.parsed.type) if blueprint else frozenset()
        return wants_message(blueprint, lambda: self._view_of(reads), self.parsed.message_id)

    def is_allowed(self, route: lanes_routes.Route) -> bool:
        """Return whether its sender has not switched the installation off."""
        switches = self.parsed.switches
        return switches is None or switches.allow(
            switch_names(route.installation_name, route.destination_key)
        )

    def _view_of(self, fields: frozenset[str]) -> MessageView:
        return self.columns if self._columns_suffice(fields) else self.view

    def _columns_suffice(self, reads: frozenset[str]) -> bool:
        """Return whether the columns hold these fields untruncated."""
        if not reads:
            return True
        longest = max(map(len, (self.parsed.name, self.parsed.user_id, self.parsed.anonymous_id)))
        return longest < STORED_ID_CHARS and reads <= self.columns.keys()

    @cached_property
    def columns(self) -> MessageView:
        parsed = self.parsed
        columns = {
            "type": parsed.type,
            "messageId": parsed.message_id,
            "userId": parsed.user_id or None,
            "anonymousId": parsed.anonymous_id or None,
        }
        if parsed.type in NAME_FIELDS:
            columns[NAME_FIELDS[parsed.type]] = parsed.name or None
        return columns

    @cached_property
    def view(self) -> MessageView:
        return build_message_view(self.message)

    @property
    def message(self) -> Message:
        parsed = self.parsed
        return decode_stored_message(
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
    new: Sequence[tuple[int, ReceivedMessage]],
    routes: Sequence[lanes_routes.Route],
    transaction: bulk.Transaction,
) -> list[int]:
    """Queue a delivery for each installation that wants an event, and count the unwanted events.

    Return the lanes with new deliveries.
    """
    arrivals = {pk: IncomingMessage(*came) for pk, came in new}
    rows, unwanted = [], {}
    for route in routes:
        wanted = _wanted_event_ids(route, arrivals)
        rows += [
            (pk, route.installation_id, route.lane_of(arrivals[pk].person),
             Delivery.State.QUEUED, arrivals[pk].now, 0, 0, "", "", "")
            for pk in wanted
        ]  # fmt: skip
        unwanted[route.installation_id] = len(new) - len(wanted)
    if rows:
        rows.sort()  # by event, so that delivery ids follow event ids in every lane
        transaction.do(bulk.insert_statement(Delivery, NEW_DELIVERY_COLUMNS, rows))
    at = max(now for _, (_, now) in new)
    tally = (source, at, len(new), msgspec.json.encode(unwanted).decode())
    transaction.do(bulk.insert_statement(Tally, ("source_id", "at", "events", "unwanted"), [tally]))
    return sorted({lane for _, _, lane, *_ in rows})


def _wanted_event_ids(
    route: lanes_routes.Route, arrivals: Mapping[int, IncomingMessage]
) -> list[int]:
    blueprint = blueprint_or_none(route.revision_id)
    return [
        pk
        for pk, arrival in arrivals.items()
        if arrival.is_allowed(route) and arrival.is_wanted(blueprint)
    ]
