"""Sources and their write keys."""

from datetime import timedelta

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery.actions import sources as actions_sources
from delivery.api.serializers import sources as serializers_sources
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.lists import list_parameters, paginate, parse_flag, parse_text
from integrations.api.preconditions import etag_header, lock_for_change
from integrations.api.schema import (
    IF_MATCH_PARAMETER,
    PAGING_PARAMETERS,
    ErrorSerializer,
    page_serializer,
)
from integrations.models import Source, WriteKey
from integrations.sources import manage

DEFAULT_OVERLAP_HOURS = 24  # hours


class SourcesView(ManagementAPIView):
    scopes = {"GET": "sources:read", "POST": "sources:write"}
    permissions = {"POST": "integrations.add_source"}
    parameters = {"GET": list_parameters(name=parse_text, archived=parse_flag)}

    @extend_schema(
        parameters=[
            OpenApiParameter("name", str, description="The exact name."),
            OpenApiParameter("archived", bool, description="Archived ones instead."),
            *PAGING_PARAMETERS,
        ],
        responses={200: page_serializer(serializers_sources.SourceSerializer)},
    )
    def get(self, request):
        """List sources, newest first."""
        wanted = self.query_params
        wanted["archived_at__isnull"] = not wanted.pop("archived", False)
        return Response(paginate(select_sources(), serialize_source, **wanted))

    @extend_schema(
        request=serializers_sources.SourceInputSerializer,
        responses={201: serializers_sources.SourceSerializer, 409: ErrorSerializer},
    )
    def post(self, request):
        """Create a source with a new write key.

        Every installation whose `sources` is "all" receives its events.
        """
        source = manage.create_source(
            validate_body(request, serializers_sources.SourceInputSerializer)
        )
        return source_response(source.pk, status.HTTP_201_CREATED)


class SourceView(ManagementAPIView):
    scopes = {"GET": "sources:read", "PATCH": "sources:write", "DELETE": "sources:write"}

    @extend_schema(responses={200: serializers_sources.SourceSerializer})
    def get(self, request, pk):
        """Show a source, with its write keys."""
        return source_response(pk)

    @extend_schema(
        request=serializers_sources.SourceChangeSerializer,
        parameters=[IF_MATCH_PARAMETER],
        responses={
            200: serializers_sources.SourceSerializer,
            409: ErrorSerializer,
            412: ErrorSerializer,
        },
    )
    def patch(self, request, pk):
        """Change the given fields of a source. Web processes apply them within 5 seconds."""
        wanted = validate_body(request, serializers_sources.SourceChangeSerializer)
        archived = wanted.pop("archived", None)
        with lock_for_change(request, Source.objects.all(), pk) as source:
            if wanted:
                manage.change_source(source, wanted)
            if archived is True:
                manage.archive_source(source, timezone.now())
            if archived is False:
                manage.restore_source(source)
        return source_response(pk)

    @extend_schema(
        parameters=[IF_MATCH_PARAMETER],
        responses={200: serializers_sources.SourceRemovalSerializer, 412: ErrorSerializer},
    )
    def delete(self, request, pk):
        """Delete a source that never sent anything; archive any other, and keep its events."""
        with lock_for_change(request, Source.objects.all(), pk) as source:
            deleted = actions_sources.remove_source(source, timezone.now())
        return Response({"deleted": deleted})


class WriteKeysView(ManagementAPIView):
    scopes = {"POST": "sources:write"}

    @extend_schema(
        request=serializers_sources.KeyInputSerializer,
        responses={201: serializers_sources.FurtherKeySerializer},
    )
    def post(self, request, pk):
        """Add a write key that is valid in addition to the source's own."""
        key = manage.add_write_key(
            get_source_or_404(pk), **validate_body(request, serializers_sources.KeyInputSerializer)
        )
        return Response(serialize_write_key(key), status=status.HTTP_201_CREATED)


class WriteKeyView(ManagementAPIView):
    scopes = {"DELETE": "sources:write"}

    @extend_schema(responses={204: None})
    def delete(self, request, pk, key):
        """Revoke an additional write key. Within 5 seconds, requests with it are rejected."""
        row = WriteKey.objects.select_related("source").filter(source=pk, pk=key).first()
        if row is None:
            raise Http404(f"Source {pk} has no additional key {key}.")
        manage.revoke_write_key(row)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WriteKeyRotateView(ManagementAPIView):
    scopes = {"POST": "sources:write"}

    @extend_schema(
        request=serializers_sources.RotateInputSerializer,
        responses={200: serializers_sources.SourceSerializer},
    )
    def post(self, request, pk):
        """Give a source a new write key; the old one stays valid for a while."""
        hours = validate_body(request, serializers_sources.RotateInputSerializer).get(
            "overlap_hours", DEFAULT_OVERLAP_HOURS
        )
        manage.rotate_write_key(
            get_source_or_404(pk), overlap=timedelta(hours=hours), now=timezone.now()
        )
        return source_response(pk)


class SigningSecretView(ManagementAPIView):
    scopes = {"POST": "sources:write"}

    @extend_schema(request=None, responses={201: serializers_sources.SigningSecretSerializer})
    def post(self, request, pk):
        """Create or replace the secret that signs requests. It is returned only once."""
        answer = {"signing_secret": manage.replace_signing_secret(get_source_or_404(pk))}
        return Response(answer, status=status.HTTP_201_CREATED)


def select_sources():
    return Source.objects.prefetch_related("further_keys")


def get_source_or_404(pk):
    """Return a source. Raises Http404."""
    source = select_sources().filter(pk=pk).first()
    if source is None:
        raise Http404(f"There is no source {pk}.")
    return source


def source_response(pk, code=status.HTTP_200_OK):
    source = get_source_or_404(pk)
    return Response(serialize_source(source), status=code, headers=etag_header(source))


def serialize_source(source):
    return {
        "id": source.pk,
        "name": source.name,
        "write_key": source.write_key,
        "further_keys": [serialize_write_key(key) for key in source.further_keys.all()],
        "allowed_origins": source.allowed_origins.split(),
        "default_context": source.default_context,
        "visitor_cookie": source.visitor_cookie,
        "rate_limit": source.rate_limit,
        "is_signed": bool(source.sealed_signing_secret),
        "created_at": source.created_at,
        "archived_at": source.archived_at,
    }


def serialize_write_key(key):
    return {
        "id": key.pk,
        "key": key.key,
        "note": key.note,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
