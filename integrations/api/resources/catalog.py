"""The catalog and what is installed from it."""

from pathlib import Path

from django.http import FileResponse, Http404
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations import blueprints
from integrations.api import serializers
from integrations.api.endpoint import Endpoint, unchecked
from integrations.api.schema import Error
from integrations.catalog import catalog
from integrations.installations.install import install, offered, starting_value

SCHEMA = Path(blueprints.__file__).with_name("schema.json")


class CatalogView(Endpoint):
    """List what can be installed."""

    scopes = {"GET": "catalog:read"}

    @extend_schema(responses={200: serializers.Catalog})
    def get(self, request):
        return Response({"data": [described(each) for each in catalog().values()]})


class CatalogEntryView(Endpoint):
    """Show one destination of the catalog; 404 when there is none of that key."""

    scopes = {"GET": "catalog:read"}

    @extend_schema(responses={200: serializers.Destination})
    def get(self, request, key):
        return Response(described(find(key)))


class InstallView(Endpoint):
    """Install a destination.

    201 with the installation; 404 no such destination; 409 the name is taken; 422 fields are
    missing or wrong, each named.
    """

    scopes = {"POST": "installations:write"}
    permissions = {"POST": "integrations.add_installation"}

    @extend_schema(
        request=serializers.InstallInput,
        responses={201: serializers.Installation, 409: Error},
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
        destination, given = find(key), unchecked(request, serializers.InstallInput)
        installation = install(
            destination,
            name=given.get("name", destination.name),
            variant=given.get("variant", "default"),
            config=given.get("config", {}),
            delivery_mode=given.get("delivery_mode", "server_side"),
            by=request.user,
        )
        return Response(presented(installation), status=status.HTTP_201_CREATED)


def blueprint_schema(request):
    """Show the JSON Schema of a blueprint, to whoever writes one with an editor that knows it."""
    return FileResponse(SCHEMA.open("rb"), content_type="application/schema+json")


def find(key):
    try:
        return catalog()[key]
    except KeyError:
        known = ", ".join(catalog())
        raise Http404(f"No destination {key!r} in the catalog; it has: {known}.") from None


def described(destination):
    """Return a destination as the catalog shows it."""
    return {
        "key": destination.key,
        "name": destination.name,
        "description": destination.description,
        "category": destination.category,
        "status": destination.status,
        "website": destination.website,
        "config_fields": [field_described(each) for each in destination.config_fields],
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


def field_described(field):
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
        described["options"] = [{"value": v, "label": label} for v, label in offered(field)]
    return described


def presented(installation):
    """Return an installation as the API shows it: never a secret."""
    revision = installation.revision
    logs = reverse("deliveries") + f"?installation={installation.pk}"
    return {
        "id": installation.pk,
        "name": installation.name,
        "destination": installation.destination_key,
        "variant": installation.variant,
        "config": installation.masked_config(),
        "delivery_mode": installation.delivery_mode,
        "enabled": installation.enabled,
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
