"""Makes one attempt: sends a request, judges the response, and returns the record of both."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

import msgspec
from django.utils import timezone

from delivery.outbound import client
from delivery.transform.guard import DestinationCodeError, guarded_destination
from delivery.worker.lane_threads import yielding_worker
from delivery.worker.results import MAX_ERROR_CHARS, AttemptRecord
from integrations.destination import Destination, Request, Response
from integrations.encryption import mask_secrets
from integrations.errors import DestinationError
from integrations.formats.storable_text import storable_text

AttemptError = DestinationError | DestinationCodeError


@cache
def shared_session() -> client.Session:
    """Return the session of this process; its connections stay open between batches."""
    return client.new_session()


def make_attempt(
    request: Request,
    destination: Destination,
    session: client.Session,
    *,
    secrets: Sequence[str],
    carried: Sequence[int] = (),
    items: int,
    taken_at: datetime | None = None,
    total: float | None = None,
) -> tuple[AttemptRecord, AttemptError | None]:
    """Send a request and judge the response. Return the attempt, and the error unless accepted.

    carried   the delivery of each item, in order; empty for a test event
    taken_at  when these deliveries were taken from the queue
    total     time limit (s) of the whole exchange; the client's default when None
    """
    started_at, clock = timezone.now(), time.monotonic()
    response, error = None, None
    try:
        with yielding_worker():
            response = client.send_request(request, session, total=total)
        with guarded_destination(destination):
            destination.judge(response)
    except (DestinationError, DestinationCodeError) as raised:
        error = raised
    attempt = attempt_record(
        request,
        response,
        error,
        started_at=started_at,
        seconds=time.monotonic() - clock,
        secrets=secrets,
        items=items,
        carried=carried,
        taken_at=taken_at,
    )
    return attempt, error


def attempt_record(
    request: Request,
    response: Response | None,
    error: Exception | None,
    *,
    started_at: datetime,
    seconds: float,
    secrets: Sequence[str],
    items: int,
    carried: Sequence[int] = (),
    taken_at: datetime | None = None,
) -> AttemptRecord:
    """Return an attempt as the log stores it, with secrets masked."""

    def safe(text: str, limit: int | None = None) -> str:
        return storable_text(mask_secrets(text, secrets), limit)

    return AttemptRecord(
        started_at=started_at,
        duration_ms=round(seconds * 1000),
        method=request.method,
        url=safe(request.url),
        status=response.status if response else None,
        outcome=type(error).__name__ if error else "accepted",
        error=safe(str(error or ""), MAX_ERROR_CHARS),
        request_headers=safe(_json(client.build_headers(request))),
        request_body=safe(str(request.body, "utf-8", "replace")),
        response_headers=safe(_json(response.headers if response else {})),
        response_body=safe(response.body if response else ""),
        items=items,
        carried=_positions(carried),
        taken_at=taken_at,
    )


def _positions(carried: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return for each delivery the position of its first item, and how many items it has."""
    counts = Counter(carried)
    first: dict[int, int] = {}
    for position, delivery_id in enumerate(carried):
        first.setdefault(delivery_id, position)
    return [(delivery_id, at, counts[delivery_id]) for delivery_id, at in first.items()]


def _json(value: Mapping[str, str]) -> str:
    return msgspec.json.encode(value).decode()
