"""Tables of lanes, known facts and rate limits."""

from datetime import datetime

from django.db import models
from django.utils import timezone

from integrations.models import Installation


def either(is_so: models.Q, value: object, other: object) -> models.Case:
    """Return one value for rows that meet the condition, and another for the rest."""
    return models.Case(models.When(is_so, then=value), default=other)


WAITING = models.Q(paused=False, failures__gt=0)  # waiting for an unavailable vendor


class LaneQuerySet(models.QuerySet["Lane"]):
    def resume(self) -> int:
        """Resume paused and waiting lanes at once, and restart their retries; return how many.

        A lane that waited for its vendor still counts as waiting until the next attempt is over.
        """
        now = timezone.now()
        return self.update(
            paused=False,
            due_at=either(WAITING, now, None),
            failures=either(WAITING, 1, 0),
            changed_at=either(WAITING, models.F("changed_at"), now),
        )


class Lane(models.Model):
    """The ordered queue of one installation; at most one worker holds its lease."""

    installation = models.ForeignKey(Installation, models.CASCADE, related_name="lanes")
    number = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, help_text="Fencing token: only its holder may write.")
    lease_until = models.DateTimeField(null=True)
    holder = models.CharField(max_length=100, blank=True, help_text="Process that holds the lease.")
    woken_at = models.DateTimeField(
        null=True, help_text="When the last unanswered wake-up was queued."
    )
    due_at = models.DateTimeField(
        null=True, help_text="Not before this time, because the vendor is unavailable."
    )
    failures = models.PositiveIntegerField(
        default=0, help_text="Consecutive failures of the vendor."
    )
    last_error = models.TextField(blank=True)
    paused = models.BooleanField(default=False, help_text="Until a person fixes the installation.")
    deaths = models.PositiveSmallIntegerField(
        db_default=0, help_text="Workers that died holding the lease since it was last released."
    )
    suspect = models.BigIntegerField(
        null=True, help_text="The delivery being shaped, recorded after workers have died."
    )
    suspected = models.PositiveSmallIntegerField(
        db_default=0, help_text="How often in a row this delivery was the suspect."
    )
    changed_at = models.DateTimeField(
        default=timezone.now, help_text="When the lane began to wait or was paused."
    )

    objects = LaneQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "number"], name="one_lane_of_each_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.installation} lane {self.number}"

    def is_busy(self, now: datetime) -> bool:
        """Return whether a worker may have a request of this lane in flight."""
        if self.lease is None or self.lease_until is None or self.paused:
            return False
        waits = self.due_at is not None and self.due_at > now
        return not waits and self.lease_until >= now

    def is_retrying(self, now: datetime) -> bool:
        """Return whether the vendor was unavailable and the next attempt is due or in flight.

        Until its outcome is known, the vendor counts as unavailable.
        """
        is_due = self.due_at is not None and self.due_at <= now
        return is_due and self.failures > 0 and not self.paused


class Told(models.Model):
    """A fact that a vendor has accepted and needs only once."""

    installation = models.ForeignKey(Installation, models.CASCADE)
    key = models.CharField(max_length=300)
    value = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "key"], name="told_once"),
        ]

    def __str__(self) -> str:
        return f"{self.key} = {self.value}"


class Bucket(models.Model):
    """The token bucket of a vendor's rate limit, or the counter of an allowance."""

    key = models.CharField(max_length=400, unique=True)
    tokens = models.FloatField()
    at = models.DateTimeField(db_index=True, help_text="When the bucket had this number of tokens.")

    def __str__(self) -> str:
        return self.key
