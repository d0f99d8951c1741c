"""Webhook sources: the URLs that third parties call, and how their calls are read."""

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations.api import serializers
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.lists import list_parameters, one_of, paginate, parse_id
from integrations.api.preconditions import etag_header, lock_for_change
from integrations.api.schema import (
    ID_SCHEMA,
    IF_MATCH_PARAMETER,
    PAGING_PARAMETERS,
    ErrorSerializer,
    page_serializer,
)
from integrations.models import WebhookSource
from integrations.sources import webhooks

WEBHOOK_SOURCE_VIEW_PERMISSIONS = {"GET": "integrations.view_webhooksource"}
WEBHOOK_SOURCE_CHANGE_PERMISSION = "integrations.change_webhooksource"


class WebhookSourcesView(ManagementAPIView):
    scopes = {"GET": "sources:read", "POST": "sources:write"}
    permissions = {**WEBHOOK_SOURCE_VIEW_PERMISSIONS, "POST": "integrations.add_webhooksource"}
    parameters = {
        "GET": list_parameters(
            source=parse_id, source_type=one_of(*WebhookSource.SourceType.values)
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("source", ID_SCHEMA),
            OpenApiParameter("source_type", str, enum=WebhookSource.SourceType.values),
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers.WebhookSourceSerializer)},
    )
    def get(self, request):
        """List webhook sources, newest first."""
        return Response(
            paginate(select_webhook_sources(), serialize_webhook_source, **self.query_params)
        )

    @extend_schema(
        request=serializers.WebhookSourceInputSerializer,
        responses={201: serializers.WebhookSourceSerializer, 409: ErrorSerializer},
    )
    def post(self, request):
        """Create a URL for a third party to call. Its calls become messages of the source."""
        webhook = webhooks.create_webhook_source(
            validate_body(request, serializers.WebhookSourceInputSerializer)
        )
        return webhook_source_response(webhook.pk, status.HTTP_201_CREATED)


class WebhookSourceView(ManagementAPIView):
    scopes = {"GET": "sources:read", "PATCH": "sources:write", "DELETE": "sources:write"}
    permissions = {
        **WEBHOOK_SOURCE_VIEW_PERMISSIONS,
        "PATCH": WEBHOOK_SOURCE_CHANGE_PERMISSION,
        "DELETE": WEBHOOK_SOURCE_CHANGE_PERMISSION,
    }

    @extend_schema(responses={200: serializers.WebhookSourceSerializer})
    def get(self, request, pk):
        """Show a webhook source, without its secret."""
        return webhook_source_response(pk)

    @extend_schema(
        request=serializers.WebhookSourceChangeSerializer,
        parameters=[IF_MATCH_PARAMETER],
        responses={
            200: serializers.WebhookSourceSerializer,
            409: ErrorSerializer,
            412: ErrorSerializer,
        },
    )
    def patch(self, request, pk):
        """Change the given fields of a webhook source. Its URL stays."""
        wanted = validate_body(request, serializers.WebhookSourceChangeSerializer)
        with lock_for_change(request, WebhookSource.objects.all(), pk) as webhook:
            webhooks.change_webhook_source(webhook, wanted)
        return webhook_source_response(pk)

    @extend_schema(parameters=[IF_MATCH_PARAMETER], responses={204: None, 412: ErrorSerializer})
    def delete(self, request, pk):
        """Delete a webhook source. Calls to its URL are rejected; earlier events stay."""
        with lock_for_change(request, WebhookSource.objects.all(), pk) as webhook:
            webhooks.delete_webhook_source(webhook)
        return Response(status=status.HTTP_204_NO_CONTENT)


def select_webhook_sources():
    return WebhookSource.objects.select_related("source")


def webhook_source_response(pk, code=status.HTTP_200_OK):
    """Return a response with a webhook source. Raises Http404."""
    webhook = select_webhook_sources().filter(pk=pk).first()
    if webhook is None:
        raise Http404(f"There is no webhook source {pk}.")
    return Response(serialize_webhook_source(webhook), status=code, headers=etag_header(webhook))


def serialize_webhook_source(webhook):
    return {
        "id": webhook.pk,
        "name": webhook.name,
        "address": f"/v1/webhook?source={webhook.key}",
        "source": {"id": webhook.source_id, "name": webhook.source.name},
        "source_type": webhook.source_type,
        "is_signed": bool(webhook.sealed_secret),
        "signature_header": webhook.signature_header,
        "event_type_path": webhook.event_type_path,
        "mappings": webhook.mappings,
        "created_at": webhook.created_at,
    }
