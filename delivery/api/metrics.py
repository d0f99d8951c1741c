"""Metrics, and the state of Penstock itself."""

from dataclasses import asdict, fields
from datetime import timedelta
from operator import attrgetter

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from delivery.accounting import metrics, queues
from delivery.api.serializers import metrics as serializers_metrics
from delivery.operations.system import get_system_status
from integrations.api.endpoint import ManagementAPIView
from integrations.api.errors import Unprocessable
from integrations.api.lists import one_of, parse_id, parse_iso_time
from integrations.api.schema import ID_SCHEMA

DEFAULT_METRICS_RANGE = timedelta(days=1)  # the range if `since` is omitted
POINT_FIELDS = tuple(field.name for field in fields(metrics.MetricPoint))
get_point_values = attrgetter(*POINT_FIELDS)


class MetricsView(ManagementAPIView):
    scopes = {"GET": "deliveries:read"}

    parameters = {
        "GET": {
            "installation": parse_id,
            "source": parse_id,
            "since": parse_iso_time,
            "until": parse_iso_time,
            "step": one_of(*serializers_metrics.METRIC_STEPS),
        }
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("installation", ID_SCHEMA),
            OpenApiParameter("source", ID_SCHEMA),
            OpenApiParameter(
                "since", OpenApiTypes.DATETIME, description="A day before `until`, if omitted."
            ),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Now, if omitted."),
            OpenApiParameter(
                "step", str, enum=list(serializers_metrics.METRIC_STEPS), default="hour"
            ),
        ],
        responses={200: serializers_metrics.MetricsSerializer},
    )
    def get(self, request):
        """Count events and their deliveries, of an installation, a source, or all."""
        wanted = self.query_params
        installation = wanted.get("installation")
        until = wanted.get("until", timezone.now())
        try:
            series = metrics.read_series(
                since=wanted.get("since", until - DEFAULT_METRICS_RANGE),
                until=until,
                step=serializers_metrics.METRIC_STEPS[wanted.get("step", "hour")],
                installation=installation,
                source=wanted.get("source"),
            )
        except metrics.StepTooShort as error:
            raise Unprocessable({"step": str(error)}) from None
        return Response(serialize_metrics(series, get_metrics_queue(installation)))


class SystemView(ManagementAPIView):
    scopes = {"GET": "deliveries:read"}

    @extend_schema(responses={200: serializers_metrics.SystemSerializer})
    def get(self, request):
        """Show the state of Penstock: processes, lanes, broker, database, retention, versions."""
        now = timezone.now()
        return Response(serialize_system(get_system_status(now), queues.read_total_queue()))


def get_metrics_queue(installation):
    if installation is None:
        return queues.read_total_queue()
    return queues.read_queues([installation]).get(installation, queues.QueueSize())


def serialize_point(point):
    # asdict() copies all values deeply, which takes three times as long as the query.
    return dict(zip(POINT_FIELDS, get_point_values(point), strict=True))


def serialize_metrics(series, queue):
    return {
        "step": series.step.label.lower(),
        "since": series.since,
        "until": series.until,
        "now": asdict(queue),
        "total": serialize_point(series.total),
        "points": [serialize_point(each) for each in series.points],
    }


def serialize_system(status, queue):
    return {
        "is_well": not status.trouble,
        "trouble": status.trouble,
        "clusters": [asdict(each) for each in status.clusters],
        "swept_at": status.swept_at,
        "lanes": asdict(status.lanes),
        "queue": asdict(queue),
        "broker": asdict(status.broker),
        "database": asdict(status.database),
        "retention": [{"what": what, "days": days} for what, days in status.retention],
        "versions": dict(status.versions),
    }
