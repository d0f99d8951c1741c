"""The schema of the API, as it is in the repository, and the page that shows it."""

from functools import cache

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.views import SpectacularSwaggerSplitView


def openapi_schema(request):
    """Answer the OpenAPI schema, in YAML."""
    return HttpResponse(_schema_text(), "application/vnd.oai.openapi; charset=utf-8")


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, from our own host and without a script in the page."""

    url_name = "schema"
    title = "Penstock API"


@cache
def _schema_text():
    return (settings.BASE_DIR / "schema.yml").read_text()
