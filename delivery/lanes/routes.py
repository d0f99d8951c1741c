"""Routes: the installations that a source feeds, and the lane for each person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from django.utils import timezone

from delivery import bulk
from delivery.models import Lane

# Numbers of the lanes for replays, above any number that live traffic uses.
REPLAY_LANE_NUMBER = 1_000

ORIGINAL_REVISION_LANE_NUMBER = 1_001  # its deliveries keep the revision that shaped them last


@dataclass(frozen=True, slots=True)
class Route:
    """An installation's current revision, and its live lanes in the order of their numbers."""

    installation_id: int
    revision_id: int
    lanes: tuple[int, ...]
    installation_name: str = ""
    destination_key: str = ""

    def lane_of(self, person: str) -> int:
        """Return the lane of a person; always the same one, so that their order is kept."""
        return self.lanes[crc32(person.encode()) % len(self.lanes)]


def get_replay_lane(installation_id: int, number: int = REPLAY_LANE_NUMBER) -> Lane:
    """Return a lane apart from the live ones, so that replays do not delay new events."""
    return Lane.objects.get_or_create(installation_id=installation_id, number=number)[0]


def routes_statement(source_id: int | None = None) -> bulk.Statement:
    """Return the statement whose rows `plan_routes` reads."""
    return bulk.Statement(ROUTES_SQL, [source_id, source_id])


def plan_routes(
    source_id: int | None = None, rows: Sequence[tuple[Any, ...]] | None = None
) -> list[Route]:
    """Return the routes of the installations that a source feeds; all of them without a source.

    Missing lanes are created. Each ingest request reads the routes again, so that a new
    installation misses no event.
    """
    rows = bulk.fetch_rows(routes_statement(source_id)) if rows is None else rows
    wanted = list(dict.fromkeys(row[:5] for row in rows))
    lanes: dict[int, dict[int, int]] = {}
    for installation, *_, number, pk in rows:
        lanes.setdefault(installation, {})[number] = pk
    missing = [
        (installation, number, "", 0, "", False, timezone.now())
        for installation, _, count, *_ in wanted
        for number in range(count)
        if number not in lanes.get(installation, {})
    ]
    if missing:
        bulk.insert(Lane, NEW_LANE_COLUMNS, missing, ignore_conflicts=True)
        return plan_routes(source_id)
    return [
        Route(installation, revision, tuple(lanes[installation][n] for n in range(count)), *names)
        for installation, revision, count, *names in wanted
    ]


ROUTES_SQL = (
    "SELECT i.id, i.revision_id, i.lane_count, i.name, i.destination_key, l.number, l.id "
    "FROM integrations_installation i "
    "LEFT JOIN delivery_lane l ON l.installation_id = i.id "
    "WHERE i.revision_id IS NOT NULL AND i.uninstalled_at IS NULL AND (i.all_sources "
    "OR %s IS NULL OR EXISTS (SELECT 1 FROM integrations_installation_sources s "
    "WHERE s.installation_id = i.id AND s.source_id = %s)) ORDER BY i.id"
)

NEW_LANE_COLUMNS = (
    "installation_id", "number", "holder", "failures", "last_error", "paused", "changed_at",
)  # fmt: skip
