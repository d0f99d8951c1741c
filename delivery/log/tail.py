"""Follows the log: yields each delivery when it is created and again when its state changes."""

from collections.abc import Callable, Iterable, Iterator

from delivery.log.search.query import LogQuery
from delivery.models import Delivery

TAIL_OVERLAP_IDS = 200  # ids read again, because transactions may commit out of id order
TAIL_MAX_ROWS = 1_000  # deliveries tracked; older ones are not reported when they settle


def follow_deliveries(query: LogQuery, wait: Callable[[], bool]) -> Iterator[list[Delivery]]:
    """Yield the deliveries that were created or changed their state since the last poll.

    wait  pauses between two polls and returns whether to continue
    """
    rows, known = query.matching, _states_by_id(query.page(limit=TAIL_MAX_ROWS).rows)
    start = Delivery.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    while wait():
        last = max(known, default=start)
        found = rows.filter(pk__gt=last - TAIL_OVERLAP_IDS).order_by("pk")[:TAIL_MAX_ROWS]
        queued = [pk for pk, state in known.items() if state == Delivery.State.QUEUED]
        now = {each.pk: each for each in (*found, *rows.filter(pk__in=queued))}
        yield [each for pk, each in sorted(now.items()) if known.get(pk) != each.state]
        known |= _states_by_id(now.values())
        known = dict(sorted(known.items())[-TAIL_MAX_ROWS:])


def _states_by_id(rows: Iterable[Delivery]) -> dict[int, str]:
    return {each.pk: each.state for each in rows}
