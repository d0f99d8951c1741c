from django.urls import path

from delivery.api import (
    attempts,
    blueprints,
    deliveries,
    events,
    incidents,
    installations,
    metrics,
    rejections,
    replays,
    sources,
    tester,
)

INSTALLATION_PATH = "installations/<int:pk>/"
REVISION_PATH = f"{INSTALLATION_PATH}revisions/<int:revision>"

urlpatterns = [
    path("installations", installations.InstallationsView.as_view(), name="installations"),
    path("installations/<int:pk>", installations.InstallationView.as_view(), name="installation"),
    path(
        "installations/<int:pk>/enable",
        installations.InstallationEnableView.as_view(),
        name="installation-enable",
    ),
    path(
        "installations/<int:pk>/disable",
        installations.InstallationDisableView.as_view(),
        name="installation-disable",
    ),
    path(
        "installations/<int:pk>/resume",
        installations.InstallationResumeView.as_view(),
        name="installation-resume",
    ),
    path("sources", sources.SourcesView.as_view(), name="sources"),
    path("sources/<int:pk>", sources.SourceView.as_view(), name="source"),
    path("sources/<int:pk>/keys", sources.WriteKeysView.as_view(), name="source-keys"),
    path("sources/<int:pk>/keys/<int:key>", sources.WriteKeyView.as_view(), name="source-key"),
    path(
        "sources/<int:pk>/rotate-key",
        sources.WriteKeyRotateView.as_view(),
        name="source-rotate-key",
    ),
    path(
        "sources/<int:pk>/signing-secret",
        sources.SigningSecretView.as_view(),
        name="source-signing-secret",
    ),
    path("events", events.EventsView.as_view(), name="events"),
    path("events/<int:pk>", events.EventView.as_view(), name="event"),
    path("events/<int:pk>/reveal", events.EventRevealView.as_view(), name="event-reveal"),
    path("attempts", attempts.AttemptsView.as_view(), name="attempts"),
    path("attempts/<int:pk>", attempts.AttemptView.as_view(), name="attempt"),
    path("attempts/<int:pk>/reveal", attempts.AttemptRevealView.as_view(), name="attempt-reveal"),
    path("metrics", metrics.MetricsView.as_view(), name="metrics"),
    path("system", metrics.SystemView.as_view(), name="system"),
    path("incidents", incidents.IncidentsView.as_view(), name="incidents"),
    path("incidents/test", incidents.TestAlertView.as_view(), name="incidents-test"),
    path("incidents/<int:pk>", incidents.IncidentView.as_view(), name="incident"),
    path("rejections", rejections.RejectionsView.as_view(), name="rejections"),
    path(
        "rejections/<int:pk>/reveal",
        rejections.RejectionRevealView.as_view(),
        name="rejection-reveal",
    ),
    path("deliveries", deliveries.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/export", deliveries.DeliveryExportView.as_view(), name="deliveries-export"),
    path(
        "deliveries/deliver-again",
        deliveries.DeliveryBulkDeliverAgainView.as_view(),
        name="deliveries-deliver-again",
    ),
    path(
        "deliveries/cancel", deliveries.DeliveryBulkCancelView.as_view(), name="deliveries-cancel"
    ),
    path(
        "deliveries/resolve",
        deliveries.DeliveryBulkResolveView.as_view(),
        name="deliveries-resolve",
    ),
    path("deliveries/<int:pk>", deliveries.DeliveryView.as_view(), name="delivery"),
    path(
        "deliveries/<int:pk>/reveal",
        deliveries.DeliveryRevealView.as_view(),
        name="delivery-reveal",
    ),
    path(
        "deliveries/<int:pk>/deliver-again",
        deliveries.DeliveryDeliverAgainView.as_view(),
        name="delivery-deliver-again",
    ),
    path(
        "deliveries/<int:pk>/cancel",
        deliveries.DeliveryCancelView.as_view(),
        name="delivery-cancel",
    ),
    path(
        "deliveries/<int:pk>/resolve",
        deliveries.DeliveryResolveView.as_view(),
        name="delivery-resolve",
    ),
    path("replays", replays.ReplaysView.as_view(), name="replays"),
    path("replays/preview", replays.ReplayPreviewView.as_view(), name="replays-preview"),
    path("replays/<int:pk>", replays.ReplayView.as_view(), name="replay"),
    path("replays/<int:pk>/pause", replays.ReplayPauseView.as_view(), name="replay-pause"),
    path("replays/<int:pk>/resume", replays.ReplayResumeView.as_view(), name="replay-resume"),
    path("replays/<int:pk>/cancel", replays.ReplayCancelView.as_view(), name="replay-cancel"),
    path(f"{INSTALLATION_PATH}preview", tester.BlueprintPreviewView.as_view(), name="preview"),
    path(f"{INSTALLATION_PATH}test-event", tester.TestEventView.as_view(), name="test-event"),
    path(
        f"{INSTALLATION_PATH}test-connection",
        tester.TestConnectionView.as_view(),
        name="test-connection",
    ),
    path(f"{INSTALLATION_PATH}revisions", blueprints.RevisionsView.as_view(), name="revisions"),
    path(REVISION_PATH, blueprints.RevisionView.as_view(), name="revision"),
    path(f"{REVISION_PATH}/diff", blueprints.RevisionDiffView.as_view(), name="revision-diff"),
    path(
        f"{REVISION_PATH}/roll-back",
        blueprints.RevisionRollBackView.as_view(),
        name="revision-roll-back",
    ),
]
