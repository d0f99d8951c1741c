from django.urls import path

from integrations.api.resources import audit_log, auth, tokens, users, webhook_sources
from integrations.api.resources import catalog as resources_catalog

urlpatterns = [
    path("auth/login", auth.LoginView.as_view(), name="login"),
    path("auth/refresh", auth.RefreshView.as_view(), name="refresh"),
    path("auth/logout", auth.LogoutView.as_view(), name="logout"),
    path("auth/me", auth.MeView.as_view(), name="me"),
    path("users", users.UsersView.as_view(), name="users"),
    path("users/<int:pk>", users.UserView.as_view(), name="user"),
    path("tokens", tokens.TokensView.as_view(), name="tokens"),
    path("tokens/<int:pk>", tokens.TokenView.as_view(), name="token"),
    path("audit-log", audit_log.AuditLogView.as_view(), name="audit-log"),
    path("webhook-sources", webhook_sources.WebhookSourcesView.as_view(), name="webhook-sources"),
    path(
        "webhook-sources/<int:pk>",
        webhook_sources.WebhookSourceView.as_view(),
        name="webhook-source",
    ),
    path("integration-catalog", resources_catalog.CatalogView.as_view(), name="catalog"),
    path(
        "integration-catalog/<slug:key>",
        resources_catalog.CatalogEntryView.as_view(),
        name="catalog-entry",
    ),
    path(
        "integration-catalog/<slug:key>/install",
        resources_catalog.CatalogInstallView.as_view(),
        name="catalog-install",
    ),
]
