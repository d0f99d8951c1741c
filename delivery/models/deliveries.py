"""Tables of deliveries and their attempts."""

from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from delivery.models.events import Event
from delivery.models.lanes import Lane
from delivery.models.replays import Replay
from integrations.models import Installation, Revision

LogRow = TypeVar("LogRow", bound=models.Model)


class LogQuerySet(models.QuerySet[LogRow]):
    """Rows of the log that belong to an installation."""

    def newest_of(self, installation: Any) -> Self:
        """Return the rows of an installation (or of an expression for one), newest first.

        The filter is a range of one id, because with an equality PostgreSQL would scan the primary
        key backwards, which reads the whole log when the installation has few rows.
        """
        own = self.filter(installation__gte=installation, installation__lte=installation)
        return own.order_by("installation_id", "-pk")


class Attempt(models.Model):
    """One HTTP exchange with a vendor; carries one or many deliveries."""

    # No index of its own: PostgreSQL would prefer it to the longer one below, and sort a whole log.
    installation = models.ForeignKey(Installation, models.CASCADE, db_index=False)
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    method = models.CharField(max_length=10)
    url = models.CharField(max_length=500)
    status = models.PositiveSmallIntegerField(
        null=True, help_text="HTTP status; empty without a response."
    )
    outcome = models.CharField(max_length=30, help_text="accepted, or the class of the error")
    error = models.TextField(blank=True)
    items = models.PositiveIntegerField()
    is_test = models.BooleanField(
        default=False, help_text="A test of the installation, which carried no delivery."
    )
    worker = models.CharField(
        max_length=100, db_default="", help_text="Sending process: host and process id."
    )
    taken_at = models.DateTimeField(
        null=True, help_text="When the process took the deliveries from the queue."
    )

    objects = LogQuerySet["Attempt"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["installation", "-id"], name="attempt_newest")]

    def __str__(self) -> str:
        return f"{self.method} {self.url}: {self.status or self.outcome}"


class AttemptBody(models.Model):
    """The request and response of an attempt, with secrets masked.

    A separate table, so that lists of attempts do not read it.
    """

    attempt = models.OneToOneField(
        Attempt, models.CASCADE, primary_key=True, related_name="body", db_constraint=False
    )
    request_headers = models.TextField(help_text="JSON")
    request_body = models.TextField()
    response_headers = models.TextField(help_text="JSON")
    response_body = models.TextField(help_text="The start of the response body.")

    def __str__(self) -> str:
        return f"body of attempt {self.attempt_id}"


class DeliveryQuerySet(LogQuerySet["Delivery"]):
    def deliver_again(self, now: datetime, trigger: str) -> int:
        """Put settled deliveries back into their lane's queue; return how many.

        Deliveries that are already queued stay unchanged. Earlier attempts stay counted.

        trigger  a Delivery.Trigger
        """
        return self.exclude(state=Delivery.State.QUEUED).update(
            state=Delivery.State.QUEUED,
            trigger=trigger,
            queued_at=now,
            settled_at=None,
            due_at=None,
            failures=0,
            error="",
            reason="",
        )

    def due(self, now: datetime) -> "DeliveryQuerySet":
        """Return the deliveries that are queued and may be sent now."""
        due = models.Q(due_at__isnull=True) | models.Q(due_at__lte=now)
        return self.filter(due, state=Delivery.State.QUEUED)


class Delivery(models.Model):
    """One event on its way to one installation."""

    class State(models.TextChoices):
        QUEUED = "queued"
        DELIVERED = "delivered"
        FILTERED = "filtered"  # the blueprint or the destination has nothing to send for it
        FAILED = "failed"  # rejected, or too old
        CANCELLED = "cancelled"  # a user cancelled it

    class Trigger(models.TextChoices):
        AUTO = "auto"  # its event was received
        HAND = "hand"  # a user delivered it again
        REPLAY = "replay"
        BACKFILL = "backfill"

    # No indexes of their own: the unique constraint starts with the event, and `delivery_newest`
    # serves queries by installation better.
    event = models.ForeignKey(
        Event, models.CASCADE, related_name="deliveries", db_constraint=False, db_index=False
    )
    installation = models.ForeignKey(
        Installation, models.CASCADE, related_name="deliveries", db_index=False
    )
    lane = models.ForeignKey(Lane, models.CASCADE, db_constraint=False)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    trigger = models.CharField(
        max_length=10,
        choices=Trigger,
        db_default=Trigger.AUTO,
        help_text="What queued the delivery last.",
    )
    queued_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(
        null=True, help_text="Not sent before this time, because it was set aside."
    )
    failures = models.PositiveSmallIntegerField(
        default=0, help_text="How often the delivery was set aside."
    )
    attempts = models.PositiveIntegerField(default=0)
    last_attempt = models.ForeignKey(
        Attempt, models.SET_NULL, null=True, related_name="+", db_constraint=False, db_index=False
    )
    revision = models.ForeignKey(
        Revision, models.PROTECT, null=True, related_name="+", db_constraint=False, db_index=False
    )
    error = models.CharField(max_length=30, blank=True, help_text="Class of the error.")
    reason = models.TextField(
        blank=True, help_text="Why the delivery was filtered, failed or cancelled."
    )
    notes = models.TextField(blank=True, help_text="Changes made while shaping, as a JSON list.")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["event", "installation"], name="one_delivery_per_event_and_installation"
            ),
        ]
        indexes = [
            models.Index(
                fields=["lane", "id"], condition=models.Q(state="queued"), name="delivery_queue"
            ),
            models.Index(
                fields=["lane", "due_at"],
                condition=models.Q(state="queued", due_at__isnull=False),
                name="delivery_deferred",
            ),
            models.Index(fields=["installation", "-id"], name="delivery_newest"),
            models.Index(
                fields=["state", "-id"],
                condition=models.Q(state__in=["failed", "filtered", "cancelled"]),
                name="delivery_unsent",
            ),
            models.Index(
                fields=["installation", "state", "-id"],
                condition=models.Q(state__in=["failed", "filtered", "cancelled"]),
                name="delivery_unsent_there",
            ),
        ]

    def __str__(self) -> str:
        return f"Delivery {self.pk}"

    @property
    def gives_up_at(self) -> datetime:
        """The time after which it is too old to be retried. Load the installation with it."""
        return self.queued_at + timedelta(days=give_up_days(self.installation))

    @property
    def current_resolution(self) -> "Resolution | None":
        """The resolution, if the delivery has not failed again since."""
        if self.state != self.State.FAILED or self.settled_at is None:
            return None
        found: Resolution | None = getattr(self, "resolution", None)
        return found if found and found.at >= self.settled_at else None

    @staticmethod
    def is_resolved() -> models.Q:
        """Return the condition that a delivery has a `current_resolution`."""
        here = {"delivery": models.OuterRef("pk"), "at__gte": models.OuterRef("settled_at")}
        exists = models.Exists(Resolution.objects.filter(**here))
        return models.Q(state=Delivery.State.FAILED) & models.Q(exists)

    @staticmethod
    def backfilled_since(moment: datetime) -> models.Q:
        """Return the condition that a backfill started at or after `moment` created this delivery.

        Its id is recent although its event is old, so time lookups must count it from the backfill.
        """
        here = models.OuterRef("pk")
        over = Replay.objects.filter(first_delivery__lte=here, last_delivery__gte=here)
        return models.Q(models.Exists(over.filter(created_at__gte=moment)))

    @staticmethod
    def last_backfilled_id(moment: datetime) -> "models.QuerySet[Replay, Any]":
        """Return the query for the last id that such a backfill created; it has at most one row."""
        made = Replay.objects.filter(created_at__gte=moment, last_delivery__isnull=False)
        return made.order_by("-last_delivery").values("last_delivery")[:1]


def give_up_days(installation: Installation) -> float:
    """Return the age in days after which a delivery is not retried."""
    own = installation.give_up_days
    return settings.GIVE_UP_DAYS if own is None else own


class Resolution(models.Model):
    """A note that a failed delivery was dealt with elsewhere. It stays failed, also in the ledger.

    It applies to the failure at the time: a delivery that is delivered again and fails later is not
    resolved, but one that a cancelled replay restores is.
    """

    delivery = models.OneToOneField(
        Delivery, models.CASCADE, primary_key=True, related_name="resolution", db_constraint=False
    )
    at = models.DateTimeField()
    by = models.CharField(max_length=150, help_text="Who resolved it.")
    note = models.CharField(max_length=500, help_text="How it was resolved.")

    def __str__(self) -> str:
        return f"delivery {self.delivery_id} is resolved: {self.note}"


class Carried(models.Model):
    """A delivery that an attempt carried, and its position among the request's items."""

    pk = models.CompositePrimaryKey("delivery_id", "attempt_id")
    delivery = models.ForeignKey(
        Delivery, models.CASCADE, related_name="carried", db_constraint=False, db_index=False
    )
    attempt = models.ForeignKey(
        Attempt, models.CASCADE, related_name="carried", db_constraint=False
    )
    position = models.PositiveIntegerField()
    items = models.PositiveIntegerField(
        default=1,
        db_default=1,
        help_text="Number of items from that position that belong to the delivery.",
    )

    def __str__(self) -> str:
        return f"delivery {self.delivery_id} in attempt {self.attempt_id}"


class Replayed(models.Model):
    """A delivery that a replay queued, and its previous state; "" when the replay created it."""

    pk = models.CompositePrimaryKey("delivery_id", "replay_id")
    delivery = models.ForeignKey(
        Delivery, models.CASCADE, related_name="replayed", db_constraint=False, db_index=False
    )
    replay = models.ForeignKey(Replay, models.CASCADE, related_name="replayed")
    state = models.CharField(max_length=10, blank=True)
    settled_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=30, blank=True)
    reason = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"delivery {self.delivery_id} in replay {self.replay_id}"
