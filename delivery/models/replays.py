"""The table of replays."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from integrations.models import Installation


class Replay(models.Model):
    """A job that queues deliveries again, or makes deliveries of past events (a backfill).

    It goes through the log by id, one chunk at a time, and remembers its position.
    """

    class Kind(models.TextChoices):
        REPLAY = "replay"
        BACKFILL = "backfill"

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        CANCELLING = "cancelling"  # its unsent deliveries are being taken back
        CANCELLED = "cancelled"
        DONE = "done"

    installation = models.ForeignKey(Installation, models.CASCADE, related_name="replays")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.REPLAY)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    wanted = models.JSONField(
        help_text="Selection of deliveries or events: replay.selection.ReplaySelection."
    )
    rate = models.FloatField(null=True, help_text="Deliveries per second; empty for no limit.")
    first = models.PositiveBigIntegerField(help_text="The id before the range.")
    cursor = models.PositiveBigIntegerField(help_text="The last id processed.")
    end = models.PositiveBigIntegerField(help_text="The last id of the range.")
    queued = models.PositiveBigIntegerField(default=0, help_text="Deliveries queued by the replay.")
    unwanted = models.PositiveBigIntegerField(
        default=0, help_text="Events that no trigger matched."
    )
    first_delivery = models.PositiveBigIntegerField(
        null=True, help_text="For a backfill: the id range of the deliveries it created."
    )
    last_delivery = models.PositiveBigIntegerField(null=True)
    taken_back = models.PositiveBigIntegerField(
        default=0, help_text="Deliveries taken back by cancelling the replay."
    )
    outcome = models.JSONField(
        default=dict, help_text="Deliveries in each state when the replay ended."
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(
        null=True, help_text="Next step is not before this time, because of the rate."
    )
    stepped_at = models.DateTimeField(
        null=True, help_text="When a worker last advanced the replay."
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["id"],
                condition=models.Q(state__in=["running", "paused", "cancelling"]),
                name="replay_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"

    @property
    def progress(self) -> float:
        """The processed share of its range, from 0 to 1."""
        length = self.end - self.first
        return min((self.cursor - self.first) / length, 1.0) if length > 0 else 1.0

    @property
    def is_open(self) -> bool:
        return self.state not in (self.State.CANCELLED, self.State.DONE)
