"""Sources and their write keys."""

from datetime import timedelta

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery.actions import sources as actions_sources
from delivery.api.serializers import sources as serializers_sources
from integrations.api.endpoint import Endpoint, given
from integrations.api.lists import answered, flag, paged, text
from integrations.api.preconditions import changing, tagged
from integrations.api.schema import IF_MATCH, PAGING, Error, page_of
from integrations.models import Source, WriteKey
from integrations.sources import manage

USUAL_OVERLAP = 24  # hours


class SourcesView(Endpoint):
    scopes = {"GET": "sources:read", "POST": "sources:write"}
    permissions = {"POST": "integrations.add_source"}
    parameters = {"GET": paged(name=text, archived=flag)}

    @extend_schema(
        parameters=[
            OpenApiParameter("name", str, description="The whole name."),
            OpenApiParameter("archived", bool, description="Those that are archived, instead."),
            *PAGING,
        ],
        responses={200: page_of(serializers_sources.Source)},
    )
    def get(self, request):
        """List sources, the newest first."""
        wanted = self.asked
        wanted["archived_at__isnull"] = not wanted.pop("archived", False)
        return Response(answered(rows(), presented, **wanted))

    @extend_schema(
        request=serializers_sources.SourceInput,
        responses={201: serializers_sources.Source, 409: Error},
    )
    def post(self, request):
        """Make a source, with a new write key. It feeds every installation that takes all."""
        source = manage.create(given(request, serializers_sources.SourceInput))
        return whole(source.pk, status.HTTP_201_CREATED)


class SourceView(Endpoint):
    scopes = {"GET": "sources:read", "PATCH": "sources:write", "DELETE": "sources:write"}

    @extend_schema(responses={200: serializers_sources.Source})
    def get(self, request, pk):
        """Show a source, with its write keys."""
        return whole(pk)

    @extend_schema(
        request=serializers_sources.SourceChange,
        parameters=[IF_MATCH],
        responses={200: serializers_sources.Source, 409: Error, 412: Error},
    )
    def patch(self, request, pk):
        """Change what is given of a source. Web processes notice within 5 seconds."""
        wanted = given(request, serializers_sources.SourceChange)
        archived = wanted.pop("archived", None)
        with changing(request, Source.objects.all(), pk) as source:
            if wanted:
                manage.change(source, wanted)
            if archived is True:
                manage.archive(source, timezone.now())
            if archived is False:
                manage.bring_back(source)
        return whole(pk)

    @extend_schema(parameters=[IF_MATCH], responses={200: serializers_sources.Removed, 412: Error})
    def delete(self, request, pk):
        """Delete a source that never sent anything; archive any other, whose events stay."""
        with changing(request, Source.objects.all(), pk) as source:
            deleted = actions_sources.remove_source(source, timezone.now())
        return Response({"deleted": deleted})


class KeysView(Endpoint):
    scopes = {"POST": "sources:write"}

    @extend_schema(
        request=serializers_sources.KeyInput, responses={201: serializers_sources.FurtherKey}
    )
    def post(self, request, pk):
        """Add a write key that is valid beside the source's own."""
        key = manage.add_key(found(pk), **given(request, serializers_sources.KeyInput))
        return Response(key_presented(key), status=status.HTTP_201_CREATED)


class KeyView(Endpoint):
    scopes = {"DELETE": "sources:write"}

    @extend_schema(responses={204: None})
    def delete(self, request, pk, key):
        """Revoke a further write key: within 5 seconds, what comes with it is refused."""
        row = WriteKey.objects.select_related("source").filter(source=pk, pk=key).first()
        if row is None:
            raise Http404(f"Source {pk} has no further key {key}.")
        manage.revoke_key(row)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateView(Endpoint):
    scopes = {"POST": "sources:write"}

    @extend_schema(
        request=serializers_sources.RotateInput, responses={200: serializers_sources.Source}
    )
    def post(self, request, pk):
        """Give a source a new write key; the old one stays valid for a while."""
        hours = given(request, serializers_sources.RotateInput).get("overlap_hours", USUAL_OVERLAP)
        manage.rotate_key(found(pk), overlap=timedelta(hours=hours), now=timezone.now())
        return whole(pk)


class SigningSecretView(Endpoint):
    scopes = {"POST": "sources:write"}

    @extend_schema(request=None, responses={201: serializers_sources.SigningSecret})
    def post(self, request, pk):
        """Make a secret to sign requests with, in place of one there may be. It is told once."""
        answer = {"signing_secret": manage.new_signing_secret(found(pk))}
        return Response(answer, status=status.HTTP_201_CREATED)


def rows():
    return Source.objects.prefetch_related("further_keys")


def found(pk):
    """Return a source. Raises Http404."""
    source = rows().filter(pk=pk).first()
    if source is None:
        raise Http404(f"There is no source {pk}.")
    return source


def whole(pk, code=status.HTTP_200_OK):
    source = found(pk)
    return Response(presented(source), status=code, headers=tagged(source))


def presented(source):
    return {
        "id": source.pk,
        "name": source.name,
        "write_key": source.write_key,
        "further_keys": [key_presented(key) for key in source.further_keys.all()],
        "allowed_origins": source.allowed_origins.split(),
        "default_context": source.default_context,
        "visitor_cookie": source.visitor_cookie,
        "rate_limit": source.rate_limit,
        "is_signed": bool(source.sealed_signing_secret),
        "created_at": source.created_at,
        "archived_at": source.archived_at,
    }


def key_presented(key):
    return {
        "id": key.pk,
        "key": key.key,
        "note": key.note,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
