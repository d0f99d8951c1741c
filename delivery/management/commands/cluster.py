from django.conf import settings
from django.core.management.base import BaseCommand

from delivery.operations import supervisor
from delivery.operations.processes import StopRequest
from delivery.telemetry.process_numbers import share_metrics


class Command(BaseCommand):
    help = (
        "Deliver events: run django-q2's qcluster, and restart it when one of its processes dies "
        "or due work is ignored. Never run qcluster directly."
    )

    def handle(self, **options):
        share_metrics(settings.VAR_DIR / "metrics")
        supervisor.supervise(StopRequest())
