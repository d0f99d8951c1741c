"""The log, as JSON: the same filters and the same answers as in the admin."""

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery import bodies, controls, log
from delivery.api import shapes
from delivery.api.parameters import FILTERS, search_of
from delivery.api.presentation import listed, rejected, told
from delivery.finding import scope
from delivery.models import Delivery, Rejection
from integrations.api.endpoint import Endpoint
from integrations.api.errors import Conflict
from integrations.api.lists import answered, as_answered, moment, number, paged, place
from integrations.api.schema import ID, PAGING, RECEIVED, Error, page_of
from integrations.roles import REVEAL_BODIES


class DeliveriesView(Endpoint):
    """List deliveries, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 a filter has a value that it cannot have. A page
    of a search that no index answers can hold fewer rows than asked for, and still has_more.
    """

    scopes = {"GET": "deliveries:read"}
    parameters = {"GET": paged(**FILTERS)}

    @extend_schema(
        parameters=[
            OpenApiParameter("q", str, description="As in the admin: user:ada state:failed"),
            OpenApiParameter("installation", ID),
            OpenApiParameter("state", str, enum=Delivery.State.values),
            OpenApiParameter("event", str, description="Its name, or its type."),
            OpenApiParameter("message_id", str),
            OpenApiParameter("user_id", str),
            OpenApiParameter("anonymous_id", str),
            *RECEIVED,
            *PAGING,
        ],
        responses={200: page_of(shapes.Delivery)},
    )
    def get(self, request):
        page, now = place(self.asked), timezone.now()
        found = scope(search_of(self.asked), now).page(**page, looks=1)
        return Response(as_answered(found, lambda each: listed(each, now)))


class RejectionsView(Endpoint):
    """List messages and requests that were refused on arrival, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 a filter has a value that it cannot have.
    """

    scopes = {"GET": "events:read"}
    permissions = {"GET": "delivery.view_rejection"}
    parameters = {"GET": paged(source=number, since=moment, until=moment)}

    @extend_schema(
        parameters=[OpenApiParameter("source", ID), *RECEIVED, *PAGING],
        responses={200: page_of(shapes.Rejection)},
    )
    def get(self, request):
        rows, may_see = rejections(), bodies.shown_to(request.user)

        def shown(rejection):
            return rejected(rejection, shows_bodies=may_see)

        return Response(answered(rows, shown, at="received_at", **self.asked))


class RevealRejectionView(Endpoint):
    """Show what was refused to who may only reveal it; the audit log says so. 404: none of that
    id."""

    scopes = {"POST": "events:read"}
    permissions = {"POST": REVEAL_BODIES}

    @extend_schema(request=None, responses={200: shapes.Rejection})
    def post(self, request, pk):
        rejection = rejections().filter(pk=pk).first()
        if rejection is None:
            raise Http404(f"There is no rejection {pk}.")
        bodies.reveal(rejection)
        return Response(rejected(rejection, shows_bodies=True))


class DeliveryView(Endpoint):
    """Tell all there is about one delivery; 404 when there is none of that id."""

    scopes = {"GET": "deliveries:read"}

    @extend_schema(responses={200: shapes.WholeDelivery})
    def get(self, request, pk):
        found = story(pk, shows_bodies=bodies.shown_to(request.user))
        return Response(told(found, timezone.now()))


class RevealDeliveryView(Endpoint):
    """Tell the same with its bodies to who may only reveal them; the audit log says so."""

    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": REVEAL_BODIES}

    @extend_schema(request=None, responses={200: shapes.WholeDelivery})
    def post(self, request, pk):
        found = story(pk, shows_bodies=True)
        bodies.reveal(found.delivery)
        return Response(told(found, timezone.now()))


class DeliverAgainView(Endpoint):
    """Queue a delivery again: 202; 404 when there is none of that id; 409 it is queued already."""

    scopes = {"POST": "deliveries:replay"}

    @extend_schema(request=None, responses={202: shapes.Done, 409: Error})
    def post(self, request, pk):
        rows = Delivery.objects.filter(pk=pk)
        if not rows.exists():
            raise Http404(f"There is no delivery {pk}.")
        requeued = controls.deliver_again(rows, timezone.now())
        if requeued.gone:
            raise Conflict(f"Nothing goes to {requeued.gone[0]} any more.")
        if not requeued.count:
            raise Conflict("It is queued already.")
        return Response({"message": requeued.in_words()}, status=status.HTTP_202_ACCEPTED)


def rejections():
    return Rejection.objects.select_related("source")


def story(pk, *, shows_bodies):
    """Return the story of a delivery. Raises Http404."""
    try:
        return log.story(pk, shows_bodies=shows_bodies)
    except Delivery.DoesNotExist:
        raise Http404(f"There is no delivery {pk}.") from None
