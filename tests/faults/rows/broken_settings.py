"""Broken installations and schedules: they are reported, and nothing else is affected."""

import json
import time
from contextlib import ExitStack
from copy import deepcopy
from datetime import timedelta

from django.utils import timezone

from delivery.actions import deliveries
from delivery.models import Delivery, Incident
from delivery.operations import alerts
from integrations.installations import install, revisions
from integrations.models import Installation, Revision
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.rows.kills import start_another_cluster
from tests.faults.support.in_process import (
    InProcessPenstock,
    add_ledger_to,
    in_process_penstock,
    make_tracks,
)
from tests.faults.support.raw_vendor import RawVendor
from tests.kills.stage import Stage
from tests.support.processes import eventually, manage

BOTH = (SQLITE, POSTGRES)
HEALTHY = "Healthy"
CONFIG = {"app_id": "123", "region": "sandbox"}
SECRET = {"api_key": "canary-of-bad-config"}

# Name of the broken installation → kind of its incident, and a part of the reported text.
BROKEN = {
    "Mapping": ("failing", "100 % of"),
    "Old blueprint": ("attention", "actions/0/mapping/event: @gone is not a directive"),
    "Secrets": ("attention", "PENSTOCK_SECRETS_KEYS"),
    "Config": ("attention", "KeyError('app_id')"),
}


@row("14a", "Installations that cannot work", short=60, full=2_000, on=BOTH, in_process=True)
def bad_installations(context: RowContext, result: Result) -> None:
    """Rounds are events, sent to each of five installations. Four are broken: a mapping that cannot
    be applied, a blueprint of another version, secrets encrypted with a lost key, and a missing
    setting. Each problem is reported and raises an alert, while the fifth installation receives its
    deliveries. After the repair, all deliveries of the four are delivered."""
    with RawVendor() as vendor, in_process_penstock(vendor.url) as penstock:
        made = {name: penstock.install(name) for name in (HEALTHY, *BROKEN)}
        blueprint = deepcopy(made["Mapping"].revision.blueprint)
        spoil(made)
        penstock.send(*make_tracks(context.rounds, users=20))
        work(penstock, made)
        for name in BROKEN:
            check_installation(made[name], context.rounds)
        assert states(made[HEALTHY]) == {"delivered": context.rounds}
        now = timezone.now()
        alerts.update_incidents(now)
        check_incidents(HEALTHY)
        started = time.monotonic()
        repair(made, blueprint)
        work(penstock, made)
        result.recovery.append(time.monotonic() - started)
        for each in made.values():
            assert states(each) == {"delivered": context.rounds}, each
        alerts.update_incidents(now + alerts.FAILURE_RATE_WINDOW + timedelta(minutes=1))
        assert not Incident.objects.filter(closed_at=None).exists()
        add_ledger_to(result)
    result.note = f"{', '.join(BROKEN)}: an incident each; after the repair all were delivered"


def spoil(made: dict[str, Installation]) -> None:
    directives = [("Mapping", {"@path": {"@path": "$.properties.number"}})]
    directives += [("Old blueprint", {"@gone": "$.event"})]
    for name, event in directives:
        blueprint = deepcopy(made[name].revision.blueprint)
        blueprint["actions"][0]["mapping"]["event"] = event
        revision = Revision(
            installation=made[name], number=2, blueprint=blueprint, change_summary="Spoilt"
        )
        revision.save()  # as another version of Penstock would have saved it
        Installation.objects.filter(pk=made[name].pk).update(revision=revision)
    Installation.objects.filter(pk=made["Secrets"].pk).update(sealed_secrets="gAAAAABnot-ours")
    Installation.objects.filter(pk=made["Config"].pk).update(config={"region": "sandbox"})


def work(penstock: InProcessPenstock, made: dict[str, Installation]) -> None:
    for each in made.values():
        for lane in each.lanes.all():
            penstock.drain_once(lane.pk)


def states(installation: Installation) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in Delivery.objects.filter(installation=installation).values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def check_installation(installation: Installation, count: int) -> None:
    kind, words = BROKEN[installation.name]
    lane = installation.lanes.get()
    if kind == "attention":
        assert (lane.paused, states(installation)) == (True, {"queued": count}), installation
        assert words in lane.last_error, lane.last_error
        return
    assert states(installation) == {"failed": count}
    failed = Delivery.objects.filter(installation=installation)
    assert set(failed.values_list("error", flat=True)) == {"MessageRejected"}
    assert all("must be text" in each for each in failed.values_list("reason", flat=True))
    assert (lane.paused, lane.failures) == (False, 0)


def check_incidents(*well: str) -> None:
    incidents = {each.about: (each.kind, each.text) for each in Incident.objects.all()}
    assert incidents.keys() == BROKEN.keys(), incidents
    for name, (kind, words) in BROKEN.items():
        assert incidents[name][0] == kind, incidents[name]
        assert words in incidents[name][1], incidents[name]
        assert SECRET["api_key"] not in incidents[name][1]


def repair(made: dict[str, Installation], blueprint: dict) -> None:
    """Save the blueprint or the settings, as an admin would; deliver failed deliveries again."""
    for name in ("Mapping", "Old blueprint"):
        revisions.save_revision(Installation.objects.get(pk=made[name].pk), blueprint, by=None)
    for name in ("Secrets", "Config"):
        installation = Installation.objects.get(pk=made[name].pk)
        install.reconfigure(installation, name=name, config=CONFIG | SECRET)
    deliveries.deliver_again(Delivery.objects.filter(state="failed"), timezone.now())


# django-q2 reads these schedules before that of the sweep, because of their names and times, and
# fails on them.
POISON_SCRIPT = """
from datetime import timedelta
from django.utils import timezone
from django_q.models import Schedule
long_ago = timezone.now() - timedelta(days=1)
kinds = [
    {"func": "delivery.tasks.sweep", "args": "(("},
    {"func": "delivery.tasks.sweep", "kwargs": "{"},
    {"func": "no.such.module.function"},
    {"func": ""},
    {"func": "delivery.tasks.sweep", "minutes": None},
    {"func": "delivery.tasks.sweep", "hook": "no.such.hook", "args": "1, 2, 3"},
]
for number, fields in enumerate(kinds):
    Schedule.objects.create(
        **{"name": f"poison-{number}", "schedule_type": "I", "minutes": 1, "repeats": -1,
           "next_run": long_ago, **fields}
    )
Schedule.objects.filter(name="poison-3").update(schedule_type="C", cron="99 99 * * *")
"""
SPOIL_SCRIPT = """
from integrations.models import Installation
Installation.objects.filter(name="Broken").update(sealed_secrets="gAAAAABnot-ours")
"""
SWEEP_SCRIPT = """
import json
from delivery.models import Heartbeat, Incident
swept = Heartbeat.objects.filter(name="sweep").first()  # none before the first sweep
about = list(Incident.objects.values_list("about", flat=True))
print(json.dumps([swept.at.timestamp() if swept else 0.0, about]))
"""


@row("14b", "Schedules that cannot be read", short=1, full=3)
def poison_schedules(context: RowContext, result: Result) -> None:
    """Six broken schedules come before that of the sweep. Rounds are sweeps: each must run within
    150 s and find the broken installation, while delivery to the other installation continues. In
    the short form, a second supervisor considers a sweep late after 3 s."""
    with Stage(context.url()) as stage, ExitStack() as stack:
        stage.install("Broken", "777")
        manage(stage.env, "shell", "-v", "0", "-c", POISON_SCRIPT + SPOIL_SCRIPT)
        if not context.full:
            stack.enter_context(start_another_cluster(stage, SWEEP_LATE=3))
        for _ in range(context.rounds):
            swept = read_sweep(stage)[0]
            stage.send(200, users=20)
            eventually(lambda: stage.count_received() == len(stage.sent), 30.0, stage.up.output)
            waited = eventually(lambda s=swept: read_sweep(stage)[0] > s, 150.0, stage.up.output)
            result.recovery.append(waited)
        # The sweep updates its heartbeat before it writes its alerts.
        eventually(lambda: read_sweep(stage)[1] == ["Broken"], 60.0, stage.up.output)
        accounts = stage.ledger_lines()
        result.add(accounts["Heap"])
        result.accepted = len(stage.sent)
        assert accounts["Broken"]["queued"] == accounts["Heap"]["delivered"] == len(stage.sent)
    result.note = (
        "recovery is the wait for the next sweep, which reports the broken installation's incident"
    )


def read_sweep(stage: Stage) -> tuple[float, list[str]]:
    """Return when the sweep last ran, and the subjects of the incidents."""
    swept, about = json.loads(manage(stage.env, "shell", "-v", "0", "-c", SWEEP_SCRIPT))
    return swept, about
