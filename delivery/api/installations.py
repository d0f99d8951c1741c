"""Installations: list them with their health, install, change, pause and uninstall."""

from django.db import transaction
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery.accounting import queues as accounting_queues
from delivery.actions import installations as actions_installations
from delivery.api.serializers import installations as serializers_installations
from delivery.status.installations import describe_installation, with_state
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.errors import Unprocessable
from integrations.api.lists import (
    list_parameters,
    parse_flag,
    parse_text,
    pop_page_arguments,
    serialize_page,
)
from integrations.api.preconditions import etag_header, lock_for_change
from integrations.api.representation import serialize_installation_settings
from integrations.api.schema import (
    IF_MATCH_PARAMETER,
    PAGING_PARAMETERS,
    ErrorSerializer,
    page_serializer,
)
from integrations.catalog import catalog
from integrations.installations import install
from integrations.installations.change import change_installation, set_sources, source_ids
from integrations.keyset import fetch_page
from integrations.models import Installation


class InstallationsView(ManagementAPIView):
    scopes = {"GET": "installations:read", "POST": "installations:write"}
    permissions = {"POST": "integrations.add_installation"}
    parameters = {
        "GET": list_parameters(
            name=parse_text, destination=parse_text, enabled=parse_flag, uninstalled=parse_flag
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("name", str, description="The exact name."),
            OpenApiParameter("destination", str, description="A key from the catalog."),
            OpenApiParameter("enabled", bool),
            OpenApiParameter("uninstalled", bool, description="Uninstalled ones instead."),
            *PAGING_PARAMETERS,
        ],
        responses={
            200: page_serializer(serializers_installations.InstallationWithHealthSerializer)
        },
    )
    def get(self, request):
        """List installations, newest first."""
        wanted = self.query_params
        if "destination" in wanted:
            wanted["destination_key"] = wanted.pop("destination")
        wanted["uninstalled_at__isnull"] = not wanted.pop("uninstalled", False)
        on = pop_page_arguments(wanted)
        installations = fetch_page(select_installations().filter(**wanted), **on)
        queues = accounting_queues.read_queues([each.pk for each in installations.rows])
        return Response(
            serialize_page(installations, lambda each: serialize_installation(each, queues))
        )

    @extend_schema(
        request=serializers_installations.InstallationInputSerializer,
        responses={
            201: serializers_installations.FullInstallationSerializer,
            409: ErrorSerializer,
        },
    )
    def post(self, request):
        """Install a destination from the catalog."""
        wanted = validate_body(request, serializers_installations.InstallationInputSerializer)
        destination = catalog().get(wanted["destination"])
        if destination is None:
            raise Unprocessable({"destination": f"Must be one of: {', '.join(catalog())}."})
        with transaction.atomic():
            installation = install.install(
                destination,
                name=wanted.get("name", destination.name),
                variant=wanted.get("variant", "default"),
                config=wanted.get("config", {}),
                by=request.user,
            )
            set_sources(installation, wanted.get("sources", "all"))
        return installation_response(installation.pk, status.HTTP_201_CREATED)


class InstallationView(ManagementAPIView):
    scopes = {
        "GET": "installations:read",
        "PATCH": "installations:write",
        "DELETE": "installations:write",
    }
    permissions = {"DELETE": "integrations.delete_installation"}
    parameters = {"DELETE": {"confirm": parse_text}}

    @extend_schema(responses={200: serializers_installations.FullInstallationSerializer})
    def get(self, request, pk):
        """Show an installation, with its blueprint."""
        return installation_response(pk)

    @extend_schema(
        request=serializers_installations.InstallationChangeSerializer,
        parameters=[IF_MATCH_PARAMETER],
        responses={
            200: serializers_installations.FullInstallationSerializer,
            409: ErrorSerializer,
            412: ErrorSerializer,
        },
    )
    def patch(self, request, pk):
        """Change the given fields. Lanes that waited or were paused retry at once."""
        wanted = validate_body(request, serializers_installations.InstallationChangeSerializer)
        with lock_for_change(request, Installation.objects.installed(), pk) as installation:
            change_installation(installation, wanted)
        return installation_response(pk)

    @extend_schema(
        parameters=[
            OpenApiParameter("confirm", str, required=True, description="The installation's name."),
            IF_MATCH_PARAMETER,
        ],
        responses={200: serializers_installations.UninstallResultSerializer, 412: ErrorSerializer},
    )
    def delete(self, request, pk):
        """Uninstall: cancel queued deliveries and delete the secrets. The log stays."""
        confirmed = self.query_params.get("confirm")
        with lock_for_change(request, Installation.objects.installed(), pk) as installation:
            if confirmed != installation.name:
                raise Unprocessable({"confirm": f"Add ?confirm={installation.name} to uninstall."})
        cancelled = actions_installations.uninstall(
            installation, timezone.now()
        )  # in small transactions
        message = f"{confirmed} is uninstalled. {cancelled:,} queued deliveries were cancelled."
        return Response({"cancelled": cancelled, "message": message})


class InstallationActionView(ManagementAPIView):
    """Base of actions on an installation that take no body."""

    scopes = {"POST": "installations:write"}

    def act(self, installation):
        raise NotImplementedError

    @extend_schema(
        request=None, responses={200: serializers_installations.FullInstallationSerializer}
    )
    def post(self, request, pk):
        self.act(get_installation_or_404(pk))
        return installation_response(pk)


class InstallationEnableView(InstallationActionView):
    """Enable a disabled installation. Its lanes deliver at once."""

    def act(self, installation):
        actions_installations.resume_installation(installation)


class InstallationDisableView(InstallationActionView):
    """Disable an installation. Nothing is sent; new deliveries wait in its queue."""

    def act(self, installation):
        actions_installations.pause_installation(installation)


class InstallationResumeView(InstallationActionView):
    """Retry at once, whatever stopped it: rejected credentials or an unavailable vendor."""

    def act(self, installation):
        actions_installations.resume_installation(installation)


def select_installations():
    """Return installations with every related object that a response shows."""
    return with_state(Installation.objects.select_related("revision").prefetch_related("sources"))


def get_installation_or_404(pk):
    """Return an installation. Raises Http404."""
    installation = Installation.objects.installed().filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    return installation


def installation_response(pk, code=status.HTTP_200_OK):
    """Return a response with an installation, even an uninstalled one, and its blueprint.

    Raises Http404.
    """
    installation = select_installations().filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    revision = installation.revision
    queues = accounting_queues.read_queues([pk])
    blueprint = revision.blueprint if revision else None
    answer = {**serialize_installation(installation, queues), "blueprint": blueprint}
    return Response(answer, status=code, headers=etag_header(installation))


def serialize_installation(installation, queues):
    """Return an installation for the API, with its secrets masked."""
    queue = queues.get(installation.pk, accounting_queues.QueueSize())
    words = describe_installation(installation, list(installation.lanes.all()), timezone.now())
    revision = installation.revision
    return {
        **serialize_installation_settings(installation),
        "lane_count": installation.lane_count,
        "give_up_days": installation.give_up_days,
        "sources": source_ids(installation),
        "health": {
            "level": words.level,
            "title": words.title,
            "detail": words.detail,
            "fix": words.fix,
        },
        "queued": queue.queued,
        "oldest_queued_at": queue.oldest_queued_at,
        "last_accepted_at": installation.delivered_at,
        "revision": revision
        and {
            "number": revision.number,
            "created_at": revision.created_at,
            "change_summary": revision.change_summary,
        },
        "created_at": installation.created_at,
        "uninstalled_at": installation.uninstalled_at,
    }
