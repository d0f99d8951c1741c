from django.urls import path

from integrations.api import views

urlpatterns = [
    path("integration-catalog", views.CatalogView.as_view(), name="catalog"),
    path("integration-catalog/<slug:key>", views.CatalogEntryView.as_view(), name="catalog-entry"),
    path(
        "integration-catalog/<slug:key>/install",
        views.InstallView.as_view(),
        name="catalog-install",
    ),
]
