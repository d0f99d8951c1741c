"""Explains why an event has no delivery to an installation."""

from collections.abc import Iterable
from datetime import timedelta

from delivery.log.detail import build_event_message
from delivery.models import Event
from delivery.transform.stored_messages import compile_revision
from delivery.transform.switches import SWITCHED_OFF, is_allowed
from integrations.blueprints import BlueprintError, build_message_view
from integrations.models import Installation

UNINSTALLED_SHOWN_FOR = timedelta(
    days=30
)  # how long after it is uninstalled an installation is still explained


def explain_absences(
    event: Event, body: str, present: Iterable[int]
) -> list[tuple[Installation, str]]:
    """Return the installations without a delivery of the event, each with the reason."""
    others = Installation.objects.exclude(pk__in=list(present)).select_related("revision")
    gone = event.received_at - UNINSTALLED_SHOWN_FOR
    others = others.exclude(uninstalled_at__lte=gone).prefetch_related("sources")
    return [(each, _explain_absence(event, body, each)) for each in others.order_by("name")]


def _explain_absence(event: Event, body: str, installation: Installation) -> str:
    if installation.uninstalled_at and installation.uninstalled_at <= event.received_at:
        return "The installation was uninstalled before the event was received."
    if installation.created_at > event.received_at:
        return "The installation was added after the event was received."
    if not installation.all_sources and event.source not in installation.sources.all():
        return f"The source {event.source} does not send to it."
    if not body or installation.revision is None:
        return "Its blueprint had no action for the event."
    message = build_event_message(event, body)
    if not is_allowed(message, installation):
        return SWITCHED_OFF
    try:
        wants = compile_revision(installation.revision).wants(build_message_view(message))
    except (BlueprintError, LookupError, TypeError, ValueError) as error:
        return f"Its blueprint cannot be evaluated: {error}"
    if wants:
        return "The blueprint at that time had no action for the event; the current one does."
    return f"Its blueprint has no action for this {event.type}."
