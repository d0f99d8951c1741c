"""Serves the OpenAPI schema that is in the repository, and the page that shows it."""

from django.conf import settings
from django.http import FileResponse
from drf_spectacular.views import SpectacularSwaggerSplitView


def openapi_schema(request):
    """Return the OpenAPI schema as YAML, from the file, so that slow readers take no memory."""
    file = (settings.BASE_DIR / "schema.yml").open("rb")
    return FileResponse(file, content_type="application/vnd.oai.openapi; charset=utf-8")


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, served by Penstock itself and without inline scripts."""

    url_name = "schema"
    title = "Penstock API"
