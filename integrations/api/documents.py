"""Serves the OpenAPI schema that is in the repository, and the page that shows it."""

from functools import cache

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.views import SpectacularSwaggerSplitView


def openapi_schema(request):
    """Return the OpenAPI schema as YAML."""
    return HttpResponse(_schema_text(), "application/vnd.oai.openapi; charset=utf-8")


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, served by Penstock itself and without inline scripts."""

    url_name = "schema"
    title = "Penstock API"


@cache
def _schema_text():
    return (settings.BASE_DIR / "schema.yml").read_text()
