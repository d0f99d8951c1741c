"""The catalog of destinations: `/v1/admin/integration-catalog`."""

from pathlib import Path

from django.http import FileResponse, Http404
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations import blueprints
from integrations.api import serializers
from integrations.api.endpoint import ManagementAPIView, read_body
from integrations.api.representation import serialize_installation_settings
from integrations.api.schema import ErrorSerializer
from integrations.catalog import catalog
from integrations.installations.install import install, offered_options, starting_value

BLUEPRINT_SCHEMA_FILE = Path(blueprints.__file__).with_name("schema.json")


class CatalogView(ManagementAPIView):
    """List the destinations that can be installed."""

    scopes = {"GET": "catalog:read"}

    @extend_schema(responses={200: serializers.CatalogSerializer})
    def get(self, request):
        return Response({"data": [serialize_destination(each) for each in catalog().values()]})


class CatalogEntryView(ManagementAPIView):
    """Show one destination of the catalog; 404 if there is none with that key."""

    scopes = {"GET": "catalog:read"}

    @extend_schema(responses={200: serializers.DestinationSerializer})
    def get(self, request, key):
        return Response(serialize_destination(get_destination_or_404(key)))


class CatalogInstallView(ManagementAPIView):
    """Install a destination.

    201 with the installation; 404 if there is no such destination; 409 if the name is taken; 422
    with each missing or invalid field.
    """

    scopes = {"POST": "installations:write"}
    permissions = {"POST": "integrations.add_installation"}

    @extend_schema(
        request=serializers.InstallInputSerializer,
        responses={201: serializers.InstallationSerializer, 409: ErrorSerializer},
        examples=[
            OpenApiExample(
                "Heap",
                {
                    "name": "Heap",
                    "variant": "default",
                    "config": {"app_id": "1234567890", "api_key": "your_api_key"},
                    "delivery_mode": "server_side",
                },
                request_only=True,
            )
        ],
    )
    def post(self, request, key):
        destination, body = (
            get_destination_or_404(key),
            read_body(request, serializers.InstallInputSerializer),
        )
        installation = install(
            destination,
            name=body.get("name", destination.name),
            variant=body.get("variant", "default"),
            config=body.get("config", {}),
            delivery_mode=body.get("delivery_mode", "server_side"),
            by=request.user,
        )
        return Response(serialize_new_installation(installation), status=status.HTTP_201_CREATED)


def blueprint_schema(request):
    """Return the JSON Schema of a blueprint, for editors that validate with it."""
    return FileResponse(BLUEPRINT_SCHEMA_FILE.open("rb"), content_type="application/schema+json")


def get_destination_or_404(key):
    try:
        return catalog()[key]
    except KeyError:
        known = ", ".join(catalog())
        raise Http404(f"No destination {key!r} in the catalog; it has: {known}.") from None


def serialize_destination(destination):
    """Return a destination as the catalog shows it."""
    return {
        "key": destination.key,
        "name": destination.name,
        "description": destination.description,
        "category": destination.category,
        "status": destination.status,
        "website": destination.website,
        "config_fields": [serialize_config_field(each) for each in destination.config_fields],
        "variants": [
            {
                "key": each.key,
                "name": each.name,
                "description": each.description,
                "default_config": dict(each.config),
            }
            for each in destination.variants
        ],
    }


def serialize_config_field(field):
    described = {
        "key": field.key,
        "label": field.label,
        "type": field.type,
        "required": field.required,
        "placeholder": field.placeholder,
        "help_text": field.help_text,
        "default": starting_value(field, {}),
    }
    if field.type == "select":
        described["options"] = [{"value": v, "label": label} for v, label in offered_options(field)]
    return described


def serialize_new_installation(installation):
    """Return an installation for the API, with its secrets masked."""
    revision = installation.revision
    logs = reverse("deliveries") + f"?installation={installation.pk}"
    return {
        **serialize_installation_settings(installation),
        "created_at": installation.created_at,
        "revision": {
            "number": revision.number,
            "created_at": revision.created_at,
            "change_summary": revision.change_summary,
            "blueprint": revision.blueprint,
        },
        "logs": {
            "api": logs,
            "admin": reverse("admin:delivery_delivery_changelist")
            + f"?installation={installation.pk}",
        },
    }
