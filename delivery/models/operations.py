"""Tables of incidents and heartbeats."""

from django.db import models


class Incident(models.Model):
    """A problem, from its first sign to its end; the start and the end are notified once each."""

    class Kind(models.TextChoices):
        ATTENTION = "attention", "Needs attention"
        LATE = "late", "Deliveries are late"
        FAILING = "failing", "Too many failures"
        SILENT = "silent", "Nothing comes in"

    kind = models.CharField(max_length=10, choices=Kind)
    subject = models.CharField(
        max_length=50, blank=True, help_text='Such as "installation:3"; empty for the whole system.'
    )
    about = models.CharField(max_length=100)
    text = models.TextField(help_text="The problem, as last seen.")
    opened_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="When the problem was last seen.")
    closed_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)
    mailed_end_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True, help_text="When the webhook was notified.")
    posted_end_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=models.Q(closed_at__isnull=True),
                name="one_open_incident_of_each_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.about}"


class Heartbeat(models.Model):
    """The last sign of life of a process or a periodic task."""

    name = models.CharField(max_length=100, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at}"
