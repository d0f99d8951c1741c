"""Nothing is invisible: whatever became of an event is found by its id, with the reason."""

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
from tests.faults.registry import POSTGRES, SQLITE, Place, Result, row
from tests.faults.support.in_process import Inside, at, close_books, tracks
from tests.faults.support.raw_vendor import OK, Wire, bytes_of, status
from tests.support.factories import make_token

FOUND_WITHIN = 2.0  # seconds

# Installation → what its delivery's state is, or None where there is none, and words of the reason.
STORIES: dict[str, tuple[str | None, str]] = {
    "Disabled": ("queued", "is paused by an admin; it waits until resumed"),
    "Refused": ("queued", "refused the credentials: HTTP 401"),
    "Mapping": ("failed", "must be a text, and is a number here"),
    "Gone": ("cancelled", "The installation was uninstalled."),
    "Gone before": (None, "It was uninstalled before the event came in."),
    "Not triggered": (None, "Its blueprint has no action for this track."),
    "Not fed": (None, "does not feed it."),
    "Later": (None, "It was installed after the event had come in."),
}


@dataclass
class Api:
    """The management API, called as a program calls it."""

    token: str

    def __call__(self, method: str, path: str, body: object = None, **params: str):
        answer = Client().generic(
            method, f"/v1/admin/{path}", json.dumps(body) if body is not None else "",
            content_type="application/json", query_params=params,
            headers={"authorization": f"Bearer {self.token}"},
        )  # fmt: skip
        assert answer.status_code < 300, f"{path}: {answer.content.decode()}"
        return answer.json() if answer.content else None


@row("21", "Nothing is invisible", short=5, full=200, on=(SQLITE, POSTGRES), inside=True)
def nothing_invisible(place: Place, result: Result) -> None:
    """Rounds are events, each meant for eight installations that do not deliver it. Each is found
    by its message id with every reason within 2 s, and delivered once what was wrong is mended."""
    limits = override_settings(API_RATE_LIMIT=0)
    with limits, Wire(status(401)) as wire, at(wire.url) as inside:
        api = Api(make_token())
        made = {name: inside.install(name) for name in STORIES if name != "Later"}
        prepare(api, made)
        messages = tracks(place.rounds, users=3)
        inside.send(*messages)
        work(inside, "Refused", "Mapping")
        api("DELETE", f"installations/{made['Gone'].pk}", confirm="Gone")
        made["Later"] = inside.install("Later")
        slowest = max(look_up(api, str(each["messageId"])) for each in messages)
        wire.answer = bytes_of(OK)
        for name, mend in MENDED.items():
            mend(api, inside, made[name])
            assert delivered(made[name]) == place.rounds, f"{name} was not delivered"
        close_books(result)
        result.reasons["cancelled with the installation"] = place.rounds
    result.note = (
        f"8 stories an event; found with its reasons in {slowest:.2f} s at the most; delivered "
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


def work(inside: Inside, *names: str) -> None:
    for lane in Lane.objects.filter(installation__name__in=names):
        inside.once(lane.pk)


def look_up(api: Api, message_id: str) -> float:
    """Find an event by its message id, check every reason; return the seconds that took."""
    started = time.monotonic()
    [event] = api("GET", "events", message_id=message_id)["data"]
    whole = api("GET", f"events/{event['id']}")
    seconds = time.monotonic() - started
    told: dict[str, tuple[str | None, str]] = {
        each["installation"]["name"]: (each["state"], each["summary"])
        for each in whole["deliveries"]
    }
    told |= {each["installation"]["name"]: (None, each["reason"]) for each in whole["absences"]}
    told = {name.split(" (uninstalled")[0]: each for name, each in told.items()}
    assert told.keys() == STORIES.keys(), sorted(told)
    for name, (state, words) in STORIES.items():
        assert told[name][0] == state, f"{name}: {told[name]}"
        assert words in told[name][1], f"{name}: {told[name]}"
    return seconds


# --- and back ---


def enable(api: Api, inside: Inside, installation: Installation) -> None:
    api("PATCH", f"installations/{installation.pk}", {"enabled": True})
    work(inside, installation.name)


def resume(api: Api, inside: Inside, installation: Installation) -> None:
    api("POST", f"installations/{installation.pk}/resume")
    work(inside, installation.name)


def replay(kind: str, api: Api, inside: Inside, installation: Installation) -> None:
    asked = {"installation": installation.pk, "kind": kind}
    started = api("POST", "replays", asked)
    window = pace.Window()
    while job.step(started["id"], window, timezone.now()) is not None:
        work(inside, installation.name)


def mapped(api: Api, inside: Inside, installation: Installation) -> None:
    revise(api, installation)
    replay("replay", api, inside, installation)


def triggered(api: Api, inside: Inside, installation: Installation) -> None:
    revise(api, installation)
    replay("backfill", api, inside, installation)


def fed(api: Api, inside: Inside, installation: Installation) -> None:
    api("PATCH", f"installations/{installation.pk}", {"sources": "all"})
    replay("backfill", api, inside, installation)


def later(api: Api, inside: Inside, installation: Installation) -> None:
    """Instead of those that are uninstalled, too."""
    replay("backfill", api, inside, installation)


MENDED: dict[str, Callable[[Api, Inside, Installation], None]] = {
    "Disabled": enable,
    "Refused": resume,
    "Mapping": mapped,
    "Not triggered": triggered,
    "Not fed": fed,
    "Later": later,
}


def delivered(installation: Installation) -> int:
    return Delivery.objects.filter(installation=installation, state="delivered").count()
