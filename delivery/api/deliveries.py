"""The log as JSON, with the same filters and results as in the admin."""

from contextlib import contextmanager

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import status
from rest_framework.response import Response

from delivery.actions import apply_to_search, resolve
from delivery.actions import deliveries as actions_deliveries
from delivery.actions.resolve import InvalidNote
from delivery.api.parameters import DELIVERY_FILTERS, build_delivery_search, parse_search_parameter
from delivery.api.serializers import deliveries as serializers_deliveries
from delivery.log import body_access, detail, export
from delivery.log.representation import serialize_delivery, serialize_delivery_detail
from delivery.log.search.query import compile_search
from delivery.models import Delivery
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.errors import Conflict, Unprocessable
from integrations.api.lists import list_parameters, one_of, pop_page_arguments, serialize_page
from integrations.api.schema import (
    ID_SCHEMA,
    PAGING_PARAMETERS,
    RECEIVED_RANGE_PARAMETERS,
    ErrorSerializer,
    page_serializer,
)
from integrations.humanize import format_count
from integrations.roles import REVEAL_BODIES_PERMISSION

DELIVERY_FILTER_PARAMETERS = [
    OpenApiParameter("q", str, description="A search as in the admin: user:ada state:failed"),
    OpenApiParameter("installation", ID_SCHEMA),
    OpenApiParameter("state", str, enum=Delivery.State.values),
    OpenApiParameter("event", str, description="The event's name or type."),
    OpenApiParameter("message_id", str),
    OpenApiParameter("user_id", str),
    OpenApiParameter("anonymous_id", str),
    *RECEIVED_RANGE_PARAMETERS,
]


EXPORT_EXAMPLES = [
    OpenApiExample("Lines", '{"id": 1207, "state": "failed", …}\n{"id": 1206, …}\n'),
    OpenApiExample("Rows", "id,state,trigger,…\n1207,failed,auto,…\n"),
]


class DeliveriesView(ManagementAPIView):
    """List deliveries, newest first.

    200 {"data", "next_cursor", "has_more"}; 422 if a filter has an invalid value. For a search
    that no index covers, a page can be short while `has_more` is true.
    """

    scopes = {"GET": "deliveries:read"}
    parameters = {"GET": list_parameters(**DELIVERY_FILTERS)}

    @extend_schema(
        parameters=[*DELIVERY_FILTER_PARAMETERS, *PAGING_PARAMETERS],
        responses={200: page_serializer(serializers_deliveries.DeliverySerializer)},
    )
    def get(self, request):
        page, now = pop_page_arguments(self.query_params), timezone.now()
        deliveries = compile_search(build_delivery_search(self.query_params), now).page(
            **page, max_scans=1
        )
        return Response(serialize_page(deliveries, lambda each: serialize_delivery(each, now)))


class DeliveryView(ManagementAPIView):
    """Show a delivery with all its details; 404 if there is none with that id."""

    scopes = {"GET": "deliveries:read"}

    @extend_schema(responses={200: serializers_deliveries.FullDeliverySerializer})
    def get(self, request, pk):
        delivery_detail = get_delivery_detail_or_404(
            pk, shows_bodies=body_access.may_see_bodies(request.user)
        )
        return Response(serialize_delivery_detail(delivery_detail, timezone.now()))


class DeliveryRevealView(ManagementAPIView):
    """Reveal the bodies of a delivery, and record it in the audit log.

    For users who may reveal bodies one at a time, and see none otherwise.
    """

    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": REVEAL_BODIES_PERMISSION}

    @extend_schema(request=None, responses={200: serializers_deliveries.FullDeliverySerializer})
    def post(self, request, pk):
        delivery_detail = get_delivery_detail_or_404(pk, shows_bodies=True)
        body_access.record_reveal(delivery_detail.delivery)
        return Response(serialize_delivery_detail(delivery_detail, timezone.now()))


class DeliveryDeliverAgainView(ManagementAPIView):
    """Queue a delivery again.

    202; 404 if there is none with that id; 409 if it is already queued, if it was never shaped and
    the last revision is asked for, or if its installation is uninstalled.
    """

    scopes = {"POST": "deliveries:replay"}

    @extend_schema(
        request=serializers_deliveries.DeliverAgainSerializer,
        responses={202: serializers_deliveries.ActionResultSerializer, 409: ErrorSerializer},
    )
    def post(self, request, pk):
        asked = validate_body(request, serializers_deliveries.DeliverAgainSerializer)
        requeued = actions_deliveries.deliver_again(
            get_delivery_queryset_or_404(pk), timezone.now(), **asked
        )
        if requeued.unshaped:
            raise Conflict(
                "It was never shaped, so there is no earlier revision to deliver it with."
            )
        if requeued.uninstalled_installations:
            raise Conflict(
                f"Installation {requeued.uninstalled_installations[0]} gets no more deliveries."
            )
        if not requeued.count:
            raise Conflict("It is already queued.")
        return Response({"message": requeued.describe()}, status=status.HTTP_202_ACCEPTED)


class DeliveryCancelView(ManagementAPIView):
    """Cancel a queued delivery; 404 if there is none with that id; 409 if it is not queued."""

    scopes = {"POST": "deliveries:replay"}

    @extend_schema(
        request=None,
        responses={200: serializers_deliveries.ActionResultSerializer, 409: ErrorSerializer},
    )
    def post(self, request, pk):
        if not actions_deliveries.cancel_deliveries(
            get_delivery_queryset_or_404(pk), f"Cancelled by {request.user}.", timezone.now()
        ):
            raise Conflict("The delivery is no longer queued.")
        return Response({"message": "It is cancelled. Use deliver-again to send it."})


class DeliveryResolveView(ManagementAPIView):
    """Mark a failed delivery as resolved, because it was dealt with elsewhere.

    It stays failed; deliver-again undoes this. 404 if there is none with that id; 409 if it is not
    failed, or already resolved.
    """

    scopes = {"POST": "deliveries:replay"}

    @extend_schema(
        request=serializers_deliveries.NoteSerializer,
        responses={200: serializers_deliveries.ActionResultSerializer, 409: ErrorSerializer},
    )
    def post(self, request, pk):
        note = validate_body(request, serializers_deliveries.NoteSerializer)["note"]
        with translate_delivery_errors():
            if not resolve.resolve_deliveries(
                get_delivery_queryset_or_404(pk), note, timezone.now()
            ):
                raise Conflict("It is not failed, or already resolved.")
        return Response({"message": "It is marked as resolved."})


class DeliveryBulkDeliverAgainView(ManagementAPIView):
    """Queue deliveries again by their ids. Deliveries that are already queued stay queued."""

    scopes = {"POST": "deliveries:replay"}

    @extend_schema(
        operation_id="deliveries_deliver_many_again",
        request=serializers_deliveries.DeliveryIdsSerializer,
        responses={202: serializers_deliveries.BulkActionResultSerializer},
    )
    def post(self, request):
        asked = validate_body(request, serializers_deliveries.DeliveryIdsSerializer)
        rows = Delivery.objects.filter(pk__in=asked.pop("ids"))
        requeued = actions_deliveries.deliver_again(rows, timezone.now(), **asked)
        answer = {"count": requeued.count, "is_whole": True, "message": requeued.describe()}
        return Response(answer, status=status.HTTP_202_ACCEPTED)


class DeliveryBulkActionView(ManagementAPIView):
    """Base of actions on deliveries by their ids, or on all matches of a search.

    The search is limited to one installation. An action that takes too long ends after a part and
    reports this in `is_whole`; the same call continues with the rest.
    """

    scopes = {"POST": "deliveries:replay"}
    body_serializer = serializers_deliveries.DeliverySelectionSerializer
    outcome_text = ""

    def select_matching(self, search, now):
        """Return the deliveries that the action applies to. Raises AmbiguousSelection."""
        raise NotImplementedError

    def act(self, rows, wanted, now, search):
        raise NotImplementedError

    def apply_to_many(self, request):
        wanted, now = validate_body(request, self.body_serializer), timezone.now()
        if ("ids" in wanted) is ("installation" in wanted):
            raise Unprocessable({"ids": "Send either ids or installation."})
        with translate_delivery_errors():
            result = self._apply(wanted, now)
        deliveries = format_count(result.count, "delivery is", "deliveries are")
        more = "" if result.is_complete else " There are more. Repeat the call to continue."
        message = f"{deliveries} {self.outcome_text}{more}"
        return Response({"count": result.count, "is_whole": result.is_complete, "message": message})

    def _apply(self, wanted, now):
        if "ids" in wanted:
            rows = Delivery.objects.filter(pk__in=wanted["ids"])
            return apply_to_search.BulkResult(self.act(rows, wanted, now, ""), True)
        typed = parse_search_parameter(wanted.get("q", ""))
        asked = build_delivery_search({"q": typed, "installation": wanted["installation"]})
        matching = self.select_matching(asked, now)
        return apply_to_search.apply_to_all(
            matching, lambda rows: self.act(rows, wanted, now, str(asked))
        )


class DeliveryBulkCancelView(DeliveryBulkActionView):
    outcome_text = "cancelled."

    def select_matching(self, search, now):
        return apply_to_search.select_queued(search, now)

    def act(self, rows, wanted, now, search):
        return actions_deliveries.cancel_deliveries(
            rows, f"Cancelled by {self.request.user}.", now, search=search
        )

    @extend_schema(
        operation_id="deliveries_cancel_many",
        request=serializers_deliveries.DeliverySelectionSerializer,
        responses={200: serializers_deliveries.BulkActionResultSerializer},
    )
    def post(self, request):
        """Cancel queued deliveries. Other deliveries stay as they are."""
        return self.apply_to_many(request)


class DeliveryBulkResolveView(DeliveryBulkActionView):
    body_serializer = serializers_deliveries.ResolveSerializer
    outcome_text = "marked as resolved."

    def select_matching(self, search, now):
        return apply_to_search.select_unresolved(search, now)

    def act(self, rows, wanted, now, search):
        return resolve.resolve_deliveries(rows, wanted["note"], now, search=search)

    @extend_schema(
        operation_id="deliveries_resolve_many",
        request=serializers_deliveries.ResolveSerializer,
        responses={200: serializers_deliveries.BulkActionResultSerializer},
    )
    def post(self, request):
        """Mark failed deliveries as resolved elsewhere. Other deliveries stay as they are."""
        return self.apply_to_many(request)


class DeliveryExportView(ManagementAPIView):
    """Stream all deliveries that match, up to the newest 100,000, as a file.

    Rows are as in the list. 422 if a filter has an invalid value.
    """

    scopes = {"GET": "deliveries:read"}
    parameters = {"GET": {**DELIVERY_FILTERS, "format": one_of(*export.EXPORT_FORMATS)}}

    def perform_content_negotiation(self, request, force=False):
        """Use JSON, which only errors need, whatever the request says.

        `format` is a parameter of this view, and Accept may name the type of the file.
        """
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        parameters=[
            OpenApiParameter("format", str, enum=list(export.EXPORT_FORMATS), required=True),
            *DELIVERY_FILTER_PARAMETERS,
        ],
        responses={
            (200, kind.partition(";")[0]): OpenApiResponse(str, examples=[example])
            for kind, example in zip(export.EXPORT_FORMATS.values(), EXPORT_EXAMPLES, strict=True)
        },
    )
    def get(self, request):
        form = self.query_params.pop("format", None)
        if form is None:
            raise Unprocessable({"format": f"Must be one of: {', '.join(export.EXPORT_FORMATS)}."})
        now = timezone.now()
        search = build_delivery_search(self.query_params)
        rows = export.iter_matching_deliveries(compile_search(search, now))
        return export.export_response(rows, form, now, about=str(search))


def get_delivery_queryset_or_404(pk):
    """Return a queryset with one delivery. Raises Http404."""
    rows = Delivery.objects.filter(pk=pk)
    if not rows.exists():
        raise Http404(f"There is no delivery {pk}.")
    return rows


@contextmanager
def translate_delivery_errors():
    """Translate exceptions of the actions into errors of the API."""
    try:
        yield
    except InvalidNote as error:
        raise Unprocessable({"note": str(error)}) from None
    except ValueError as error:  # from the search
        raise Unprocessable({"q": str(error)}) from None


def get_delivery_detail_or_404(pk, *, shows_bodies):
    """Return a delivery with all its details. Raises Http404."""
    try:
        return detail.get_delivery_detail(pk, shows_bodies=shows_bodies)
    except Delivery.DoesNotExist:
        raise Http404(f"There is no delivery {pk}.") from None
