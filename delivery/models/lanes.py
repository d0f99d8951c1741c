"""Tables of lanes and of what lanes share: known facts and rate limits."""

from datetime import datetime

from django.db import models
from django.utils import timezone

from integrations.models import Installation


def either(is_so: models.Q, value: object, other: object) -> models.Case:
    """Return the one value for rows that are so, and the other for those that are not."""
    return models.Case(models.When(is_so, then=value), default=other)


WAITING = models.Q(paused=False, failures__gt=0)  # lanes whose vendor was unavailable, and may be


class LaneQuerySet(models.QuerySet["Lane"]):
    def resume(self) -> int:
        """Let paused and waiting lanes go on at once, their waits beginning anew; return how many
        there were. Who waited for the vendor does so until the try of now is over."""
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
    lease = models.UUIDField(null=True, help_text="The fence: whoever holds it may write.")
    lease_until = models.DateTimeField(null=True)
    holder = models.CharField(max_length=100, blank=True, help_text="Which cluster has the lease.")
    woken_at = models.DateTimeField(null=True, help_text="A wake-up that nobody answered yet.")
    due_at = models.DateTimeField(null=True, help_text="Not before: the vendor is unavailable.")
    failures = models.PositiveIntegerField(default=0, help_text="Unavailable in a row.")
    last_error = models.TextField(blank=True)
    paused = models.BooleanField(default=False, help_text="Until a person mends the installation.")
    deaths = models.PositiveSmallIntegerField(
        db_default=0, help_text="Workers that died with the lease since one let go of it."
    )
    suspect = models.BigIntegerField(
        null=True, help_text="The delivery that is being shaped, after workers have died."
    )
    suspected = models.PositiveSmallIntegerField(
        db_default=0, help_text="How often in a row it was this one."
    )
    changed_at = models.DateTimeField(default=timezone.now, help_text="Of waiting or paused.")

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
        """Say whether a worker may have a request of this lane under way."""
        if self.lease is None or self.lease_until is None or self.paused:
            return False
        waits = self.due_at is not None and self.due_at > now
        return not waits and self.lease_until >= now

    def is_retrying(self, now: datetime) -> bool:
        """Say whether its vendor was unavailable and the next try is due or under way: until that
        one's outcome is known, the vendor still is."""
        is_due = self.due_at is not None and self.due_at <= now
        return is_due and self.failures > 0 and not self.paused


class Told(models.Model):
    """A fact a vendor was told, and needs to be told only once."""

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
    """What is left of a vendor's limit: tokens that run out by sending and come back with time."""

    key = models.CharField(max_length=400, unique=True)
    tokens = models.FloatField()
    at = models.DateTimeField(db_index=True, help_text="When there were as many tokens.")

    def __str__(self) -> str:
        return self.key
