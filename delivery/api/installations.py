"""Installations: what is installed, how it is doing, and everything that can be done to it."""

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
from integrations.api.endpoint import Endpoint, given
from integrations.api.errors import Unprocessable
from integrations.api.lists import as_answered, flag, paged, place, text
from integrations.api.preconditions import changing, tagged
from integrations.api.schema import IF_MATCH, PAGING, Error, page_of
from integrations.catalog import catalog
from integrations.installations import install
from integrations.installations.change import change, fed_by, feed
from integrations.keyset import page
from integrations.models import Installation


class InstallationsView(Endpoint):
    scopes = {"GET": "installations:read", "POST": "installations:write"}
    permissions = {"POST": "integrations.add_installation"}
    parameters = {"GET": paged(name=text, destination=text, enabled=flag, uninstalled=flag)}

    @extend_schema(
        parameters=[
            OpenApiParameter("name", str, description="The whole name."),
            OpenApiParameter("destination", str, description="A key of the catalog."),
            OpenApiParameter("enabled", bool),
            OpenApiParameter("uninstalled", bool, description="Those that are gone, instead."),
            *PAGING,
        ],
        responses={200: page_of(serializers_installations.InstallationWithHealth)},
    )
    def get(self, request):
        """List what is installed, the newest first."""
        wanted = self.asked
        if "destination" in wanted:
            wanted["destination_key"] = wanted.pop("destination")
        wanted["uninstalled_at__isnull"] = not wanted.pop("uninstalled", False)
        on = place(wanted)
        found = page(rows().filter(**wanted), **on)
        queues = accounting_queues.read_queues([each.pk for each in found.rows])
        return Response(as_answered(found, lambda each: presented(each, queues)))

    @extend_schema(
        request=serializers_installations.InstallationInput,
        responses={201: serializers_installations.WholeInstallation, 409: Error},
    )
    def post(self, request):
        """Install a destination of the catalog."""
        wanted = given(request, serializers_installations.InstallationInput)
        destination = catalog().get(wanted["destination"])
        if destination is None:
            raise Unprocessable({"destination": f"One of: {', '.join(catalog())}."})
        with transaction.atomic():
            installation = install.install(
                destination,
                name=wanted.get("name", destination.name),
                variant=wanted.get("variant", "default"),
                config=wanted.get("config", {}),
                by=request.user,
            )
            feed(installation, wanted.get("sources", "all"))
        return whole(installation.pk, status.HTTP_201_CREATED)


class InstallationView(Endpoint):
    scopes = {
        "GET": "installations:read",
        "PATCH": "installations:write",
        "DELETE": "installations:write",
    }
    permissions = {"DELETE": "integrations.delete_installation"}
    parameters = {"DELETE": {"confirm": text}}

    @extend_schema(responses={200: serializers_installations.WholeInstallation})
    def get(self, request, pk):
        """Show an installation, with its blueprint."""
        return whole(pk)

    @extend_schema(
        request=serializers_installations.InstallationChange,
        parameters=[IF_MATCH],
        responses={200: serializers_installations.WholeInstallation, 409: Error, 412: Error},
    )
    def patch(self, request, pk):
        """Change what is given, and let its lanes try anew with that."""
        wanted = given(request, serializers_installations.InstallationChange)
        with changing(request, Installation.objects.installed(), pk) as installation:
            change(installation, wanted)
        return whole(pk)

    @extend_schema(
        parameters=[
            OpenApiParameter("confirm", str, required=True, description="Its name."),
            IF_MATCH,
        ],
        responses={200: serializers_installations.Uninstalled, 412: Error},
    )
    def delete(self, request, pk):
        """Uninstall: cancel what is queued, forget the secrets, keep the log."""
        confirmed = self.asked.get("confirm")
        with changing(request, Installation.objects.installed(), pk) as installation:
            if confirmed != installation.name:
                raise Unprocessable({"confirm": f"Say ?confirm={installation.name} to uninstall."})
        cancelled = actions_installations.uninstall(
            installation, timezone.now()
        )  # in small transactions
        said = f"{confirmed} is uninstalled. {cancelled:,} queued deliveries were cancelled."
        return Response({"cancelled": cancelled, "message": said})


class Switch(Endpoint):
    """Something that is done to an installation, and takes nothing else."""

    scopes = {"POST": "installations:write"}

    def act(self, installation):
        raise NotImplementedError

    @extend_schema(request=None, responses={200: serializers_installations.WholeInstallation})
    def post(self, request, pk):
        self.act(found(pk))
        return whole(pk)


class EnableView(Switch):
    """Send to an installation that was disabled, at once."""

    def act(self, installation):
        actions_installations.resume_installation(installation)


class DisableView(Switch):
    """Send nothing to an installation; what comes in waits in its queue."""

    def act(self, installation):
        actions_installations.pause_installation(installation)


class ResumeView(Switch):
    """Try again at once, whatever held it up: refused credentials, or a vendor that is away."""

    def act(self, installation):
        actions_installations.resume_installation(installation)


def rows():
    """Return installations with all that is shown of them."""
    return with_state(Installation.objects.select_related("revision").prefetch_related("sources"))


def found(pk):
    """Return an installation. Raises Http404."""
    installation = Installation.objects.installed().filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    return installation


def whole(pk, code=status.HTTP_200_OK):
    """Answer with an installation and its blueprint, gone or not. Raises Http404."""
    installation = rows().filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    revision = installation.revision
    queues = accounting_queues.read_queues([pk])
    blueprint = revision.blueprint if revision else None
    answer = {**presented(installation, queues), "blueprint": blueprint}
    return Response(answer, status=code, headers=tagged(installation))


def presented(installation, queues):
    """Return an installation as the API shows it: never a secret."""
    queue = queues.get(installation.pk, accounting_queues.QueueSize())
    words = describe_installation(installation, list(installation.lanes.all()), timezone.now())
    revision = installation.revision
    return {
        "id": installation.pk,
        "name": installation.name,
        "destination": installation.destination_key,
        "variant": installation.variant,
        "config": installation.masked_config(),
        "delivery_mode": installation.delivery_mode,
        "enabled": installation.enabled,
        "lane_count": installation.lane_count,
        "give_up_days": installation.give_up_days,
        "sources": fed_by(installation),
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
