"""Events: `/v1/admin/events`."""

from django.http import Http404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from delivery.api.serializers import events as serializers_events
from delivery.log import absences, body_access, detail, listing, querysets
from delivery.log.representation import bodies_hidden_reason, serialize_event_summary
from delivery.models import Event
from delivery.status.deliveries import describe_delivery
from integrations.api.endpoint import ManagementAPIView
from integrations.api.lists import (
    list_parameters,
    one_of,
    parse_id,
    parse_iso_time,
    parse_text,
    pop_page_arguments,
    serialize_page,
)
from integrations.api.schema import ID_SCHEMA, PAGING_PARAMETERS, page_serializer
from integrations.messages import MESSAGE_TYPES
from integrations.roles import REVEAL_BODIES_PERMISSION

TIME_RANGE_PARAMETERS = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="At or after this time."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
]


class EventsView(ManagementAPIView):
    scopes = {"GET": "events:read"}

    parameters = {
        "GET": list_parameters(
            message_id=parse_text,
            user_id=parse_text,
            anonymous_id=parse_text,
            name=parse_text,
            type=one_of(*MESSAGE_TYPES),
            source=parse_id,
            since=parse_iso_time,
            until=parse_iso_time,
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("message_id", str),
            OpenApiParameter("user_id", str),
            OpenApiParameter("anonymous_id", str),
            OpenApiParameter("name", str, description="The event's exact name."),
            OpenApiParameter("type", str, enum=list(MESSAGE_TYPES)),
            OpenApiParameter("source", ID_SCHEMA),
            *TIME_RANGE_PARAMETERS,
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers_events.EventSerializer)},
    )
    def get(self, request):
        """List events, newest first.

        The filters name, type and source scan 10,000 rows per page, because no index covers them;
        `next_cursor` continues from there, so a page can be short while `has_more` is true.
        """
        page = pop_page_arguments(self.query_params)
        events = listing.query_events(**self.query_params).page(**page, max_scans=1)
        return Response(serialize_page(events, serialize_event))


class EventView(ManagementAPIView):
    scopes = {"GET": "events:read"}

    @extend_schema(responses={200: serializers_events.EventWithDeliveriesSerializer})
    def get(self, request, pk):
        """Show an event with its deliveries, and why other installations have none."""
        return Response(
            serialize_event_detail(
                get_event_or_404(pk), shows_bodies=body_access.may_see_bodies(request.user)
            )
        )


class EventRevealView(ManagementAPIView):
    scopes = {"POST": "events:read"}
    permissions = {"POST": REVEAL_BODIES_PERMISSION}

    @extend_schema(request=None, responses={200: serializers_events.EventWithDeliveriesSerializer})
    def post(self, request, pk):
        """Reveal the body of an event, and record it in the audit log.

        For users who may reveal bodies one at a time, and see none otherwise.
        """
        event = get_event_or_404(pk)
        body_access.record_reveal(event)
        return Response(serialize_event_detail(event, shows_bodies=True))


def get_event_or_404(pk):
    """Return an event. Raises Http404."""
    event = Event.objects.select_related("source").filter(pk=pk).first()
    if event is None:
        raise Http404(f"There is no event {pk}.")
    return event


def serialize_event(event):
    source = {"id": event.source_id, "name": event.source.name}
    return {"id": event.pk, "source": source, **serialize_event_summary(event)}


def serialize_event_detail(event, *, shows_bodies):
    """Return an event with its body, its deliveries, and the reasons for absent ones."""
    body = detail.get_event_body(event.pk)
    deliveries = list(querysets.deliveries_with_relations().filter(event=event).order_by("pk"))
    present = [each.installation_id for each in deliveries]
    return {
        **serialize_event(event),
        "hidden": bodies_hidden_reason(shows_bodies),
        "body": detail.parse_json_or_text(body) if body and shows_bodies else None,
        "added_context": detail.parse_json_or_text(event.added_context or "{}")
        if shows_bodies
        else None,
        "notes": detail.parse_notes(event.notes) if shows_bodies else [],
        "deliveries": [serialize_event_delivery(each, timezone.now()) for each in deliveries],
        "absences": [
            {"installation": {"id": each.pk, "name": each.name}, "reason": reason}
            for each, reason in absences.explain_absences(event, body, present)
        ],
    }


def serialize_event_delivery(delivery, now):
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
