"""Tables of accepted events and rejected messages."""

from django.db import models
from django.utils import timezone

from integrations.models import Source


class Event(models.Model):
    """A stored message. Ids longer than their column are truncated; the body has the full ids."""

    source = models.ForeignKey(Source, models.PROTECT)
    message_id = models.CharField(max_length=255)
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=255, blank=True)
    user_id = models.CharField(max_length=255, blank=True)
    anonymous_id = models.CharField(max_length=255, blank=True)
    timestamp = models.DateTimeField(help_text="When it happened, according to the source.")
    received_at = models.DateTimeField(help_text="When it was stored.")
    notes = models.TextField(blank=True, help_text="Repairs made on arrival, as a JSON list.")
    added_context = models.TextField(
        blank=True, help_text="Context that the request adds to the message, as JSON."
    )

    class Meta:
        constraints = [
            # message_id first, so that the index also serves the search by message id.
            models.UniqueConstraint(
                fields=["message_id", "source"], name="one_event_per_source_and_message_id"
            ),
        ]
        indexes = [
            # Newest first, so that a user with a million events costs as much as one with ten.
            models.Index(
                fields=["user_id", "-id"], condition=~models.Q(user_id=""), name="event_of_user"
            ),
            models.Index(
                fields=["anonymous_id", "-id"],
                condition=~models.Q(anonymous_id=""),
                name="event_of_visitor",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.name}".strip()


class EventBody(models.Model):
    """The message as received. A separate table, so that lists of events do not read it."""

    event = models.OneToOneField(
        Event, models.CASCADE, primary_key=True, related_name="body", db_constraint=False
    )
    text = models.TextField(help_text="JSON")

    def __str__(self) -> str:
        return f"body of event {self.event_id}"


class Rejection(models.Model):
    """A message or request that ingest rejected, and the reason."""

    source = models.ForeignKey(Source, models.CASCADE)
    received_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=300)
    text = models.TextField(help_text="The message as sent, or its start if it is too large.")

    def __str__(self) -> str:
        return self.reason


class Signature(models.Model):
    """The signature of an accepted request, which is rejected if it is sent again."""

    text = models.CharField(max_length=100, unique=True)
    received_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"signature of {self.received_at}"
