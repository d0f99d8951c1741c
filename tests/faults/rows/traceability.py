"""Traceability: the outcome of every event is found by its message id, with the reason."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from django.test import Client, override_settings
from django.utils import timezone

from delivery.models import Delivery, Lane
from delivery.replay import job, pace
from integrations.models import Installation
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.in_process import (
    InProcessPenstock,
    add_ledger_to,
    in_process_penstock,
    make_tracks,
)
from tests.faults.support.raw_vendor import (
    OK_RESPONSE,
    RawVendor,
    respond_with_bytes,
    respond_with_status,
)
from tests.support.factories import make_token

FOUND_WITHIN = 2.0  # seconds

# Installation → state of its delivery (None without a delivery), and a part of the reason.
EXPECTED_OUTCOMES: dict[str, tuple[str | None, str]] = {
    "Disabled": ("queued", "is paused by an admin. The delivery waits until it is resumed"),
    "Refused": ("queued", "rejected the credentials: HTTP 401"),
    "Mapping": ("failed", "must be text, but is a number in this message"),
    "Gone": ("cancelled", "The installation was uninstalled."),
    "Gone before": (None, "The installation was uninstalled before the event was received."),
    "Not triggered": (None, "Its blueprint has no action for this track."),
    "Not fed": (None, "does not send to it."),
    "Later": (None, "The installation was added after the event was received."),
}


@dataclass
class Api:
    """A client of the management API, with a token."""

    token: str

    def __call__(self, method: str, path: str, body: object = None, **params: str):
        answer = Client().generic(
            method, f"/v1/admin/{path}", json.dumps(body) if body is not None else "",
            content_type="application/json", query_params=params,
            headers={"authorization": f"Bearer {self.token}"},
        )  # fmt: skip
        assert answer.status_code < 300, f"{path}: {answer.content.decode()}"
        return answer.json() if answer.content else None


@row("21", "Nothing is invisible", short=5, full=200, on=(SQLITE, POSTGRES), in_process=True)
def nothing_invisible(context: RowContext, result: Result) -> None:
    """Rounds are events, each meant for eight installations that do not deliver it. Each event must
    be found by its message id within 2 s, with every reason. Once a problem is fixed, its
    installation must deliver every event."""
    limits = override_settings(API_RATE_LIMIT=0)
    with (
        limits,
        RawVendor(respond_with_status(401)) as vendor,
        in_process_penstock(vendor.url) as penstock,
    ):
        api = Api(make_token())
        made = {name: penstock.install(name) for name in EXPECTED_OUTCOMES if name != "Later"}
        prepare(api, made)
        messages = make_tracks(context.rounds, users=3)
        penstock.send(*messages)
        work(penstock, "Refused", "Mapping")
        api("DELETE", f"installations/{made['Gone'].pk}", confirm="Gone")
        made["Later"] = penstock.install("Later")
        slowest = max(look_up(api, str(each["messageId"])) for each in messages)
        vendor.answer = respond_with_bytes(OK_RESPONSE)
        for name, fix in FIXES.items():
            fix(api, penstock, made[name])
            assert count_delivered(made[name]) == context.rounds, f"{name} was not delivered"
        add_ledger_to(result)
        result.reasons["cancelled with the installation"] = context.rounds
    result.note = (
        f"8 outcomes per event; found with its reasons within {slowest:.2f} s; delivered "
        "after a resume, a replay or a backfill"
    )
    assert slowest <= FOUND_WITHIN


def prepare(api: Api, made: dict[str, Installation]) -> None:
    api("PATCH", f"installations/{made['Disabled'].pk}", {"enabled": False})
    api("DELETE", f"installations/{made['Gone before'].pk}", confirm="Gone before")
    api("PATCH", f"installations/{made['Not fed'].pk}", {"sources": []})
    revise(api, made["Mapping"], mapping={"event": {"@path": {"@path": "$.properties.number"}}})
    revise(api, made["Not triggered"], trigger='type = "track" and event = "None of these"')


def revise(api: Api, installation: Installation, **fields: object) -> None:
    blueprint = deepcopy(installation.revision.blueprint)
    blueprint["actions"][0] |= fields
    api("POST", f"installations/{installation.pk}/revisions", {"blueprint": blueprint})


def work(penstock: InProcessPenstock, *names: str) -> None:
    for lane in Lane.objects.filter(installation__name__in=names):
        penstock.drain_once(lane.pk)


def look_up(api: Api, message_id: str) -> float:
    """Find an event by its message id and check every reason; return the seconds of the lookup."""
    started = time.monotonic()
    [event] = api("GET", "events", message_id=message_id)["data"]
    details = api("GET", f"events/{event['id']}")
    seconds = time.monotonic() - started
    outcomes: dict[str, tuple[str | None, str]] = {
        each["installation"]["name"]: (each["state"], each["summary"])
        for each in details["deliveries"]
    }
    outcomes |= {
        each["installation"]["name"]: (None, each["reason"]) for each in details["absences"]
    }
    outcomes = {name.split(" (uninstalled")[0]: each for name, each in outcomes.items()}
    assert outcomes.keys() == EXPECTED_OUTCOMES.keys(), sorted(outcomes)
    for name, (state, words) in EXPECTED_OUTCOMES.items():
        assert outcomes[name][0] == state, f"{name}: {outcomes[name]}"
        assert words in outcomes[name][1], f"{name}: {outcomes[name]}"
    return seconds


# --- fixes ---


def enable(api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    api("PATCH", f"installations/{installation.pk}", {"enabled": True})
    work(penstock, installation.name)


def resume(api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    api("POST", f"installations/{installation.pk}/resume")
    work(penstock, installation.name)


def replay(kind: str, api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    body = {"installation": installation.pk, "kind": kind}
    started = api("POST", "replays", body)
    window = pace.ReplayWindow()
    while job.step_replay(started["id"], window, timezone.now()) is not None:
        work(penstock, installation.name)


def fix_mapping(api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    revise(api, installation)
    replay("replay", api, penstock, installation)


def fix_trigger(api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    revise(api, installation)
    replay("backfill", api, penstock, installation)


def fix_sources(api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    api("PATCH", f"installations/{installation.pk}", {"sources": "all"})
    replay("backfill", api, penstock, installation)


def backfill_later(api: Api, penstock: InProcessPenstock, installation: Installation) -> None:
    """Backfill an installation that replaces the uninstalled ones."""
    replay("backfill", api, penstock, installation)


FIXES: dict[str, Callable[[Api, InProcessPenstock, Installation], None]] = {
    "Disabled": enable,
    "Refused": resume,
    "Mapping": fix_mapping,
    "Not triggered": fix_trigger,
    "Not fed": fix_sources,
    "Later": backfill_later,
}


def count_delivered(installation: Installation) -> int:
    return Delivery.objects.filter(installation=installation, state="delivered").count()
