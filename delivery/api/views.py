"""The log, as JSON: the same filters and the same answers as in the admin."""

from django.http import Http404
from django.utils import timezone
from rest_framework import status
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery import controls, log
from delivery.api.parameters import cursor, read, read_rejections
from delivery.api.presentation import listed, rejected, told
from delivery.models import Delivery, Rejection
from integrations.api.errors import Conflict


class MaySee(DjangoModelPermissions):
    """To read takes the permission to view the rows, to deliver again that to change them."""

    perms_map = {
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "POST": ["%(app_label)s.change_%(model_name)s"],
    }


class DeliveriesView(APIView):
    """List deliveries, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 a filter has a value that it cannot have.
    """

    permission_classes = [MaySee]
    queryset = Delivery.objects.none()  # only says whose permissions they are

    def get(self, request):
        asked = read(request.query_params)
        return Response(paged(asked, listed))


class RejectionsView(APIView):
    """List messages and requests that were refused on arrival, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 a filter has a value that it cannot have.
    """

    permission_classes = [MaySee]
    queryset = Rejection.objects.none()

    def get(self, request):
        return Response(paged(read_rejections(request.query_params), rejected))


class DeliveryView(APIView):
    """Tell all there is about one delivery; 404 when there is none of that id."""

    permission_classes = [MaySee]
    queryset = Delivery.objects.none()

    def get(self, request, pk):
        try:
            return Response(told(log.story(pk), timezone.now()))
        except Delivery.DoesNotExist:
            raise Http404(f"There is no delivery {pk}.") from None


class DeliverAgainView(APIView):
    """Queue a delivery again: 202; 404 when there is none of that id; 409 it is queued already."""

    permission_classes = [MaySee]
    queryset = Delivery.objects.none()

    def post(self, request, pk):
        rows = Delivery.objects.filter(pk=pk)
        if not rows.exists():
            raise Http404(f"There is no delivery {pk}.")
        requeued = controls.deliver_again(rows, timezone.now())
        if not requeued.count:
            raise Conflict("It is queued already.")
        return Response({"message": requeued.in_words()}, status=status.HTTP_202_ACCEPTED)


def paged(asked, present):
    """Return the page that is asked for, each row presented."""
    page = log.page(asked.rows(), limit=asked.limit, before=asked.before)
    return {
        "data": [present(each) for each in page.rows],
        "next_cursor": cursor(page.rows[-1].pk) if page.has_older else None,
        "has_more": page.has_older,
    }
