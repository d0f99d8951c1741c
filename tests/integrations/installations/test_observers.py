"""A change of an installation makes its lanes try again at once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.models import Lane
from integrations.catalog import load_blueprint
from integrations.installations.change import change_installation
from integrations.installations.install import reconfigure
from integrations.installations.revisions import roll_back, save_revision
from tests.support.factories import make_installation

pytestmark = pytest.mark.django_db

CHANGES = {
    "reconfigure": lambda heap: reconfigure(heap, name="Renamed", config=heap.config),
    "change": lambda heap: change_installation(heap, {"name": "Renamed"}),
    "save_revision": lambda heap: save_revision(heap, load_blueprint("heap", "default"), by=None),
    "roll_back": lambda heap: roll_back(heap, 1, by=None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_lanes_of_a_changed_installation_try_again_at_once(name):
    heap = make_installation()
    later = timezone.now() + timedelta(hours=1)
    Lane.objects.filter(installation=heap).update(failures=3, due_at=later, paused=True)
    CHANGES[name](heap)
    lane = Lane.objects.get(installation=heap, number=0)
    assert (lane.failures, lane.due_at, lane.paused) == (0, None, False)
