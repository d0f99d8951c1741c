"""Webhook sources: the addresses that third parties call, and how their calls are read."""

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations.api import serializers
from integrations.api.endpoint import Endpoint, given
from integrations.api.lists import answered, number, one_of, paged
from integrations.api.preconditions import changing, tagged
from integrations.api.schema import ID, IF_MATCH, PAGING, Error, page_of
from integrations.models import WebhookSource
from integrations.sources import webhooks

SEE = {"GET": "integrations.view_webhooksource"}
CHANGE = "integrations.change_webhooksource"


class WebhookSourcesView(Endpoint):
    scopes = {"GET": "sources:read", "POST": "sources:write"}
    permissions = {**SEE, "POST": "integrations.add_webhooksource"}
    parameters = {"GET": paged(source=number, source_type=one_of(*WebhookSource.SourceType.values))}

    @extend_schema(
        parameters=[
            OpenApiParameter("source", ID),
            OpenApiParameter("source_type", str, enum=WebhookSource.SourceType.values),
            *PAGING,
        ],
        responses={200: page_of(serializers.WebhookSource)},
    )
    def get(self, request):
        """List webhook sources, the newest first."""
        return Response(answered(rows(), presented, **self.asked))

    @extend_schema(
        request=serializers.WebhookSourceInput,
        responses={201: serializers.WebhookSource, 409: Error},
    )
    def post(self, request):
        """Make an address for a third party to call. What it sends comes in as of the source."""
        webhook = webhooks.create(given(request, serializers.WebhookSourceInput))
        return whole(webhook.pk, status.HTTP_201_CREATED)


class WebhookSourceView(Endpoint):
    scopes = {"GET": "sources:read", "PATCH": "sources:write", "DELETE": "sources:write"}
    permissions = {**SEE, "PATCH": CHANGE, "DELETE": CHANGE}

    @extend_schema(responses={200: serializers.WebhookSource})
    def get(self, request, pk):
        """Show a webhook source; its secret never."""
        return whole(pk)

    @extend_schema(
        request=serializers.WebhookSourceChange,
        parameters=[IF_MATCH],
        responses={200: serializers.WebhookSource, 409: Error, 412: Error},
    )
    def patch(self, request, pk):
        """Change what is given of a webhook source; its address stays."""
        wanted = given(request, serializers.WebhookSourceChange)
        with changing(request, WebhookSource.objects.all(), pk) as webhook:
            webhooks.change(webhook, wanted)
        return whole(pk)

    @extend_schema(parameters=[IF_MATCH], responses={204: None, 412: Error})
    def delete(self, request, pk):
        """Delete a webhook source: calls to its address are refused, what it sent stays."""
        with changing(request, WebhookSource.objects.all(), pk) as webhook:
            webhooks.remove(webhook)
        return Response(status=status.HTTP_204_NO_CONTENT)


def rows():
    return WebhookSource.objects.select_related("source")


def whole(pk, code=status.HTTP_200_OK):
    """Answer with a webhook source. Raises Http404."""
    webhook = rows().filter(pk=pk).first()
    if webhook is None:
        raise Http404(f"There is no webhook source {pk}.")
    return Response(presented(webhook), status=code, headers=tagged(webhook))


def presented(webhook):
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
