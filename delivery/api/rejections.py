"""Rejected messages: `/v1/admin/rejections`."""

from django.http import Http404
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
)
from rest_framework.response import Response

from delivery.api.serializers import deliveries as serializers_deliveries
from delivery.log import body_access
from delivery.log.representation import serialize_rejection
from delivery.models import Rejection
from integrations.api.endpoint import ManagementAPIView
from integrations.api.lists import list_parameters, paginate, parse_id, parse_iso_time
from integrations.api.schema import (
    ID_SCHEMA,
    PAGING_PARAMETERS,
    RECEIVED_RANGE_PARAMETERS,
    page_serializer,
)
from integrations.roles import REVEAL_BODIES_PERMISSION


class RejectionsView(ManagementAPIView):
    """List messages and requests that were rejected on arrival, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 if a filter has an invalid value.
    """

    scopes = {"GET": "events:read"}
    permissions = {"GET": "delivery.view_rejection"}
    parameters = {
        "GET": list_parameters(source=parse_id, since=parse_iso_time, until=parse_iso_time)
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("source", ID_SCHEMA),
            *RECEIVED_RANGE_PARAMETERS,
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers_deliveries.RejectionSerializer)},
    )
    def get(self, request):
        rows, may_see = select_rejections(), body_access.may_see_bodies(request.user)

        def serialize_row(rejection):
            return serialize_rejection(rejection, shows_bodies=may_see)

        return Response(paginate(rows, serialize_row, at="received_at", **self.query_params))


class RejectionRevealView(ManagementAPIView):
    """Reveal a rejected message or request, and record it in the audit log.

    For users who may reveal bodies one at a time, and see none otherwise. 404 if there is none with
    that id.
    """

    scopes = {"POST": "events:read"}
    permissions = {"POST": REVEAL_BODIES_PERMISSION}

    @extend_schema(request=None, responses={200: serializers_deliveries.RejectionSerializer})
    def post(self, request, pk):
        rejection = select_rejections().filter(pk=pk).first()
        if rejection is None:
            raise Http404(f"There is no rejection {pk}.")
        body_access.record_reveal(rejection)
        return Response(serialize_rejection(rejection, shows_bodies=True))


def select_rejections():
    return Rejection.objects.select_related("source")
