"""Penstock in pytest's own process, with its real database and a vendor on localhost."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from delivery.accounting.ledger import build_ledger
from delivery.lanes import routes
from delivery.models import Delivery, Lane
from delivery.worker import attempt, drain
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import Installation, Source
from tests.delivery.worker.test_batch import send_in
from tests.faults.registry import Result

__all__ = ["InProcessPenstock", "in_process_penstock", "send_in"]


class InProcessPenstock:
    """One source, and installations of Heap whose vendor is `vendor_url`."""

    def __init__(self, vendor_url: str):
        settings.SANDBOX_URL = vendor_url  # in the override of `in_process_penstock`
        self.source = Source.objects.create(name="Faults")

    def install(self, name: str = "Heap", **fields: object) -> Installation:
        config = {"app_id": "123", "region": "sandbox"}
        installation = install(catalog()["heap"], name=name, config=config)
        Installation.objects.filter(pk=installation.pk).update(**fields)
        routes.plan_routes()
        return installation

    def send(self, *messages: dict[str, object]) -> None:
        for start in range(0, len(messages), 1_000):
            send_in(self.source, *messages[start : start + 1_000])

    def drain_once(self, lane_id: int) -> None:
        """Drain a lane once, without the waits between retries."""
        with patch.object(drain, "SHORT_WAIT", 0):
            drain.drain_lane(lane_id)

    def make_all_due(self) -> None:
        """Make every lane and every delivery that was set aside due now."""
        Lane.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
        Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


@contextmanager
def in_process_penstock(vendor_url: str) -> Iterator[InProcessPenstock]:
    with ExitStack() as stack:
        stack.enter_context(override_settings(SANDBOX_URL=vendor_url))
        stack.enter_context(patch.object(drain, "IDLE_STAY", 0))
        stack.callback(lambda: attempt.shared_session().close())
        yield InProcessPenstock(vendor_url)


def make_tracks(count: int, *, users: int = 1, prefix: str = "inside") -> list[dict[str, object]]:
    return [
        {
            "type": "track", "event": f"E{n % 20}", "userId": f"user-{n % users}",
            "messageId": f"{prefix}-{n:06}", "properties": {"number": n},
        }
        for n in range(count)
    ]  # fmt: skip


def add_ledger_to(result: Result) -> None:
    """Add the ledger to the result. The ledger must close."""
    book = build_ledger()
    assert book.closes, book
    result.accepted += book.stored
    for line in book.lines:
        result.delivered += line.delivered
        result.pending += line.queued
        result.failed += line.failed
