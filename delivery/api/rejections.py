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
from integrations.api.endpoint import Endpoint
from integrations.api.lists import answered, moment, number, paged
from integrations.api.schema import ID, PAGING, RECEIVED, page_of
from integrations.roles import REVEAL_BODIES


class RejectionsView(Endpoint):
    """List messages and requests that were refused on arrival, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 a filter has a value that it cannot have.
    """

    scopes = {"GET": "events:read"}
    permissions = {"GET": "delivery.view_rejection"}
    parameters = {"GET": paged(source=number, since=moment, until=moment)}

    @extend_schema(
        parameters=[OpenApiParameter("source", ID), *RECEIVED, *PAGING],
        responses={200: page_of(serializers_deliveries.Rejection)},
    )
    def get(self, request):
        rows, may_see = rejections(), body_access.may_see_bodies(request.user)

        def shown(rejection):
            return serialize_rejection(rejection, shows_bodies=may_see)

        return Response(answered(rows, shown, at="received_at", **self.asked))


class RevealRejectionView(Endpoint):
    """Show what was refused to who may only reveal it; the audit log says so. 404: none of that
    id."""

    scopes = {"POST": "events:read"}
    permissions = {"POST": REVEAL_BODIES}

    @extend_schema(request=None, responses={200: serializers_deliveries.Rejection})
    def post(self, request, pk):
        rejection = rejections().filter(pk=pk).first()
        if rejection is None:
            raise Http404(f"There is no rejection {pk}.")
        body_access.record_reveal(rejection)
        return Response(serialize_rejection(rejection, shows_bodies=True))


def rejections():
    return Rejection.objects.select_related("source")
