"""Metrics, and how Penstock itself is doing."""

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
from integrations.api.endpoint import Endpoint
from integrations.api.errors import Unprocessable
from integrations.api.lists import moment, number, one_of
from integrations.api.schema import ID

USUAL = timedelta(days=1)  # the range, when not said
FIGURES = tuple(field.name for field in fields(metrics.MetricPoint))
figures_of = attrgetter(*FIGURES)


class MetricsView(Endpoint):
    scopes = {"GET": "deliveries:read"}

    parameters = {
        "GET": {
            "installation": number,
            "source": number,
            "since": moment,
            "until": moment,
            "step": one_of(*serializers_metrics.STEPS),
        }
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("installation", ID),
            OpenApiParameter("source", ID),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="A day ago, if not said."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Now, if not said."),
            OpenApiParameter("step", str, enum=list(serializers_metrics.STEPS), default="hour"),
        ],
        responses={200: serializers_metrics.Metrics},
    )
    def get(self, request):
        """Count what was accepted and what became of it: of an installation, a source, or all."""
        wanted = self.asked
        installation = wanted.get("installation")
        until = wanted.get("until", timezone.now())
        try:
            series = metrics.read_series(
                since=wanted.get("since", until - USUAL),
                until=until,
                step=serializers_metrics.STEPS[wanted.get("step", "hour")],
                installation=installation,
                source=wanted.get("source"),
            )
        except metrics.StepTooShort as error:
            raise Unprocessable({"step": str(error)}) from None
        return Response(presented(series, queue_of(installation)))


class SystemView(Endpoint):
    scopes = {"GET": "deliveries:read"}

    @extend_schema(responses={200: serializers_metrics.System})
    def get(self, request):
        """Show how Penstock is doing: processes, lanes, broker, database, retention, versions."""
        now = timezone.now()
        return Response(system_presented(get_system_status(now), queues.read_total_queue()))


def queue_of(installation):
    if installation is None:
        return queues.read_total_queue()
    return queues.read_queues([installation]).get(installation, queues.QueueSize())


def figures(point):
    # asdict() copies all values deeply, at three times the cost of the query
    return dict(zip(FIGURES, figures_of(point), strict=True))


def presented(series, queue):
    return {
        "step": series.step.label.lower(),
        "since": series.since,
        "until": series.until,
        "now": asdict(queue),
        "total": figures(series.total),
        "points": [figures(each) for each in series.points],
    }


def system_presented(told, queue):
    return {
        "is_well": not told.trouble,
        "trouble": told.trouble,
        "clusters": [asdict(each) for each in told.clusters],
        "swept_at": told.swept_at,
        "lanes": asdict(told.lanes),
        "queue": asdict(queue),
        "broker": asdict(told.broker),
        "database": asdict(told.database),
        "retention": [{"what": what, "days": days} for what, days in told.retention],
        "versions": dict(told.versions),
    }
