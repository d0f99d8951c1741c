from django.urls import path

from integrations.api import access, auth, views, webhook_sources

urlpatterns = [
    path("auth/login", auth.LoginView.as_view(), name="login"),
    path("auth/refresh", auth.RefreshView.as_view(), name="refresh"),
    path("auth/logout", auth.LogoutView.as_view(), name="logout"),
    path("auth/me", auth.MeView.as_view(), name="me"),
    path("users", access.UsersView.as_view(), name="users"),
    path("users/<int:pk>", access.UserView.as_view(), name="user"),
    path("tokens", access.TokensView.as_view(), name="tokens"),
    path("tokens/<int:pk>", access.TokenView.as_view(), name="token"),
    path("audit-log", access.AuditLogView.as_view(), name="audit-log"),
    path("webhook-sources", webhook_sources.WebhookSourcesView.as_view(), name="webhook-sources"),
    path(
        "webhook-sources/<int:pk>",
        webhook_sources.WebhookSourceView.as_view(),
        name="webhook-source",
    ),
    path("integration-catalog", views.CatalogView.as_view(), name="catalog"),
    path("integration-catalog/<slug:key>", views.CatalogEntryView.as_view(), name="catalog-entry"),
    path(
        "integration-catalog/<slug:key>/install",
        views.InstallView.as_view(),
        name="catalog-install",
    ),
]
