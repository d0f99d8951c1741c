from django.urls import path

from delivery.api import views

urlpatterns = [
    path("rejections", views.RejectionsView.as_view(), name="rejections"),
    path("deliveries", views.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/<int:pk>", views.DeliveryView.as_view(), name="delivery"),
    path(
        "deliveries/<int:pk>/deliver-again",
        views.DeliverAgainView.as_view(),
        name="delivery-deliver-again",
    ),
]
