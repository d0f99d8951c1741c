"""Records cluster restarts with their reasons, kept for a day in the heartbeat table."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from delivery.models import Heartbeat

RESTARTS_KEPT_FOR = timedelta(days=1)
MAX_RESTARTS_KEPT = 100
RESTART_PREFIX = "restart "
RESTART_TOKEN_LENGTH = (
    8  # characters between prefix and reason, so that two restarts may have the same reason
)


@dataclass(frozen=True, slots=True)
class Restart:
    at: datetime
    reason: str


def record_restart(reason: str) -> None:
    """Record that a cluster was restarted, and delete old restarts."""
    name = f"{RESTART_PREFIX}{secrets.token_hex(RESTART_TOKEN_LENGTH // 2)} {reason}"
    most = Heartbeat._meta.get_field("name").max_length
    Heartbeat.objects.create(name=name[:most], at=timezone.now())
    restarts = Heartbeat.objects.filter(name__startswith=RESTART_PREFIX)
    restarts.filter(at__lt=timezone.now() - RESTARTS_KEPT_FOR).delete()
    too_many = restarts.order_by("-at").values_list("name", flat=True)[MAX_RESTARTS_KEPT:]
    restarts.filter(name__in=list(too_many)).delete()


def list_restarts_since(moment: datetime) -> list[Restart]:
    """Return the restarts since a moment, newest first."""
    rows = Heartbeat.objects.filter(name__startswith=RESTART_PREFIX, at__gte=moment).order_by("-at")
    return [
        Restart(row.at, row.name[len(RESTART_PREFIX) + RESTART_TOKEN_LENGTH + 1 :]) for row in rows
    ]
