"""Incidents, open and closed: `/v1/admin/incidents`."""

from django.http import Http404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from delivery.api.serializers import incidents as serializers_incidents
from delivery.models import Incident
from delivery.operations import alert_channels
from integrations.api.endpoint import ManagementAPIView
from integrations.api.lists import list_parameters, one_of, paginate, parse_flag, parse_iso_time
from integrations.api.schema import PAGING_PARAMETERS, page_serializer

INCIDENT_SCOPES = {"GET": "deliveries:read"}
INCIDENT_PERMISSIONS = {"GET": "delivery.view_incident"}


class IncidentsView(ManagementAPIView):
    scopes = INCIDENT_SCOPES
    permissions = INCIDENT_PERMISSIONS
    parameters = {
        "GET": list_parameters(
            open=parse_flag,
            kind=one_of(*Incident.Kind.values),
            since=parse_iso_time,
            until=parse_iso_time,
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("open", bool, description="true: open incidents; false: closed ones."),
            OpenApiParameter("kind", str, enum=Incident.Kind.values),
            OpenApiParameter(
                "since", OpenApiTypes.DATETIME, description="Began at or after this time."
            ),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Began before this time."),
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers_incidents.IncidentSerializer)},
    )
    def get(self, request):
        """List incidents, newest first."""
        wanted = self.query_params
        if "open" in wanted:
            wanted["closed_at__isnull"] = wanted.pop("open")
        return Response(
            paginate(Incident.objects.all(), serialize_incident, at="opened_at", **wanted)
        )


class IncidentView(ManagementAPIView):
    scopes = INCIDENT_SCOPES
    permissions = INCIDENT_PERMISSIONS

    @extend_schema(responses={200: serializers_incidents.IncidentSerializer})
    def get(self, request, pk):
        """Show an incident: what is wrong, since when, and when notifications were sent."""
        incident = Incident.objects.filter(pk=pk).first()
        if incident is None:
            raise Http404(f"There is no incident {pk}.")
        return Response(serialize_incident(incident))


class TestAlertView(ManagementAPIView):
    scopes = {"POST": "installations:write"}

    @extend_schema(request=None, responses={200: serializers_incidents.TestAlertSerializer})
    def post(self, request):
        """Send a test alert through every channel that notifies of incidents.

        `told` has the error of each channel, or an empty string. If it is empty, no channel is
        configured, and nobody is notified of incidents.
        """
        return Response({"told": alert_channels.send_test_alert(timezone.now())})


def serialize_incident(incident):
    kind, _, number = incident.subject.partition(":")
    return {
        "id": incident.pk,
        "kind": incident.kind,
        "title": incident.get_kind_display(),
        "about": incident.about,
        "subject": {"type": kind, "id": int(number)} if number else None,
        "text": incident.text,
        "is_open": incident.closed_at is None,
        "opened_at": incident.opened_at,
        "seen_at": incident.seen_at,
        "closed_at": incident.closed_at,
        "mailed_at": incident.mailed_at,
        "posted_at": incident.posted_at,
    }
