"""Why an event has no delivery to an installation."""

from collections.abc import Iterable
from datetime import timedelta

from delivery.log.detail import build_event_message
from delivery.models import Event
from delivery.transform.stored_messages import compile_revision
from integrations.blueprints import BlueprintError, build_message_view
from integrations.models import Installation

UNINSTALLED_SHOWN_FOR = timedelta(
    days=30
)  # for so long after it is uninstalled people ask why nothing comes there


def explain_absences(
    event: Event, body: str, present: Iterable[int]
) -> list[tuple[Installation, str]]:
    """Return the installations that have no delivery of an event, each with the reason."""
    others = Installation.objects.exclude(pk__in=list(present)).select_related("revision")
    gone = event.received_at - UNINSTALLED_SHOWN_FOR
    others = others.exclude(uninstalled_at__lte=gone).prefetch_related("sources")
    return [(each, _explain_absence(event, body, each)) for each in others.order_by("name")]


def _explain_absence(event: Event, body: str, installation: Installation) -> str:
    if installation.uninstalled_at and installation.uninstalled_at <= event.received_at:
        return "It was uninstalled before the event came in."
    if installation.created_at > event.received_at:
        return "It was installed after the event had come in."
    if not installation.all_sources and event.source not in installation.sources.all():
        return f"The source {event.source} does not feed it."
    if not body or installation.revision is None:
        return "Its blueprint did not want it."
    try:
        wants = compile_revision(installation.revision).wants(
            build_message_view(build_event_message(event, body))
        )
    except (BlueprintError, LookupError, TypeError, ValueError) as error:
        return f"Its blueprint cannot be asked: {error}"
    if wants:
        return "Its blueprint did not want it when it came in; the current one would."
    return f"Its blueprint has no action for this {event.type}."
