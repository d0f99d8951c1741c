"""The root URL configuration."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from integrations.api import documents, errors
from integrations.api.resources.catalog import blueprint_schema

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("v1/schema", documents.openapi_schema, name="schema"),
    path("v1/docs", documents.DocsView.as_view(), name="docs"),
    path("v1/blueprint.schema.json", blueprint_schema, name="blueprint-schema"),
    path("v1/admin/", include("integrations.api.urls")),
    path("v1/admin/", include("delivery.api.urls")),
    path("", include("delivery.ingest.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.not_found
handler500 = errors.server_error
