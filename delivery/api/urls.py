from django.urls import path

from delivery.api import (
    blueprints,
    events,
    incidents,
    installations,
    measures,
    replays,
    sources,
    views,
)

OF_INSTALLATION = "installations/<int:pk>/"
REVISION = f"{OF_INSTALLATION}revisions/<int:revision>"

urlpatterns = [
    path("installations", installations.InstallationsView.as_view(), name="installations"),
    path("installations/<int:pk>", installations.InstallationView.as_view(), name="installation"),
    path(
        "installations/<int:pk>/enable",
        installations.EnableView.as_view(),
        name="installation-enable",
    ),
    path(
        "installations/<int:pk>/disable",
        installations.DisableView.as_view(),
        name="installation-disable",
    ),
    path(
        "installations/<int:pk>/resume",
        installations.ResumeView.as_view(),
        name="installation-resume",
    ),
    path("sources", sources.SourcesView.as_view(), name="sources"),
    path("sources/<int:pk>", sources.SourceView.as_view(), name="source"),
    path("sources/<int:pk>/keys", sources.KeysView.as_view(), name="source-keys"),
    path("sources/<int:pk>/keys/<int:key>", sources.KeyView.as_view(), name="source-key"),
    path("sources/<int:pk>/rotate-key", sources.RotateView.as_view(), name="source-rotate-key"),
    path(
        "sources/<int:pk>/signing-secret",
        sources.SigningSecretView.as_view(),
        name="source-signing-secret",
    ),
    path("events", events.EventsView.as_view(), name="events"),
    path("events/<int:pk>", events.EventView.as_view(), name="event"),
    path("events/<int:pk>/reveal", events.RevealEventView.as_view(), name="event-reveal"),
    path("attempts", events.AttemptsView.as_view(), name="attempts"),
    path("attempts/<int:pk>", events.AttemptView.as_view(), name="attempt"),
    path("attempts/<int:pk>/reveal", events.RevealAttemptView.as_view(), name="attempt-reveal"),
    path("metrics", measures.MetricsView.as_view(), name="metrics"),
    path("system", measures.SystemView.as_view(), name="system"),
    path("incidents", incidents.IncidentsView.as_view(), name="incidents"),
    path("incidents/test", incidents.TestAlarmView.as_view(), name="incidents-test"),
    path("incidents/<int:pk>", incidents.IncidentView.as_view(), name="incident"),
    path("rejections", views.RejectionsView.as_view(), name="rejections"),
    path(
        "rejections/<int:pk>/reveal", views.RevealRejectionView.as_view(), name="rejection-reveal"
    ),
    path("deliveries", views.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/export", views.ExportView.as_view(), name="deliveries-export"),
    path(
        "deliveries/deliver-again",
        views.DeliverManyAgainView.as_view(),
        name="deliveries-deliver-again",
    ),
    path("deliveries/cancel", views.CancelManyView.as_view(), name="deliveries-cancel"),
    path("deliveries/resolve", views.ResolveManyView.as_view(), name="deliveries-resolve"),
    path("deliveries/<int:pk>", views.DeliveryView.as_view(), name="delivery"),
    path("deliveries/<int:pk>/reveal", views.RevealDeliveryView.as_view(), name="delivery-reveal"),
    path(
        "deliveries/<int:pk>/deliver-again",
        views.DeliverAgainView.as_view(),
        name="delivery-deliver-again",
    ),
    path("deliveries/<int:pk>/cancel", views.CancelView.as_view(), name="delivery-cancel"),
    path("deliveries/<int:pk>/resolve", views.ResolveView.as_view(), name="delivery-resolve"),
    path("replays", replays.ReplaysView.as_view(), name="replays"),
    path("replays/preview", replays.PreviewView.as_view(), name="replays-preview"),
    path("replays/<int:pk>", replays.ReplayView.as_view(), name="replay"),
    path("replays/<int:pk>/pause", replays.PauseView.as_view(), name="replay-pause"),
    path("replays/<int:pk>/resume", replays.ResumeView.as_view(), name="replay-resume"),
    path("replays/<int:pk>/cancel", replays.CancelView.as_view(), name="replay-cancel"),
    path(f"{OF_INSTALLATION}preview", blueprints.PreviewView.as_view(), name="preview"),
    path(f"{OF_INSTALLATION}test-event", blueprints.TestEventView.as_view(), name="test-event"),
    path(
        f"{OF_INSTALLATION}test-connection",
        blueprints.TestConnectionView.as_view(),
        name="test-connection",
    ),
    path(f"{OF_INSTALLATION}revisions", blueprints.RevisionsView.as_view(), name="revisions"),
    path(REVISION, blueprints.RevisionView.as_view(), name="revision"),
    path(f"{REVISION}/diff", blueprints.DifferenceView.as_view(), name="revision-diff"),
    path(f"{REVISION}/roll-back", blueprints.RollBackView.as_view(), name="revision-roll-back"),
]
