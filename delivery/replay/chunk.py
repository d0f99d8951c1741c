"""Finds and queues one chunk of a replay, and takes back unsent deliveries on cancellation.

The chunk is looked up first, without a lock. Then one transaction locks the replay's row, queues
the chunk and moves the cursor. A crash leaves both done or neither, so that nothing is skipped and
nothing is queued twice.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from delivery import bulk
from delivery.accounting import record
from delivery.accounting.ledger import PAST_OFFERED, add_to_totals
from delivery.lanes import routes
from delivery.models import Delivery, Event, Lane, Replay, Replayed
from delivery.replay.selection import LAST_BLUEPRINT, ReplayKind, ReplayRange, selection_from_json
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS, decode_stored_message
from delivery.transform.switches import is_allowed
from delivery.transform.triggers import blueprint_or_none, wants_message
from integrations.blueprints import build_message_view
from integrations.models import Installation

logger = logging.getLogger(__name__)

BODIES_PER_QUERY = 200  # events whose bodies are in memory at a time

State = Delivery.State

BACKFILL_COLUMNS = (
    "event_id", "installation_id", "lane_id", "state", "trigger", "queued_at", "attempts",
    "failures", "error", "reason", "notes",
)  # fmt: skip
REPLAYED_COLUMNS = ("delivery_id", "replay_id", "state", "settled_at", "error", "reason")


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """The next ids of a replay, and the cursor after them.

    ids       the deliveries to queue again, or the events to deliver
    unwanted  events up to the cursor that the blueprint has no action for
    """

    cursor: int
    ids: Sequence[int]
    unwanted: int = 0


def next_chunk(span: ReplayRange, after: int, limit: int, revision_id: int | None) -> ReplayChunk:
    """Return up to `limit` matches after an id, from one window."""
    end = span.window_end(after)
    if span.kind == ReplayKind.REPLAY:
        ids = list(span.within(after, end).values_list("pk", flat=True)[:limit])
        return ReplayChunk(ids[-1] if len(ids) == limit else end, ids)
    ids, unwanted = [], 0
    for pk, is_wanted in match_events(span, after, end, revision_id):
        if is_wanted:
            ids.append(pk)
        else:
            unwanted += 1
        if len(ids) == limit:
            return ReplayChunk(pk, ids, unwanted)
    return ReplayChunk(end, ids, unwanted)


def match_events(
    span: ReplayRange, after: int, end: int, revision_id: int | None
) -> Iterator[tuple[int, bool]]:
    """Yield each event id of a window, and whether the installation wants the event.

    It does if the sender has not switched it off, and its blueprint has an action for the event.
    """
    blueprint = blueprint_or_none(revision_id) if revision_id else None
    installation = Installation.objects.get(pk=span.installation_id)
    while rows := list(
        span.within(after, end).values_list("pk", *STORED_MESSAGE_COLUMNS)[:BODIES_PER_QUERY]
    ):
        for pk, *event in rows:
            message = decode_stored_message(*event)
            yield (
                pk,
                is_allowed(message, installation)
                and wants_message(
                    blueprint,
                    lambda message=message: build_message_view(message),
                    message.message_id,
                ),
            )
        after = rows[-1][0]


# --- writing a chunk, within the transaction ----------------------------------------------------


def requeue_chunk(replay: Replay, chunk: ReplayChunk, lane: Lane, now: datetime) -> int:
    """Queue settled deliveries again and keep their previous state; return how many."""
    rows = list(
        Delivery.objects.select_for_update()
        .filter(pk__in=chunk.ids)
        .exclude(state=State.QUEUED)
        .values_list("pk", "state", "settled_at", "error", "reason")
    )
    if rows:
        kept = ((pk, replay.pk, *before) for pk, *before in rows)
        bulk.insert(Replayed, REPLAYED_COLUMNS, kept)
        deliveries = Delivery.objects.filter(pk__in=[pk for pk, *_ in rows])
        deliveries.deliver_again(now, Delivery.Trigger.REPLAY)
        deliveries.update(lane=lane)
    return len(rows)


def backfill_chunk(replay: Replay, chunk: ReplayChunk, lane: Lane, now: datetime) -> int:
    """Create deliveries for events that have none and still exist; return how many."""
    installation, trigger = replay.installation_id, Delivery.Trigger.BACKFILL
    # Locked, so that a purge of old events either runs before this or sees the new deliveries.
    there = Event.objects.select_for_update(no_key=True).filter(pk__in=chunk.ids).order_by("pk")
    rows = (
        (pk, installation, lane.pk, State.QUEUED, trigger, now, 0, 0, "", "", "")
        for pk in there.values_list("pk", flat=True)
    )
    names = ("id", "event_id")
    made = bulk.insert(Delivery, BACKFILL_COLUMNS, rows, ignore_conflicts=True, returning=names)
    if made:
        ids = [pk for pk, _ in made]
        bulk.insert(Replayed, REPLAYED_COLUMNS, ((pk, replay.pk, "", None, "", "") for pk in ids))
        replay.first_delivery = min([replay.first_delivery or min(ids), *ids])
        replay.last_delivery = max([replay.last_delivery or 0, *ids])
        # Counted as offered now, so that the ledger closes even if no action matched on arrival.
        add_to_totals(Counter({f"{PAST_OFFERED}{replay.installation_id}": len(ids)}))
    return len(made)


def take_back(replay: Replay, lane: Lane, now: datetime) -> int:
    """Restore unsent deliveries to their previous state, or cancel those of a backfill.

    Return how many.
    """
    waiting = Delivery.objects.filter(lane=lane, state=State.QUEUED)
    rows = Replayed.objects.filter(replay=replay, delivery__in=waiting.values("pk"))
    reason = f"{replay} was cancelled before it was sent."
    before = [
        (row.delivery_id, row.state, row.settled_at, row.error, row.reason)
        if row.state
        else (row.delivery_id, State.CANCELLED, now, "", reason)
        for row in rows
    ]
    if not before:
        return 0
    if replay.kind == ReplayKind.BACKFILL:
        _count_cancelled(replay.installation_id, [pk for pk, *_ in before], now)
    names = ["state", "settled_at", "error", "reason"]
    where = "delivery_delivery.state = 'queued'"
    return bulk.update(Delivery, names, before, where=where)


def _count_cancelled(installation_id: int, ids: Sequence[int], now: datetime) -> None:
    rows = Delivery.objects.filter(pk__in=ids).order_by()
    counts = rows.values_list("event__source").annotate(n=Count("pk"))
    sums = {source: record.MetricCounts(cancelled=n) for source, n in counts}
    record.append_settlement(installation_id, sums, now)


def lane_for_replay(replay: Replay) -> Lane:
    as_before = selection_from_json(replay.wanted).blueprint == LAST_BLUEPRINT
    return routes.get_replay_lane(
        replay.installation_id,
        routes.ORIGINAL_REVISION_LANE_NUMBER if as_before else routes.REPLAY_LANE_NUMBER,
    )


def has_unsent_deliveries(replay: Replay) -> bool:
    """Return whether any delivery that the replay queued is still unsent."""
    lane = lane_for_replay(replay)
    queued = Delivery.objects.filter(lane=lane, state=State.QUEUED)
    return Replayed.objects.filter(replay=replay, delivery__in=queued.values("pk")).exists()
