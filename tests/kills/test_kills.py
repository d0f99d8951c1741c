"""A cluster whose processes are all alive but do no work, for which the fault suite has no row."""

import pytest

from tests.faults.registry import FULL
from tests.faults.rows.kills import seconds_to_arrive
from tests.kills.stage import Stage

pytestmark = pytest.mark.kills


@pytest.fixture
def stage(request, tmp_path):
    url = f"sqlite:///{tmp_path}/penstock.sqlite3"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    with Stage(url) as stage:
        yield stage


@pytest.mark.parametrize("stage", ["sqlite", "postgres"] if FULL else ["sqlite"], indirect=True)
def test_a_cluster_that_freezes_with_all_its_processes_alive_is_replaced(stage):
    [pusher] = stage.find("pusher")
    pusher.suspend()

    seconds_to_arrive(stage, "frozen pusher")
    assert "idle workers did not respond" in stage.up.output
