"""The audit log: `/v1/admin/audit-log`."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from integrations.api import representation, serializers
from integrations.api.endpoint import ManagementAPIView
from integrations.api.lists import list_parameters, paginate, parse_iso_time, parse_text
from integrations.api.schema import PAGING_PARAMETERS, page_serializer
from integrations.models import AuditEntry


class AuditLogView(ManagementAPIView):
    scopes = {"GET": "audit:read"}
    parameters = {
        "GET": list_parameters(
            actor=parse_text,
            action=parse_text,
            object_type=parse_text,
            object_id=parse_text,
            since=parse_iso_time,
            until=parse_iso_time,
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("actor", str, description="A user's name."),
            OpenApiParameter(
                "action", str, description="Such as installation.created or auth.login."
            ),
            OpenApiParameter(
                "object_type", str, description="Such as installation, source or user."
            ),
            OpenApiParameter("object_id", str),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="At or after this time."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers.AuditEntrySerializer)},
    )
    def get(self, request):
        """List who changed what, newest first."""
        rows = AuditEntry.objects.all()
        return Response(
            paginate(rows, representation.serialize_audit_entry, at="at", **self.query_params)
        )
