"""Previews what an installation would send for a message. Nothing is sent or stored."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings

from delivery.ingest import envelope, parsing
from delivery.ingest.fan_out import IncomingMessage
from delivery.ingest.parsing import IngestLimits, RequestContext
from delivery.models import Event
from delivery.outbound import client
from delivery.transform.guard import DestinationCodeError, guarded_destination
from delivery.transform.packing import PlannedRequest, pack_requests
from delivery.transform.shape import ShapedDelivery, leave_out_known_facts, shape_message
from delivery.transform.stored_messages import (
    STORED_MESSAGE_COLUMNS,
    compile_revision_by_id,
    decode_stored_message,
)
from delivery.transform.switches import SWITCHED_OFF, is_allowed
from integrations.blueprints import Blueprint, MessageView, build_message_view, compile_blueprint
from integrations.blueprints.blueprint import CompiledAction, apply_mapping, passthrough_action
from integrations.blueprints.triggers import ConditionResult, compile_condition, deciding_conditions
from integrations.destination import Action, Config, Destination, Request, ShapedMessage
from integrations.encryption import mask_secrets, reveal
from integrations.errors import DestinationError
from integrations.messages import Message
from integrations.models import Installation

PASSTHROUGH_NAME = "Everything else"  # the displayed name of `"otherwise": "pass"`
MAX_REASON_VALUE_CHARS = 80  # characters of a value


class InvalidMessage(Exception):
    """The input is not a valid message; the text gives the reason."""


class NoSuchEvent(Exception):
    """The event does not exist, or its body is no longer stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPreview:
    """The result of one action for the message.

    reasons  why it is not triggered, one sentence per condition
    fields   the output of its mapping
    items    how many entries of vendor calls it produces
    nothing  why it produces none
    error    why the whole message cannot be sent
    """

    name: str
    kind: str
    enabled: bool = True
    triggered: bool
    reasons: Sequence[str] = ()
    fields: Mapping[str, Any] | None = None
    items: int = 0
    notes: Sequence[str] = ()
    nothing: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreview:
    """A request as it would be sent, with secrets masked."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePreview:
    """The predicted delivery of a message.

    outcome  "sent", "filtered" or "failed"
    reason   why it is not sent
    notes    what all actions changed in the message
    """

    outcome: str
    reason: str = ""
    actions: Sequence[ActionPreview] = ()
    requests: Sequence[RequestPreview] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def load_stored_message(event_id: int) -> Message:
    """Return a stored event as a message. Raises NoSuchEvent."""
    row = (
        Event.objects.filter(pk=event_id, body__isnull=False)
        .values_list(*STORED_MESSAGE_COLUMNS)
        .first()
    )
    if row is None:
        raise NoSuchEvent(f"There is no event {event_id}, or its body is no longer stored.")
    return decode_stored_message(*row)


def parse_pasted_message(given: Any, now: datetime) -> Message:
    """Parse a JSON message as if a source had sent it. Raises InvalidMessage."""
    if not isinstance(given, dict):
        raise InvalidMessage("A message must be a JSON object, as a source sends it.")
    body = msgspec.json.encode(given)
    limits = IngestLimits(settings.MAX_MESSAGE_BYTES, 1, settings.MAX_REQUEST_BYTES)
    batch = parsing.parse_messages(
        body, envelope.Envelope(), RequestContext(now=now, limits=limits, is_single=True)
    )
    for _, reason, _ in batch.rejected:
        raise InvalidMessage(reason)
    return IncomingMessage(batch.messages[0], now).message


def preview_message(
    installation: Installation, message: Message, blueprint: Any = None
) -> MessagePreview:
    """Return what an installation would send for a message.

    blueprint  JSON of an unsaved blueprint, to preview it instead of the current one

    Raises BlueprintError, which lists every problem of the blueprint, and SecretsUnreadable.
    """
    destination, config = installation.destination, installation.settings()
    secrets = tuple(reveal(installation.sealed_secrets).values())
    if destination.is_missing:
        return MessagePreview(outcome="failed", reason=destination.description)
    tried = resolve_blueprint(installation, blueprint)
    actions = _preview_actions(tried, message, destination, config, secrets)
    if not is_allowed(message, installation):
        return MessagePreview(outcome="filtered", reason=SWITCHED_OFF, actions=actions)
    try:
        with guarded_destination(destination):
            parcel = shape_message(message, tried, destination, config)
        _drop_known_facts(installation, parcel)
        requests = build_requests(parcel, message, destination, config)
    except (DestinationError, DestinationCodeError) as error:
        return MessagePreview(
            outcome="failed", reason=mask_secrets(str(error), secrets), actions=actions
        )
    if not requests:
        return MessagePreview(
            outcome="filtered", reason=parcel.nothing, actions=actions, notes=parcel.notes
        )
    shown = [_preview_request(each, secrets) for each, _ in requests]
    return MessagePreview(outcome="sent", actions=actions, requests=shown, notes=parcel.notes)


def resolve_blueprint(installation: Installation, given: Any) -> Blueprint:
    """Compile a blueprint given as JSON, or return the installation's own for None."""
    if given is None:
        return compile_revision_by_id(installation.revision_id)
    return compile_blueprint(given, installation.destination.kinds)


def build_requests(
    parcel: ShapedDelivery, message: Message, destination: Destination, config: Config
) -> list[tuple[Request, PlannedRequest]]:
    """Return the requests for one shaped delivery.

    Raises DestinationError and DestinationCodeError.
    """
    with guarded_destination(destination):
        slots = pack_requests([(0, message.person, parcel.items)], destination)
        return [
            (destination.request(slot.endpoint, [item for _, item in slot.items], config), slot)
            for slot in slots
        ]


def _drop_known_facts(installation: Installation, parcel: ShapedDelivery) -> None:
    before, notes = parcel.items, len(parcel.notes)
    leave_out_known_facts(installation.pk, [parcel])
    if len(parcel.items) < len(before) and len(parcel.notes) == notes:
        gone = [item.once for item in before if item not in parcel.items and item.once]
        parcel.notes += [
            f"Not sent again, because the vendor already knows {key} = {value}."
            for key, value in gone
        ]


def _preview_request(request: Request, secrets: Sequence[str]) -> RequestPreview:
    headers = json.dumps(client.build_headers(request))
    return RequestPreview(
        method=request.method,
        url=mask_secrets(request.url, secrets),
        headers=json.loads(mask_secrets(headers, secrets)),
        body=mask_secrets(request.body.decode(), secrets),
    )


def _preview_actions(
    blueprint: Blueprint,
    message: Message,
    destination: Destination,
    config: Config,
    secrets: Sequence[str],
) -> list[ActionPreview]:
    view = build_message_view(message)

    def did(made: Action) -> dict[str, Any]:
        return _shape_action(made, message, destination, config, secrets)

    actions = [_preview_action(each, view, did) for each in blueprint.actions]
    if blueprint.passes(view):
        passed = did(passthrough_action(view))
        actions.append(ActionPreview(name=PASSTHROUGH_NAME, kind="track", triggered=True, **passed))
    return actions


def _preview_action(
    action: CompiledAction, view: MessageView, did: Callable[[Action], dict[str, Any]]
) -> ActionPreview:
    known = {"name": action.name, "kind": action.kind, "enabled": action.enabled}
    if not compile_condition(action.trigger)(view):
        why = [describe_reason(each) for each in deciding_conditions(action.trigger, view)]
        return ActionPreview(**known, triggered=False, reasons=why)
    if not action.enabled:
        return ActionPreview(**known, triggered=False, reasons=["The action is switched off."])
    try:
        fields = apply_mapping(action, view)
    except DestinationError as error:
        return ActionPreview(**known, triggered=True, error=str(error))
    return ActionPreview(**known, triggered=True, **did(Action(kind=action.kind, fields=fields)))


def _shape_action(
    action: Action,
    message: Message,
    destination: Destination,
    config: Config,
    secrets: Sequence[str],
) -> dict[str, Any]:
    try:
        with guarded_destination(destination):
            shaped = destination.items(action, message, config)
    except (DestinationError, DestinationCodeError) as error:
        shaped, wrong = ShapedMessage(), mask_secrets(str(error), secrets)
    else:
        wrong = ""
    return {
        "fields": action.fields,
        "items": len(shaped.items),
        "notes": shaped.notes,
        "nothing": shaped.nothing,
        "error": wrong,
    }


def describe_reason(reason: ConditionResult) -> str:
    """Return the result of one condition as a sentence."""
    found = (
        "there is no value"
        if reason.value is None
        else f"the value is {_shortened_value(reason.value)}"
    )
    holds = "is met, but must not be" if reason.holds else "is not met"
    return f"{reason.text} {holds}: {found}."


def _shortened_value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_REASON_VALUE_CHARS else f"{text[: MAX_REASON_VALUE_CHARS - 1]}…"
