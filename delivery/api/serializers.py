"""What the log, installations, sources and metrics look like: for the schema of the API, and to
check what is given."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from delivery.accounting.metrics import Step
from delivery.models import Delivery as DeliveryRow
from delivery.models import Incident as IncidentRow
from delivery.models import Replay as ReplayRow
from delivery.replay.form import BLUEPRINTS, RESOLVED, SETTLED
from integrations.api.fields import LARGEST, Choice, Flag, Moment, Number, Real, Text
from integrations.api.serializers import CurrentRevision, Named

STATES = DeliveryRow.State.choices
TAKEN = "When what it carried had been taken from the queue. Null: of a test, or an older version."
WORKER = "The process that sent it: host and process id. Empty: of an older version."
STEPS = {step.label.lower(): step for step in Step}


class DeliveryEvent(serializers.Serializer):
    id = serializers.IntegerField()
    type = serializers.CharField()
    name = serializers.CharField()
    message_id = serializers.CharField()
    user_id = serializers.CharField()
    anonymous_id = serializers.CharField()
    timestamp = serializers.DateTimeField()
    received_at = serializers.DateTimeField()


class Delivery(serializers.Serializer):
    """One event on its way to one installation."""

    id = serializers.IntegerField()
    state = serializers.ChoiceField(STATES)
    trigger = serializers.ChoiceField(
        DeliveryRow.Trigger.choices, help_text="What queued it last; auto: its event came in."
    )
    installation = Named()
    event = DeliveryEvent()
    queued_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    attempt_count = serializers.IntegerField()
    last_status = serializers.IntegerField(allow_null=True, help_text="HTTP, of the last attempt.")
    last_duration_ms = serializers.IntegerField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(
        allow_null=True, help_text="While it is queued: not before. Null: when its turn comes."
    )
    gives_up_at = serializers.DateTimeField(
        allow_null=True,
        help_text="While it is queued: the first attempt after this is the last one.",
    )
    error = serializers.CharField(help_text="Its class, or empty.")
    reason = serializers.CharField(help_text="In words, or empty.")
    resolved_at = serializers.DateTimeField(
        allow_null=True, help_text="When somebody said that it was dealt with elsewhere."
    )
    resolved_by = serializers.CharField(allow_null=True)
    resolution = serializers.CharField(allow_null=True, help_text="What was done instead.")


def hidden():
    """Say in an answer why it has no bodies: they are null, and notes are empty."""
    return serializers.CharField(
        allow_null=True,
        help_text="Why bodies are null and notes empty: they are not for your role. Else null.",
    )


class WholeEvent(DeliveryEvent):
    source = serializers.CharField()
    body = serializers.JSONField(
        allow_null=True, help_text="As it was received; empty when it is kept no more."
    )
    added_context = serializers.JSONField(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())


class Payload(serializers.Serializer):
    kind = serializers.CharField()
    fields = serializers.JSONField()


class Request(serializers.Serializer):
    method = serializers.CharField()
    url = serializers.CharField()
    headers = serializers.JSONField(required=False)
    body = serializers.JSONField(required=False, help_text="This delivery's part of it.")


class Answer(serializers.Serializer):
    status = serializers.IntegerField()
    headers = serializers.JSONField()
    body = serializers.JSONField()


class SentAttempt(serializers.Serializer):
    id = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    taken_at = serializers.DateTimeField(allow_null=True, help_text=TAKEN)
    worker = serializers.CharField(help_text=WORKER)
    status = serializers.IntegerField(allow_null=True, help_text="Null: no answer came.")
    outcome = serializers.CharField(help_text="accepted, or the class of the error.")
    error = serializers.CharField()
    position = serializers.IntegerField(help_text="Its place among what the request carried.")
    items = serializers.IntegerField(help_text="How much the request carried.")
    request = Request()
    response = Answer(allow_null=True)


class WholeDelivery(Delivery):
    """All there is to tell about a delivery."""

    hidden = hidden()
    event = WholeEvent()
    summary = serializers.CharField()
    cause = serializers.CharField(allow_null=True)
    fix = serializers.CharField(allow_null=True, help_text="What you can do now.")
    notes = serializers.ListField(child=serializers.CharField())
    revision = serializers.IntegerField(allow_null=True)
    payloads = Payload(many=True, help_text="What its blueprint makes of the event.")
    attempts = SentAttempt(many=True)


class Rejection(serializers.Serializer):
    """What was refused on arrival, and why."""

    id = serializers.IntegerField()
    source = Named()
    received_at = serializers.DateTimeField()
    reason = serializers.CharField()
    message = serializers.JSONField(allow_null=True, help_text="What was sent: JSON, or its text.")
    hidden = hidden()


class Done(serializers.Serializer):
    message = serializers.CharField()


class Note(serializers.Serializer):
    note = Text(max_length=500, help_text="What was done instead.")


def shaped_by():
    return Choice(
        BLUEPRINTS,
        required=False,
        help_text="current, as when not given; last: by the revision that shaped each last.",
    )


class Again(serializers.Serializer):
    blueprint = shaped_by()


class Chosen(serializers.Serializer):
    """Deliveries by their ids."""

    ids = serializers.ListField(child=Number(min_value=1), min_length=1, max_length=1_000)
    blueprint = shaped_by()


class ChosenOrMatching(serializers.Serializer):
    """Deliveries by their ids, or all of one installation that a search means."""

    ids = serializers.ListField(
        child=Number(min_value=1), min_length=1, max_length=1_000, required=False
    )
    installation = Number(min_value=1, required=False, help_text="Instead of ids.")
    q = Text(
        max_length=2_000,
        required=False,
        allow_blank=True,
        help_text="Of the installation's: as in the list, such as event:Order* since:2h.",
    )


class Resolve(ChosenOrMatching):
    note = Text(max_length=500, help_text="What was done instead.")


class DoneToMany(serializers.Serializer):
    count = serializers.IntegerField()
    is_whole = serializers.BooleanField(
        help_text="false: there are more, and the same call goes on with them."
    )
    message = serializers.CharField()


class ReplayInput(serializers.Serializer):
    installation = Number(min_value=1)
    kind = Choice(ReplayRow.Kind.choices, required=False, help_text="replay, when not given.")
    states = serializers.ListField(
        child=Choice(SETTLED), required=False, max_length=10, help_text="Of a replay: failed ones."
    )
    since = Moment(required=False, allow_null=True, help_text="Received from this time on.")
    until = Moment(required=False, allow_null=True, help_text="Received before this time.")
    event = Text(required=False, allow_blank=True, help_text="Its name, or its type.")
    user_id = Text(required=False, allow_blank=True)
    anonymous_id = Text(required=False, allow_blank=True)
    message_id = Text(required=False, allow_blank=True)
    error = Text(max_length=30, required=False, allow_blank=True, help_text="Its class.")
    source = Number(required=False, allow_null=True, min_value=1)
    q = Text(
        max_length=2_000,
        required=False,
        allow_blank=True,
        help_text="What else, as in the list of deliveries: status:4xx attempts:>3. Of a replay.",
    )
    resolved = Choice(
        RESOLVED,
        required=False,
        help_text="Of failed ones: no leaves out what somebody resolved, as when not given.",
    )
    blueprint = shaped_by()
    rate = Real(
        required=False,
        allow_null=True,
        min_value=0.01,
        max_value=100_000,
        help_text="Deliveries a second.",
    )


class Counted(serializers.Serializer):
    count = serializers.IntegerField()
    exact = serializers.BooleanField(help_text="False: there are more.")
    oldest_at = serializers.DateTimeField(
        allow_null=True, help_text="When the first of them came in, as far as was counted."
    )
    newest_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(
        allow_null=True, help_text="How long it takes at the pace that is kept; null: no limit."
    )
    unshaped = serializers.IntegerField(
        help_text="How many more are left out: never shaped, they cannot be sent as before."
    )


class Replay(serializers.Serializer):
    """Deliveries queued again, or made of earlier events, and how far that is."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(ReplayRow.Kind.choices)
    state = serializers.ChoiceField(ReplayRow.State.choices)
    installation = Named()
    filter = serializers.JSONField()
    rate = serializers.FloatField(allow_null=True)
    progress = serializers.FloatField(help_text="0 to 1.")
    queued = serializers.IntegerField()
    unwanted = serializers.IntegerField()
    taken_back = serializers.IntegerField(help_text="Cancelled before they were sent.")
    outcome = serializers.JSONField(help_text="At the end: deliveries in each state.")
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


# --- fields --------------------------------------------------------------------------------------


@extend_schema_field(
    {
        "oneOf": [
            {"type": "array", "items": {"type": "integer"}, "maxItems": 1000},
            {"type": "string", "const": "all"},
        ]
    }
)
class Feeders(serializers.Field):
    """ "all", or a list of ids of sources."""

    default_error_messages = {"invalid": 'Must be "all", or a list of ids of sources.'}

    def to_internal_value(self, data):
        ids = isinstance(data, list) and len(data) <= 1_000
        if data != "all" and not (ids and all(type(e) is int and 0 < e <= LARGEST for e in data)):
            self.fail("invalid")
        return data

    def to_representation(self, value):
        return value


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class Config(serializers.DictField):
    """The destination's settings, as the catalog names them; a secret is shown as ***."""

    default_error_messages = {"not_a_dict": "Must be an object of settings."}


class Age(serializers.FloatField):
    default_error_messages = {"invalid": "Must be a number of days, or null for the setting."}

    def to_internal_value(self, data):
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


# --- installations -------------------------------------------------------------------------------


class Health(serializers.Serializer):
    level = serializers.ChoiceField(["well", "busy", "waiting", "attention", "off", "new"])
    title = serializers.CharField()
    detail = serializers.CharField(help_text="What happened and what happens next; may be empty.")
    fix = serializers.CharField(help_text="What a person should do, or empty.")


class InstallationWithHealth(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    destination = serializers.CharField(help_text="Its key in the catalog.")
    variant = serializers.CharField()
    config = Config()
    delivery_mode = serializers.CharField()
    enabled = serializers.BooleanField(help_text="false: deliveries wait in the queue.")
    lane_count = serializers.IntegerField()
    give_up_days = serializers.FloatField(allow_null=True, help_text="null: as the setting says.")
    sources = Feeders(help_text='Which sources feed it: "all", or their ids.')
    health = Health()
    queued = serializers.IntegerField(help_text="Counted up to about 10,000 a lane.")
    oldest_queued_at = serializers.DateTimeField(allow_null=True)
    last_accepted_at = serializers.DateTimeField(
        allow_null=True, help_text="When its vendor last accepted a request."
    )
    revision = CurrentRevision(allow_null=True)
    created_at = serializers.DateTimeField()
    uninstalled_at = serializers.DateTimeField(allow_null=True)


class WholeInstallation(InstallationWithHealth):
    blueprint = serializers.JSONField(help_text="null: it has none.")


class InstallationInput(serializers.Serializer):
    destination = Text(max_length=50, help_text="Its key in the catalog.")
    name = Text(max_length=100, required=False, help_text="The destination's, when not given.")
    variant = Text(max_length=50, required=False, help_text='"default", when not given.')
    config = Config(required=False)
    sources = Feeders(required=False)


class InstallationChange(serializers.Serializer):
    name = Text(max_length=100, required=False)
    config = Config(
        required=False, help_text="The settings to change; a secret given as *** stays."
    )
    enabled = Flag(required=False)
    lane_count = Number(required=False, min_value=1, max_value=64)
    give_up_days = Age(required=False, allow_null=True, min_value=0.01, max_value=365)
    sources = Feeders(required=False)


class Uninstalled(serializers.Serializer):
    cancelled = serializers.IntegerField(help_text="Deliveries that were queued.")
    message = serializers.CharField()


# --- sources -------------------------------------------------------------------------------------


class FurtherKey(serializers.Serializer):
    id = serializers.IntegerField()
    key = serializers.CharField()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class Source(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    write_key = serializers.CharField(help_text="It can only send; browsers show it to anyone.")
    further_keys = FurtherKey(many=True, help_text="Also valid: older ones, and those added.")
    allowed_origins = serializers.ListField(child=serializers.CharField())
    default_context = serializers.JSONField()
    visitor_cookie = serializers.BooleanField()
    rate_limit = serializers.IntegerField(allow_null=True, help_text="Messages a second.")
    is_signed = serializers.BooleanField(help_text="Whether it has a secret to sign with.")
    created_at = serializers.DateTimeField()
    archived_at = serializers.DateTimeField(allow_null=True)


class Origins(serializers.ListField):
    """Origins, one a line where they are kept."""

    child = Text(max_length=300)
    default_error_messages = {"not_a_list": 'Must be a list: ["https://shop.example"].'}

    def to_internal_value(self, data):
        return "\n".join(super().to_internal_value(data))


class SourceInput(serializers.Serializer):
    name = Text(max_length=100)
    allowed_origins = Origins(
        required=False, max_length=1_000, help_text="Sites whose pages may send; empty: any."
    )
    default_context = serializers.DictField(
        required=False, help_text="Lies under the context of every message."
    )
    visitor_cookie = Flag(required=False)
    rate_limit = Number(required=False, allow_null=True, max_value=2_147_483_647)


class SourceChange(SourceInput):
    name = Text(max_length=100, required=False)
    archived = Flag(required=False, help_text="false brings an archived source back.")


class KeyInput(serializers.Serializer):
    note = Text(max_length=100, required=False, allow_blank=True, help_text="Who uses it.")
    expires_at = Moment(required=False, allow_null=True, help_text="Never, when not given.")


class RotateInput(serializers.Serializer):
    overlap_hours = Number(
        required=False,
        max_value=2_160,
        help_text="How long the old key stays valid; 24 if not said.",
    )


class SigningSecret(serializers.Serializer):
    signing_secret = serializers.CharField(help_text="Shown only here.")


class Removed(serializers.Serializer):
    deleted = serializers.BooleanField(help_text="false: it has events, so it was archived.")


# --- events and attempts -------------------------------------------------------------------------


class Event(serializers.Serializer):
    id = serializers.IntegerField()
    source = Named()
    type = serializers.CharField()
    name = serializers.CharField()
    message_id = serializers.CharField()
    user_id = serializers.CharField()
    anonymous_id = serializers.CharField()
    timestamp = serializers.DateTimeField(help_text="When it happened, by the source's account.")
    received_at = serializers.DateTimeField()


class DeliveryOfEvent(serializers.Serializer):
    id = serializers.IntegerField()
    installation = Named()
    state = serializers.ChoiceField(STATES)
    settled_at = serializers.DateTimeField(allow_null=True)
    attempt_count = serializers.IntegerField()
    error = serializers.CharField()
    reason = serializers.CharField()
    summary = serializers.CharField(help_text="In words: where it is, and why it is there.")


class Absence(serializers.Serializer):
    installation = Named()
    reason = serializers.CharField(help_text="Why it has no delivery of the event.")


class EventWithDeliveries(Event):
    hidden = hidden()
    body = serializers.JSONField(
        allow_null=True, help_text="As it was sent; null: hidden, or not kept any more."
    )
    added_context = serializers.JSONField(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())
    deliveries = DeliveryOfEvent(many=True)
    absences = Absence(many=True)


class Exchange(serializers.Serializer):
    id = serializers.IntegerField()
    installation = Named()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    method = serializers.CharField()
    url = serializers.CharField()
    status = serializers.IntegerField(allow_null=True, help_text="null: no answer came.")
    outcome = serializers.CharField(help_text="accepted, or the class of the error")
    error = serializers.CharField()
    items = serializers.IntegerField()
    is_test = serializers.BooleanField(
        help_text="Somebody tried the installation: it carried no delivery, and nothing counts it."
    )
    taken_at = serializers.DateTimeField(allow_null=True, help_text=TAKEN)
    worker = serializers.CharField(help_text=WORKER)


class Message(serializers.Serializer):
    headers = serializers.JSONField()
    body = serializers.JSONField(help_text="JSON as what it says, any other as its text.")


class WholeExchange(Exchange):
    hidden = hidden()
    request = Message(allow_null=True, help_text="null: hidden, or not kept any more.")
    response = Message(allow_null=True)
    delivery_ids = serializers.ListField(
        child=serializers.IntegerField(), help_text="The first 1,000 that it carried."
    )


# --- incidents -----------------------------------------------------------------------------------


class Subject(serializers.Serializer):
    type = serializers.ChoiceField(["installation", "source"])
    id = serializers.IntegerField()


class TestAlarm(serializers.Serializer):
    told = serializers.DictField(
        child=serializers.CharField(),
        help_text='For "mail" and "webhook", where they are set, what went wrong, or empty.',
    )


class Incident(serializers.Serializer):
    """Something that is or was wrong."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(IncidentRow.Kind.choices)
    title = serializers.CharField(help_text="The kind, in words.")
    about = serializers.CharField(help_text="The name of what it is about.")
    subject = Subject(allow_null=True, help_text="What it is about; null: all of Penstock.")
    text = serializers.CharField(help_text="What is wrong, as it was last seen.")
    is_open = serializers.BooleanField()
    opened_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When there was last a sign of it.")
    closed_at = serializers.DateTimeField(allow_null=True)
    mailed_at = serializers.DateTimeField(allow_null=True, help_text="When it was told by mail.")
    posted_at = serializers.DateTimeField(allow_null=True, help_text="And by webhook.")


# --- metrics -------------------------------------------------------------------------------------


class Point(serializers.Serializer):
    at = serializers.DateTimeField(help_text="The beginning of the step.")
    accepted = serializers.IntegerField(help_text="Events; of an installation: offered to it.")
    unwanted = serializers.IntegerField(help_text="Of these: no trigger of its blueprint fired.")
    delivered = serializers.IntegerField()
    filtered = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    attempts = serializers.IntegerField(help_text="Requests to the vendor.")
    refused = serializers.IntegerField(help_text="Of these: not accepted.")
    queued = serializers.IntegerField(help_text="The most that was seen, once a minute.")
    oldest_queued_s = serializers.FloatField(help_text="Seconds; the most that was seen.")
    p50_ms = serializers.FloatField(allow_null=True, help_text="Queued to delivered, to 10 %.")
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)


class QueueNow(serializers.Serializer):
    queued = serializers.IntegerField(help_text="Counted up to about 10,000 a lane.")
    oldest_queued_at = serializers.DateTimeField(allow_null=True)


class Metrics(serializers.Serializer):
    step = serializers.ChoiceField(list(STEPS))
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    now = QueueNow(help_text="Of the installation, or of all; sources have no queues.")
    total = Point(help_text="Of the whole range.")
    points = Point(many=True, help_text="One for each step, also where nothing happened.")


class Cluster(serializers.Serializer):
    host = serializers.CharField()
    pid = serializers.CharField()
    at = serializers.DateTimeField(help_text="When it was last heard of.")
    is_alive = serializers.BooleanField()


class Lanes(serializers.Serializer):
    total = serializers.IntegerField()
    at_work = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="For a vendor that is unavailable.")
    paused = serializers.IntegerField(help_text="Until a person mends the installation.")


class Broker(serializers.Serializer):
    name = serializers.CharField()
    queued = serializers.IntegerField(allow_null=True, help_text="Wake-ups; null: nobody can say.")
    trouble = serializers.CharField(help_text="Why it cannot be asked, or empty.")


class Database(serializers.Serializer):
    name = serializers.CharField()
    version = serializers.CharField()
    size = serializers.IntegerField(allow_null=True, help_text="Bytes.")


class Kept(serializers.Serializer):
    what = serializers.CharField()
    days = serializers.FloatField()


class System(serializers.Serializer):
    is_well = serializers.BooleanField()
    trouble = serializers.CharField(help_text="What is wrong and what to do, or empty.")
    clusters = Cluster(many=True)
    swept_at = serializers.DateTimeField(allow_null=True)
    lanes = Lanes()
    queue = QueueNow()
    broker = Broker()
    database = Database()
    retention = Kept(many=True)
    versions = serializers.DictField(child=serializers.CharField())
