"""Events and attempts: what came in, and what was exchanged with vendors."""

from django.http import Http404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from delivery.api.serializers import events as serializers_events
from delivery.log import absences, body_access, detail, listing, querysets
from delivery.log.representation import bodies_hidden_reason
from delivery.models import Event
from delivery.status.deliveries import describe_delivery
from integrations.api.endpoint import Endpoint
from integrations.api.lists import as_answered, moment, number, one_of, paged, place, text
from integrations.api.schema import ID, PAGING, page_of
from integrations.messages import TYPES
from integrations.roles import REVEAL_BODIES

TIMES = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="From this time on."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
]


class EventsView(Endpoint):
    scopes = {"GET": "events:read"}

    parameters = {
        "GET": paged(
            message_id=text,
            user_id=text,
            anonymous_id=text,
            name=text,
            type=one_of(*TYPES),
            source=number,
            since=moment,
            until=moment,
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("message_id", str),
            OpenApiParameter("user_id", str),
            OpenApiParameter("anonymous_id", str),
            OpenApiParameter("name", str, description="The event's whole name."),
            OpenApiParameter("type", str, enum=list(TYPES)),
            OpenApiParameter("source", ID),
            *TIMES,
            *PAGING,
        ],
        responses={200: page_of(serializers_events.Event)},
    )
    def get(self, request):
        """List events, the newest first.

        name, type and source look through the newest 10,000 rows, because no index tells of them;
        `next_cursor` goes on from there, so a page can be short while `has_more` is true.
        """
        page = place(self.asked)
        found = listing.query_events(**self.asked).page(**page, max_scans=1)
        return Response(as_answered(found, event_presented))


class EventView(Endpoint):
    scopes = {"GET": "events:read"}

    @extend_schema(responses={200: serializers_events.EventWithDeliveries})
    def get(self, request, pk):
        """Show an event: what was sent, where it went, and why not elsewhere."""
        return Response(
            event_told(event(pk), shows_bodies=body_access.may_see_bodies(request.user))
        )


class RevealEventView(Endpoint):
    scopes = {"POST": "events:read"}
    permissions = {"POST": REVEAL_BODIES}

    @extend_schema(request=None, responses={200: serializers_events.EventWithDeliveries})
    def post(self, request, pk):
        """Show an event with its body to who may only reveal it; the audit log says so."""
        found = event(pk)
        body_access.record_reveal(found)
        return Response(event_told(found, shows_bodies=True))


def event(pk):
    """Return an event. Raises Http404."""
    found = Event.objects.select_related("source").filter(pk=pk).first()
    if found is None:
        raise Http404(f"There is no event {pk}.")
    return found


def event_presented(event):
    return {
        "id": event.pk,
        "source": {"id": event.source_id, "name": event.source.name},
        "type": event.type,
        "name": event.name,
        "message_id": event.message_id,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "timestamp": event.timestamp,
        "received_at": event.received_at,
    }


def event_told(event, *, shows_bodies):
    """Return all there is to tell about an event."""
    body = detail.get_event_body(event.pk)
    deliveries = list(querysets.deliveries_with_relations().filter(event=event).order_by("pk"))
    present = [each.installation_id for each in deliveries]
    return {
        **event_presented(event),
        "hidden": bodies_hidden_reason(shows_bodies),
        "body": detail.parse_json_or_text(body) if body and shows_bodies else None,
        "added_context": detail.parse_json_or_text(event.added_context or "{}")
        if shows_bodies
        else None,
        "notes": detail.parse_notes(event.notes) if shows_bodies else [],
        "deliveries": [delivery_presented(each, timezone.now()) for each in deliveries],
        "absences": [
            {"installation": {"id": each.pk, "name": each.name}, "reason": reason}
            for each, reason in absences.explain_absences(event, body, present)
        ],
    }


def delivery_presented(delivery, now):
    return {
        "id": delivery.pk,
        "installation": {"id": delivery.installation_id, "name": delivery.installation.name},
        "state": delivery.state,
        "settled_at": delivery.settled_at,
        "attempt_count": delivery.attempts,
        "error": delivery.error,
        "reason": delivery.reason,
        "summary": describe_delivery(delivery, now).detail,
    }
