"""The hurried design, for comparison: what a Django developer in a hurry would write.

It stores one row for each event with the ORM, queues one django-q2 task for each row, and makes one
`requests.post` for each task. It answers 200 and delivers. It has the same database, broker and
number of workers as Penstock, and the same persistent connections and django-q2 settings, which
suit it better than the defaults. It has no order, no retries, no idempotent ingest and no log.
"""

import json

import requests
from django.conf import settings
from django.db import models
from django.urls import path
from django.utils import timezone
from django_q.tasks import async_task
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

APP_ID = "1234567890"


class Event(models.Model):
    message_id = models.CharField(max_length=255, unique=True)
    payload = models.JSONField()
    status = models.CharField(max_length=10, default="queued")
    received_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "hurried"

    def __str__(self):
        return self.message_id


class EventSerializer(serializers.Serializer):
    type = serializers.ChoiceField(["track", "identify"])
    messageId = serializers.CharField(max_length=255)  # noqa: N815  (names in the JSON)
    userId = serializers.CharField(required=False)  # noqa: N815
    anonymousId = serializers.CharField(required=False)  # noqa: N815
    event = serializers.CharField(required=False)
    timestamp = serializers.DateTimeField()
    properties = serializers.DictField(required=False)
    traits = serializers.DictField(required=False)

    def create(self, validated_data):
        return Event.objects.create(
            message_id=validated_data["messageId"], payload=self.initial_data
        )


class EventView(APIView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request):
        for message in request.data.get("batch", [request.data]):
            serializer = EventSerializer(data=message)
            serializer.is_valid(raise_exception=True)
            event = serializer.save()
            async_task("benchmarks.hurried.deliver", event.pk)
        return Response({"success": True})


def deliver(event_id):
    event = Event.objects.get(pk=event_id)
    call, body = heap_call(event.payload)
    response = requests.post(f"{settings.SANDBOX_URL}/api/{call}", json=body, timeout=10)
    event.status = "delivered" if response.ok else "failed"
    event.delivered_at = timezone.now()
    event.save()


def heap_call(payload):
    if payload["type"] == "identify":
        user = {"identity": payload["userId"], "properties": flat(payload["traits"])}
        return "add_user_properties", {"app_id": APP_ID, **user}
    who = {"identity": payload["userId"]} if "userId" in payload else {"user_id": visitor(payload)}
    return "track", {
        "app_id": APP_ID,
        **who,
        "event": payload["event"],
        "timestamp": payload["timestamp"],
        "idempotency_key": payload["messageId"],
        "properties": flat(payload["properties"]),
    }


def visitor(payload):
    return payload["anonymousId"].rpartition("-")[2]


def flat(properties):
    return {
        key: value if isinstance(value, str | int | float) and value is not True
        else json.dumps(value)
        for key, value in properties.items()
    }  # fmt: skip


urlpatterns = [path(f"v1/{each}", EventView.as_view()) for each in ("track", "identify", "batch")]
