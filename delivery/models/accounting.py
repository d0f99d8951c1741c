"""Tables of the ledger and the metrics."""

from django.db import models

from integrations.models import Installation, Source


class Tally(models.Model):
    """Counters of one ingest transaction: the ledger's second, independent record.

    Appended in the transaction of one ingest request, or of several that share a transaction. The
    roll-up (`delivery/accounting/rollup.py`) adds tallies to Past and Metric, which hold the same
    counts in fewer rows, and deletes them.
    """

    source = models.ForeignKey(Source, models.PROTECT)
    at = models.DateTimeField()
    events = models.PositiveIntegerField(help_text="New ones; a message sent again adds nothing.")
    unwanted = models.TextField(
        help_text="JSON: for each installation asked, how many of the events it did not want."
    )

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.events} events at {self.at}"


class Settlement(models.Model):
    """Counters of one settled batch; for deliveries, the counterpart of Tally."""

    installation = models.ForeignKey(
        Installation, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    at = models.DateTimeField()
    attempts = models.PositiveIntegerField()
    refused = models.PositiveIntegerField(help_text="Of the attempts: those not accepted.")
    by_source = models.TextField(help_text="JSON: for each source what became of its events.")

    def __str__(self) -> str:
        return f"batch of {self.installation_id} at {self.at}"


class Metric(models.Model):
    """Counts of one time step for one source and one installation.

    The id is 0 where a count has no source or no installation: attempts and queues belong to an
    installation only, accepted events to a source only.
    """

    class Step(models.IntegerChoices):
        MINUTE = 60
        HOUR = 3_600
        DAY = 86_400

    step = models.PositiveIntegerField(choices=Step, help_text="Seconds.")
    at = models.DateTimeField(help_text="The beginning of the step.")
    installation = models.PositiveBigIntegerField(default=0)
    source = models.PositiveBigIntegerField(default=0)
    accepted = models.PositiveBigIntegerField(default=0, help_text="Events offered.")
    unwanted = models.PositiveBigIntegerField(default=0, help_text="Of these: no trigger fired.")
    delivered = models.PositiveBigIntegerField(default=0)
    filtered = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    cancelled = models.PositiveBigIntegerField(default=0)
    attempts = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0, help_text="Attempts not accepted.")
    queued = models.PositiveBigIntegerField(default=0, help_text="The most that was seen.")
    oldest_queued_s = models.FloatField(default=0, help_text="The oldest that was seen.")
    latency = models.TextField(default="{}", help_text="JSON: how many in each bucket.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["step", "at", "installation", "source"], name="one_metric_of_each_step"
            ),
        ]
        indexes = [
            models.Index(fields=["installation", "step", "at"], name="metric_installation"),
            models.Index(fields=["source", "step", "at"], name="metric_source"),
        ]

    def __str__(self) -> str:
        return f"{self.step} s from {self.at}: {self.source} → {self.installation}"


class Past(models.Model):
    """A count of rolled-up or purged rows, which the ledger adds to the remaining rows."""

    name = models.CharField(max_length=100, primary_key=True)
    count = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count} {self.name}"
