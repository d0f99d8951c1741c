from django.core.management.base import BaseCommand

from delivery.operations import supervisor
from delivery.operations.processes import StopRequest


class Command(BaseCommand):
    help = (
        "Deliver: run django-q2's qcluster and restart the whole of it when a part of it dies "
        "or due work is not taken. Use this, never qcluster itself."
    )

    def handle(self, **options):
        supervisor.supervise(StopRequest())
