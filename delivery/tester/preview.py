"""What an installation would send for a message, and why. Nothing is sent and nothing is kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings

from delivery.ingest import envelope, parsing
from delivery.ingest.fan_out import Arrival
from delivery.ingest.parsing import Limits, Terms
from delivery.models import Event
from delivery.outbound import client
from delivery.transform.guard import Unworkable, code_of
from delivery.transform.packing import Slot, pack
from delivery.transform.shape import Parcel, leave_out_told, shape
from delivery.transform.stored_messages import COLUMNS, compiled, message_of
from integrations.blueprints import Blueprint, View, compile_blueprint, view_of
from integrations.blueprints.blueprint import CompiledAction, as_it_is, mapped
from integrations.blueprints.triggers import Reason, closure, reasons
from integrations.destination import Action, Config, Destination, Request, Shaped
from integrations.encryption import masked, reveal
from integrations.errors import DestinationError
from integrations.messages import Message
from integrations.models import Installation

PASSED = "Everything else"  # the name under which `"otherwise": "pass"` is shown
SHOWN = 80  # characters of a value


class Unusable(Exception):
    """What was given is no message; the text says why."""


class NoSuchEvent(Exception):
    """There is no such event, or its body is not kept any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one action does with the message.

    why      why it is not triggered, a sentence a condition
    fields   what its mapping makes
    items    how many entries of the vendor's calls become of it
    nothing  why there are none
    error    why the whole message cannot be sent
    """

    name: str
    kind: str
    enabled: bool = True
    triggered: bool
    why: Sequence[str] = ()
    fields: Mapping[str, Any] | None = None
    items: int = 0
    notes: Sequence[str] = ()
    nothing: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    """A request as it would be sent, secrets masked."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would become of a message.

    outcome  "sent", "filtered" or "failed"; `reason` says why when it is not sent
    notes    what was changed on the way, of all actions
    """

    outcome: str
    reason: str = ""
    steps: Sequence[Step] = ()
    requests: Sequence[ShownRequest] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def stored(event_id: int) -> Message:
    """Return a stored event as a message. Raises NoSuchEvent."""
    row = Event.objects.filter(pk=event_id, body__isnull=False).values_list(*COLUMNS).first()
    if row is None:
        raise NoSuchEvent(f"There is no event {event_id}, or its body is not kept any more.")
    return message_of(*row)


def pasted(given: Any, now: datetime) -> Message:
    """Return a message given as its JSON, read as if a source had sent it. Raises Unusable."""
    if not isinstance(given, dict):
        raise Unusable("A message is an object, such as a source sends it.")
    body = msgspec.json.encode(given)
    limits = Limits(settings.MAX_MESSAGE_BYTES, 1, settings.MAX_REQUEST_BYTES)
    batch = parsing.parse(body, envelope.Envelope(), Terms(now=now, limits=limits, single=True))
    for _, reason, _ in batch.refused:
        raise Unusable(reason)
    return Arrival(batch.messages[0], now).message


def preview(installation: Installation, message: Message, blueprint: Any = None) -> Preview:
    """Return what an installation would send for a message.

    blueprint  JSON of one that is not saved, to see what it would do instead of the current one

    Raises BlueprintError with all that is wrong with the blueprint, and SecretsUnreadable.
    """
    destination, config = installation.destination, installation.settings()
    secrets = tuple(reveal(installation.sealed_secrets).values())
    if destination.is_missing:
        return Preview(outcome="failed", reason=destination.description)
    tried = blueprint_of(installation, blueprint)
    steps = _steps(tried, message, destination, config, secrets)
    try:
        with code_of(destination):
            parcel = shape(message, tried, destination, config)
        _leave_out_told(installation, parcel)
        requests = requests_of(parcel, message, destination, config)
    except (DestinationError, Unworkable) as error:
        return Preview(outcome="failed", reason=masked(str(error), secrets), steps=steps)
    if not requests:
        return Preview(outcome="filtered", reason=parcel.nothing, steps=steps, notes=parcel.notes)
    shown = [_shown_request(each, secrets) for each, _ in requests]
    return Preview(outcome="sent", steps=steps, requests=shown, notes=parcel.notes)


def blueprint_of(installation: Installation, given: Any) -> Blueprint:
    """Return the blueprint that is given as JSON, or the installation's own when None is."""
    if given is None:
        return compiled(installation.revision_id)
    return compile_blueprint(given, installation.destination.kinds)


def requests_of(
    parcel: Parcel, message: Message, destination: Destination, config: Config
) -> list[tuple[Request, Slot]]:
    """Return the requests that carry a parcel alone. Raises DestinationError and Unworkable."""
    with code_of(destination):
        slots = pack([(0, message.person, parcel.items)], destination)
        return [
            (destination.request(slot.endpoint, [item for _, item in slot.items], config), slot)
            for slot in slots
        ]


def _leave_out_told(installation: Installation, parcel: Parcel) -> None:
    before, notes = parcel.items, len(parcel.notes)
    leave_out_told(installation.pk, [parcel])
    if len(parcel.items) < len(before) and len(parcel.notes) == notes:
        gone = [item.once for item in before if item not in parcel.items and item.once]
        parcel.notes += [
            f"Not sent again: the vendor knows {key} = {value}." for key, value in gone
        ]


def _shown_request(request: Request, secrets: Sequence[str]) -> ShownRequest:
    headers = json.dumps(client.headers(request))
    return ShownRequest(
        method=request.method,
        url=masked(request.url, secrets),
        headers=json.loads(masked(headers, secrets)),
        body=masked(request.body.decode(), secrets),
    )


def _steps(
    blueprint: Blueprint,
    message: Message,
    destination: Destination,
    config: Config,
    secrets: Sequence[str],
) -> list[Step]:
    view = view_of(message)

    def did(made: Action) -> dict[str, Any]:
        return _did(made, message, destination, config, secrets)

    steps = [_step(each, view, did) for each in blueprint.actions]
    if blueprint.passes(view):
        passed = did(as_it_is(view))
        steps.append(Step(name=PASSED, kind="track", triggered=True, **passed))
    return steps


def _step(action: CompiledAction, view: View, did: Callable[[Action], dict[str, Any]]) -> Step:
    known = {"name": action.name, "kind": action.kind, "enabled": action.enabled}
    if not closure(action.trigger)(view):
        why = [in_words(each) for each in reasons(action.trigger, view)]
        return Step(**known, triggered=False, why=why)
    if not action.enabled:
        return Step(**known, triggered=False, why=["It is switched off."])
    try:
        fields = mapped(action, view)
    except DestinationError as error:
        return Step(**known, triggered=True, error=str(error))
    return Step(**known, triggered=True, **did(Action(kind=action.kind, fields=fields)))


def _did(
    action: Action,
    message: Message,
    destination: Destination,
    config: Config,
    secrets: Sequence[str],
) -> dict[str, Any]:
    try:
        with code_of(destination):
            shaped = destination.items(action, message, config)
    except (DestinationError, Unworkable) as error:
        shaped, wrong = Shaped(), masked(str(error), secrets)
    else:
        wrong = ""
    return {
        "fields": action.fields,
        "items": len(shaped.items),
        "notes": shaped.notes,
        "nothing": shaped.nothing,
        "error": wrong,
    }


def in_words(reason: Reason) -> str:
    """Return what one condition says of a message, as a sentence."""
    found = "there is none" if reason.found is None else f"it is {_shown(reason.found)}"
    holds = "holds, and must not" if reason.holds else "does not hold"
    return f"{reason.text} {holds}: {found}."


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
