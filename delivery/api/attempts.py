"""Attempts: `/v1/admin/attempts`."""

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from delivery.api.events import TIME_RANGE_PARAMETERS
from delivery.api.serializers import events as serializers_events
from delivery.log import body_access, detail, listing
from delivery.log.representation import bodies_hidden_reason
from delivery.models import Attempt, AttemptBody, Carried
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
from integrations.roles import REVEAL_BODIES_PERMISSION

MAX_DELIVERY_IDS = 1_000  # delivery ids that are listed for an attempt


class AttemptsView(ManagementAPIView):
    scopes = {"GET": "deliveries:read"}
    permissions = {"GET": "delivery.view_attempt"}

    parameters = {
        "GET": list_parameters(
            installation=parse_id,
            status=one_of("2xx", "3xx", "4xx", "5xx", "none"),
            outcome=parse_text,
            since=parse_iso_time,
            until=parse_iso_time,
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("installation", ID_SCHEMA),
            OpenApiParameter("status", str, enum=["2xx", "3xx", "4xx", "5xx", "none"]),
            OpenApiParameter("outcome", str, description="accepted, or the class of an error."),
            *TIME_RANGE_PARAMETERS,
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers_events.AttemptSerializer)},
    )
    def get(self, request):
        """List requests to vendors, newest first.

        The filters status and outcome scan 1,000 rows per page, because no index covers them;
        `next_cursor` continues from there, so a page can be short while `has_more` is true.
        """
        page = pop_page_arguments(self.query_params)
        attempts = listing.query_attempts(**self.query_params).page(**page, max_scans=1)
        return Response(serialize_page(attempts, serialize_attempt))


class AttemptView(ManagementAPIView):
    scopes = {"GET": "deliveries:read"}
    permissions = {"GET": "delivery.view_attempt"}

    @extend_schema(responses={200: serializers_events.FullAttemptSerializer})
    def get(self, request, pk):
        """Show a request to a vendor and its response, while they are kept. Secrets are masked."""
        return Response(
            serialize_attempt_detail(
                get_attempt_or_404(pk), shows_bodies=body_access.may_see_bodies(request.user)
            )
        )


class AttemptRevealView(ManagementAPIView):
    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": REVEAL_BODIES_PERMISSION}

    @extend_schema(request=None, responses={200: serializers_events.FullAttemptSerializer})
    def post(self, request, pk):
        """Reveal a request and its response, and record it in the audit log.

        For users who may reveal bodies one at a time, and see none otherwise.
        """
        attempt = get_attempt_or_404(pk)
        body_access.record_reveal(attempt)
        return Response(serialize_attempt_detail(attempt, shows_bodies=True))


def get_attempt_or_404(pk):
    """Return an attempt. Raises Http404."""
    attempt = Attempt.objects.select_related("installation").filter(pk=pk).first()
    if attempt is None:
        raise Http404(f"There is no attempt {pk}.")
    return attempt


def serialize_attempt(attempt):
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


def serialize_attempt_detail(attempt, *, shows_bodies):
    """Return an attempt with its request, its response, and the ids of its deliveries."""
    full = AttemptBody.objects.filter(pk=attempt.pk).first() if shows_bodies else None
    carried = Carried.objects.filter(attempt=attempt).order_by("position", "delivery")
    answered = full is not None and attempt.status is not None
    return {
        **serialize_attempt(attempt),
        "hidden": bodies_hidden_reason(shows_bodies),
        "request": full and serialize_http_message(full.request_headers, full.request_body),
        "response": serialize_http_message(full.response_headers, full.response_body)
        if answered
        else None,
        "delivery_ids": list(carried.values_list("delivery", flat=True)[:MAX_DELIVERY_IDS]),
    }


def serialize_http_message(headers, body):
    return {
        "headers": detail.parse_json_or_text(headers),
        "body": detail.parse_json_or_text(body[: detail.MAX_BODY_CHARS]),
    }
