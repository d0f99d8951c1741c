"""The audit log: `/v1/admin/audit-log`."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from integrations.api import representation, serializers
from integrations.api.endpoint import Endpoint
from integrations.api.lists import answered, moment, paged, text
from integrations.api.schema import PAGING, page_of
from integrations.models import AuditEntry


class AuditLogView(Endpoint):
    scopes = {"GET": "audit:read"}
    parameters = {
        "GET": paged(
            actor=text, action=text, object_type=text, object_id=text, since=moment, until=moment
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("actor", str, description="A user's name."),
            OpenApiParameter("action", str, description="installation.created, auth.login, …"),
            OpenApiParameter("object_type", str, description="installation, source, user, …"),
            OpenApiParameter("object_id", str),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="From this time on."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
            *PAGING,
        ],
        responses={200: page_of(serializers.AuditEntry)},
    )
    def get(self, request):
        """List who changed what, the newest first."""
        rows = AuditEntry.objects.all()
        return Response(answered(rows, representation.audit_entry, at="at", **self.asked))
