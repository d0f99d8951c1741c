"""Events and attempts: what came in, and what was exchanged with vendors."""

from django.http import Http404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from delivery.api import serializers
from delivery.log import body_access, detail, listing
from delivery.log.representation import hidden
from delivery.models import Attempt, AttemptBody, Carried, Event
from delivery.status.installations import delivery_in_words
from integrations.api.endpoint import Endpoint
from integrations.api.lists import as_answered, moment, number, one_of, paged, place, text
from integrations.api.schema import ID, PAGING, page_of
from integrations.messages import TYPES
from integrations.roles import REVEAL_BODIES

CARRIED = 1_000  # deliveries of an attempt that are named
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
        responses={200: page_of(serializers.Event)},
    )
    def get(self, request):
        """List events, the newest first.

        name, type and source look through the newest 10,000 rows, because no index tells of them;
        `next_cursor` goes on from there, so a page can be short while `has_more` is true.
        """
        page = place(self.asked)
        found = listing.events(**self.asked).page(**page, looks=1)
        return Response(as_answered(found, event_presented))


class EventView(Endpoint):
    scopes = {"GET": "events:read"}

    @extend_schema(responses={200: serializers.EventWithDeliveries})
    def get(self, request, pk):
        """Show an event: what was sent, where it went, and why not elsewhere."""
        return Response(event_told(event(pk), shows_bodies=body_access.shown_to(request.user)))


class RevealEventView(Endpoint):
    scopes = {"POST": "events:read"}
    permissions = {"POST": REVEAL_BODIES}

    @extend_schema(request=None, responses={200: serializers.EventWithDeliveries})
    def post(self, request, pk):
        """Show an event with its body to who may only reveal it; the audit log says so."""
        found = event(pk)
        body_access.reveal(found)
        return Response(event_told(found, shows_bodies=True))


class AttemptsView(Endpoint):
    scopes = {"GET": "deliveries:read"}
    permissions = {"GET": "delivery.view_attempt"}

    parameters = {
        "GET": paged(
            installation=number,
            status=one_of("2xx", "3xx", "4xx", "5xx", "none"),
            outcome=text,
            since=moment,
            until=moment,
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("installation", ID),
            OpenApiParameter("status", str, enum=["2xx", "3xx", "4xx", "5xx", "none"]),
            OpenApiParameter("outcome", str, description="accepted, or the class of an error."),
            *TIMES,
            *PAGING,
        ],
        responses={200: page_of(serializers.Exchange)},
    )
    def get(self, request):
        """List requests to vendors, the newest first.

        status and outcome look through the newest 1,000 rows, because no index tells of them;
        `next_cursor` goes on from there, so a page can be short while `has_more` is true.
        """
        page = place(self.asked)
        found = listing.attempts(**self.asked).page(**page, looks=1)
        return Response(as_answered(found, attempt_presented))


class AttemptView(Endpoint):
    scopes = {"GET": "deliveries:read"}
    permissions = {"GET": "delivery.view_attempt"}

    @extend_schema(responses={200: serializers.WholeExchange})
    def get(self, request, pk):
        """Show a request to a vendor and its answer, secrets masked, while they are kept."""
        return Response(attempt_told(attempt(pk), shows_bodies=body_access.shown_to(request.user)))


class RevealAttemptView(Endpoint):
    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": REVEAL_BODIES}

    @extend_schema(request=None, responses={200: serializers.WholeExchange})
    def post(self, request, pk):
        """Show a request and its answer to who may only reveal them; the audit log says so."""
        found = attempt(pk)
        body_access.reveal(found)
        return Response(attempt_told(found, shows_bodies=True))


def event(pk):
    """Return an event. Raises Http404."""
    found = Event.objects.select_related("source").filter(pk=pk).first()
    if found is None:
        raise Http404(f"There is no event {pk}.")
    return found


def attempt(pk):
    """Return an attempt. Raises Http404."""
    found = Attempt.objects.select_related("installation").filter(pk=pk).first()
    if found is None:
        raise Http404(f"There is no attempt {pk}.")
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
    body = detail.body_of(event.pk)
    deliveries = list(detail.deliveries().filter(event=event).order_by("pk"))
    present = [each.installation_id for each in deliveries]
    return {
        **event_presented(event),
        "hidden": hidden(shows_bodies),
        "body": detail.parsed(body) if body and shows_bodies else None,
        "added_context": detail.parsed(event.added_context or "{}") if shows_bodies else None,
        "notes": detail.notes(event.notes) if shows_bodies else [],
        "deliveries": [delivery_presented(each, timezone.now()) for each in deliveries],
        "absences": [
            {"installation": {"id": each.pk, "name": each.name}, "reason": reason}
            for each, reason in detail.absences(event, body, present)
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
        "summary": delivery_in_words(delivery, now).detail,
    }


def attempt_presented(attempt):
    return {
        "id": attempt.pk,
        "installation": {"id": attempt.installation_id, "name": attempt.installation.name},
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "method": attempt.method,
        "url": attempt.url,
        "status": attempt.status,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "items": attempt.items,
        "is_test": attempt.is_test,
        "taken_at": attempt.taken_at,
        "worker": attempt.worker,
    }


def attempt_told(attempt, *, shows_bodies):
    """Return an attempt with what was sent and answered, and whom it carried."""
    full = AttemptBody.objects.filter(pk=attempt.pk).first() if shows_bodies else None
    carried = Carried.objects.filter(attempt=attempt).order_by("position", "delivery")
    answered = full is not None and attempt.status is not None
    return {
        **attempt_presented(attempt),
        "hidden": hidden(shows_bodies),
        "request": full and sent(full.request_headers, full.request_body),
        "response": sent(full.response_headers, full.response_body) if answered else None,
        "delivery_ids": list(carried.values_list("delivery", flat=True)[:CARRIED]),
    }


def sent(headers, body):
    return {"headers": detail.parsed(headers), "body": detail.parsed(body[: detail.SHOWN])}
