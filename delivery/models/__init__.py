"""Events on their way, and the log of it."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from integrations.models import Installation, Revision, Source


class Event(models.Model):
    """A stored message. Ids longer than their column are cut here; the body has them whole."""

    source = models.ForeignKey(Source, models.PROTECT)
    message_id = models.CharField(max_length=255)
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=255, blank=True)
    user_id = models.CharField(max_length=255, blank=True)
    anonymous_id = models.CharField(max_length=255, blank=True)
    timestamp = models.DateTimeField(help_text="When it happened, by the source's account.")
    received_at = models.DateTimeField(help_text="When we stored it.")
    notes = models.TextField(blank=True, help_text="What was mended on arrival: a JSON list.")
    added_context = models.TextField(
        blank=True, help_text="What we know and the message did not say: JSON, under its context."
    )

    class Meta:
        constraints = [
            # message_id first: the index serves the search by message id as well
            models.UniqueConstraint(
                fields=["message_id", "source"], name="one_event_per_source_and_message_id"
            ),
        ]
        indexes = [
            # newest first, so that a person of a million events costs as much as one of ten
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
    """The message as it came. Apart from the event, so that no list ever reads it."""

    event = models.OneToOneField(
        Event, models.CASCADE, primary_key=True, related_name="body", db_constraint=False
    )
    text = models.TextField(help_text="JSON")

    def __str__(self) -> str:
        return f"body of event {self.event_id}"


class Tally(models.Model):
    """What was added from one source at once: the other half of the ledger.

    Appended in the transaction of one ingest request, or of several that came together, and taken
    away again when it is rolled up into Past and Metric (`delivery/accounting/metrics.py`), which say the same
    with fewer rows.
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
    """What one settled batch changed: to deliveries what Tally is to events."""

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
    """What happened in one step of time, between one source and one installation.

    What belongs to all sources or to no installation yet has a 0 for it: attempts and the queue
    are an installation's, what was accepted is a source's.
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
    """How much of something was rolled up or purged: what the ledger adds to the rows left."""

    name = models.CharField(max_length=100, primary_key=True)
    count = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count} {self.name}"


class Rejection(models.Model):
    """A message that was refused on arrival, and why."""

    source = models.ForeignKey(Source, models.CASCADE)
    received_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=300)
    text = models.TextField(help_text="What was sent, or its start when it was too large.")

    def __str__(self) -> str:
        return self.reason


class Signature(models.Model):
    """That a signed request was taken: it is refused when it comes again."""

    text = models.CharField(max_length=100, unique=True)
    received_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"signature of {self.received_at}"


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
        leased = self.lease is not None and self.lease_until is not None
        waits = self.paused or (self.due_at is not None and self.due_at > now)
        return leased and not waits and self.lease_until >= now

    def is_tried_again(self, now: datetime) -> bool:
        """Say whether its vendor was unavailable and the next try is due or under way: until that
        one's outcome is known, the vendor still is."""
        is_due = self.due_at is not None and self.due_at <= now
        return is_due and self.failures > 0 and not self.paused


class Attempt(models.Model):
    """One HTTP exchange with a vendor; carries one or many deliveries."""

    # db_index: its own would be chosen before the longer one below, and sort a whole log
    installation = models.ForeignKey(Installation, models.CASCADE, db_index=False)
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    method = models.CharField(max_length=10)
    url = models.CharField(max_length=500)
    status = models.PositiveSmallIntegerField(null=True, help_text="Empty: no answer came.")
    outcome = models.CharField(max_length=30, help_text="accepted, or the class of the error")
    error = models.TextField(blank=True)
    items = models.PositiveIntegerField()
    is_test = models.BooleanField(
        default=False, help_text="Somebody tried the installation: it carried no delivery."
    )
    worker = models.CharField(
        max_length=100, db_default="", help_text="The process that sent it: host and process id."
    )
    taken_at = models.DateTimeField(
        null=True, help_text="When that process had taken what it carried from the queue."
    )

    class Meta:
        indexes = [models.Index(fields=["installation", "-id"], name="attempt_newest")]

    def __str__(self) -> str:
        return f"{self.method} {self.url}: {self.status or self.outcome}"


class AttemptBody(models.Model):
    """What was sent and answered, secrets masked. Apart from the attempt: no list reads it."""

    attempt = models.OneToOneField(
        Attempt, models.CASCADE, primary_key=True, related_name="body", db_constraint=False
    )
    request_headers = models.TextField(help_text="JSON")
    request_body = models.TextField()
    response_headers = models.TextField(help_text="JSON")
    response_body = models.TextField(help_text="The start of it.")

    def __str__(self) -> str:
        return f"body of attempt {self.attempt_id}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def deliver_again(self, now: datetime, trigger: str) -> int:
        """Put settled deliveries back into their lane's queue; return how many there were.

        What is queued already stays as it is. The attempts made so far stay counted.

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
        """What is queued and may be sent now."""
        due = models.Q(due_at__isnull=True) | models.Q(due_at__lte=now)
        return self.filter(due, state=Delivery.State.QUEUED)


class Delivery(models.Model):
    """One event on its way to one installation."""

    class State(models.TextChoices):
        QUEUED = "queued"
        DELIVERED = "delivered"
        FILTERED = "filtered"  # the blueprint or the destination has nothing to send for it
        FAILED = "failed"  # refused, or too old
        CANCELLED = "cancelled"  # somebody decided so

    class Trigger(models.TextChoices):
        AUTO = "auto"  # its event came in
        HAND = "hand"  # somebody let it be delivered again
        REPLAY = "replay"
        BACKFILL = "backfill"

    # db_index: the unique constraint begins with the event, and `delivery_newest` serves better
    event = models.ForeignKey(
        Event, models.CASCADE, related_name="deliveries", db_constraint=False, db_index=False
    )
    installation = models.ForeignKey(
        Installation, models.CASCADE, related_name="deliveries", db_index=False
    )
    lane = models.ForeignKey(Lane, models.CASCADE, db_constraint=False)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    trigger = models.CharField(
        max_length=10, choices=Trigger, db_default=Trigger.AUTO, help_text="What queued it last."
    )
    queued_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True, help_text="Not before: it was set aside.")
    failures = models.PositiveSmallIntegerField(default=0, help_text="How often it was set aside.")
    attempts = models.PositiveIntegerField(default=0)
    last_attempt = models.ForeignKey(
        Attempt, models.SET_NULL, null=True, related_name="+", db_constraint=False, db_index=False
    )
    revision = models.ForeignKey(
        Revision, models.PROTECT, null=True, related_name="+", db_constraint=False, db_index=False
    )
    error = models.CharField(max_length=30, blank=True, help_text="The class of the error.")
    reason = models.TextField(blank=True, help_text="Why it is filtered, failed or cancelled.")
    notes = models.TextField(blank=True, help_text="What was changed on the way: a JSON list.")

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
    def tried_until(self) -> datetime:
        """When it is too old to be tried once more. It must come with its installation."""
        return self.queued_at + timedelta(days=give_up_days(self.installation))

    @property
    def resolved(self) -> "Resolution | None":
        """What a person said who dealt with it elsewhere, while it is failed as it was then."""
        if self.state != self.State.FAILED or self.settled_at is None:
            return None
        found: Resolution | None = getattr(self, "resolution", None)
        return found if found and found.at >= self.settled_at else None

    @staticmethod
    def is_resolved() -> models.Q:
        """Return the condition that `resolved` is there."""
        here = {"delivery": models.OuterRef("pk"), "at__gte": models.OuterRef("settled_at")}
        exists = models.Exists(Resolution.objects.filter(**here))
        return models.Q(state=Delivery.State.FAILED) & models.Q(exists)

    @staticmethod
    def made_late_since(moment: datetime) -> models.Q:
        """Return what tells of a delivery that a backfill made it, begun at `moment` or later: its
        event is old, and it counts as of then where ids are looked up by time."""
        here = models.OuterRef("pk")
        over = Replay.objects.filter(first_delivery__lte=here, last_delivery__gte=here)
        return models.Q(models.Exists(over.filter(created_at__gte=moment)))

    @staticmethod
    def last_made_late(moment: datetime) -> models.QuerySet["Replay"]:
        """Return the query for the last id that such a backfill made: one row, or none."""
        made = Replay.objects.filter(created_at__gte=moment, last_delivery__isnull=False)
        return made.order_by("-last_delivery").values("last_delivery")[:1]


def give_up_days(installation: Installation) -> float:
    """Return how old a delivery may be that is tried once more."""
    own = installation.give_up_days
    return settings.GIVE_UP_DAYS if own is None else own


class Resolution(models.Model):
    """That a person dealt with a failed delivery elsewhere. It stays failed, and in the ledger.

    It is about the failure that was there: a delivery that is delivered again and fails later than
    this is not resolved, one that a cancelled replay gives back is.
    """

    delivery = models.OneToOneField(
        Delivery, models.CASCADE, primary_key=True, related_name="resolution", db_constraint=False
    )
    at = models.DateTimeField()
    by = models.CharField(max_length=150, help_text="Who said so.")
    note = models.CharField(max_length=500, help_text="What was done instead.")

    def __str__(self) -> str:
        return f"delivery {self.delivery_id} is resolved: {self.note}"


class Carried(models.Model):
    """That an attempt carried a delivery, and at which place among the request's items."""

    pk = models.CompositePrimaryKey("delivery_id", "attempt_id")
    delivery = models.ForeignKey(
        Delivery, models.CASCADE, related_name="carried", db_constraint=False, db_index=False
    )
    attempt = models.ForeignKey(
        Attempt, models.CASCADE, related_name="carried", db_constraint=False
    )
    position = models.PositiveIntegerField()
    items = models.PositiveIntegerField(
        default=1, db_default=1, help_text="How many, from that place on, were its own."
    )

    def __str__(self) -> str:
        return f"delivery {self.delivery_id} in attempt {self.attempt_id}"


class Replay(models.Model):
    """Deliveries to be queued again, or events to be delivered to an installation afterwards: a
    job that goes through the log by id, a chunk at a time, and remembers how far it is."""

    class Kind(models.TextChoices):
        REPLAY = "replay"
        BACKFILL = "backfill"

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        CANCELLING = "cancelling"  # what it queued and nobody has sent yet is taken back
        CANCELLED = "cancelled"
        DONE = "done"

    installation = models.ForeignKey(Installation, models.CASCADE, related_name="replays")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.REPLAY)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    wanted = models.JSONField(help_text="Which deliveries or events: replaying.Wanted.")
    rate = models.FloatField(null=True, help_text="Deliveries a second. Empty: as fast as it may.")
    first = models.PositiveBigIntegerField(help_text="The id before its range.")
    cursor = models.PositiveBigIntegerField(help_text="The last id that it has dealt with.")
    end = models.PositiveBigIntegerField(help_text="The last id of its range.")
    queued = models.PositiveBigIntegerField(default=0, help_text="Deliveries it queued.")
    unwanted = models.PositiveBigIntegerField(
        default=0, help_text="Events that the blueprint did not want."
    )
    first_delivery = models.PositiveBigIntegerField(
        null=True, help_text="Of a backfill: among which ids the deliveries are that it made."
    )
    last_delivery = models.PositiveBigIntegerField(null=True)
    taken_back = models.PositiveBigIntegerField(default=0, help_text="Not sent, as cancelled.")
    outcome = models.JSONField(default=dict, help_text="At the end: deliveries in each state.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True, help_text="Not before: its rate says so.")
    stepped_at = models.DateTimeField(null=True, help_text="When somebody last worked on it.")

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
        """How much of its range is behind it, from 0 to 1."""
        length = self.end - self.first
        return min((self.cursor - self.first) / length, 1.0) if length > 0 else 1.0

    @property
    def is_open(self) -> bool:
        return self.state not in (self.State.CANCELLED, self.State.DONE)


class Replayed(models.Model):
    """That a replay queued a delivery, and what the delivery was before: "" when it was not."""

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


class Incident(models.Model):
    """Something that is wrong, for as long as it is; told once, and so is its end."""

    class Kind(models.TextChoices):
        ATTENTION = "attention", "Needs attention"
        LATE = "late", "Deliveries are late"
        FAILING = "failing", "Too many failures"
        SILENT = "silent", "Nothing comes in"

    kind = models.CharField(max_length=10, choices=Kind)
    subject = models.CharField(
        max_length=50, blank=True, help_text='Such as "installation:3"; empty: all of it.'
    )
    about = models.CharField(max_length=100)
    text = models.TextField(help_text="What is wrong, as it was last seen.")
    opened_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="When there was last a sign of it.")
    closed_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)
    mailed_end_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True, help_text="By webhook.")
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
    """A sign of life of one part of the machinery."""

    name = models.CharField(max_length=100, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at}"
