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
    events = models.PositiveIntegerField(
        help_text="New events only; a duplicate message adds nothing."
    )
    unwanted = models.TextField(
        help_text="JSON: for each installation, how many of the events no trigger matched."
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
    refused = models.PositiveIntegerField(help_text="Attempts that were not accepted.")
    by_source = models.TextField(help_text="JSON: outcomes of the events of each source.")

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

    step = models.PositiveIntegerField(choices=Step, help_text="Length of the step in seconds.")
    at = models.DateTimeField(help_text="Start of the step.")
    installation = models.PositiveBigIntegerField(default=0)
    source = models.PositiveBigIntegerField(default=0)
    accepted = models.PositiveBigIntegerField(default=0, help_text="Events offered.")
    unwanted = models.PositiveBigIntegerField(
        default=0, help_text="Offered events that no trigger matched."
    )
    delivered = models.PositiveBigIntegerField(default=0)
    filtered = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    cancelled = models.PositiveBigIntegerField(default=0)
    attempts = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0, help_text="Attempts not accepted.")
    queued = models.PositiveBigIntegerField(default=0, help_text="Highest value seen in the step.")
    oldest_queued_s = models.FloatField(
        default=0, help_text="Highest age seen in the step, in seconds."
    )
    latency = models.TextField(default="{}", help_text="JSON: count of each histogram bucket.")

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
