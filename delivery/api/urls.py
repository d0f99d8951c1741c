from django.urls import path

from delivery.api import replays, views

urlpatterns = [
    path("rejections", views.RejectionsView.as_view(), name="rejections"),
    path("deliveries", views.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/<int:pk>", views.DeliveryView.as_view(), name="delivery"),
    path(
        "deliveries/<int:pk>/deliver-again",
        views.DeliverAgainView.as_view(),
        name="delivery-deliver-again",
    ),
    path("replays", replays.ReplaysView.as_view(), name="replays"),
    path("replays/preview", replays.PreviewView.as_view(), name="replays-preview"),
    path("replays/<int:pk>", replays.ReplayView.as_view(), name="replay"),
    path("replays/<int:pk>/pause", replays.PauseView.as_view(), name="replay-pause"),
    path("replays/<int:pk>/resume", replays.ResumeView.as_view(), name="replay-resume"),
    path("replays/<int:pk>/cancel", replays.CancelView.as_view(), name="replay-cancel"),
]
