"""Log records: the ids in them, and their form as JSON."""

import json
import logging
import subprocess
import sys

import pytest
from django.test import RequestFactory

from integrations.log_records import IdsFilter, JsonLines, log_ids
from integrations.request_context import Caller, acting_as
from tests.support.processes import ROOT, environment

CHATTER = """
import logging, django
django.setup()
logging.getLogger("django-q").info("Enqueued [x] 1")
logging.getLogger("django-q").warning("reincarnated worker")
logging.getLogger("delivery").info("ready")
"""


def fields(message="Done.", **extra):
    record = logging.makeLogRecord(
        {"msg": message, "name": "delivery", "levelname": "INFO", **extra}
    )
    IdsFilter().filter(record)
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("timestamp").endswith("+00:00")
    return found


def test_a_record_has_the_ids_that_are_known_and_no_others():
    plain = {"message": "Done.", "level": "INFO", "logger": "delivery"}
    assert fields() == plain
    with acting_as(Caller("abc-1")), log_ids(lane_id=3), log_ids(event_id=4):
        found = fields(delivery_id=5, attempt_id=6, event_id=7)
    ids = {"lane_id": 3, "delivery_id": 5, "attempt_id": 6, "event_id": 7}
    assert found == {**plain, "request_id": "abc-1", **ids}
    assert fields() == plain


def test_what_else_is_attached_to_a_record_stays_out():
    request = RequestFactory().get("/v1/pixel/track?wk=canary")
    assert "canary" not in json.dumps(fields(request=request, sql="canary", status_code=400))


def test_a_traceback_is_one_field_of_the_line():
    try:
        raise RuntimeError("broken\nin two lines")
    except RuntimeError:
        found = fields(exc_info=sys.exc_info())
    assert found["exc_info"].startswith("Traceback")
    assert found["exc_info"].endswith("broken\nin two lines")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_setting_chooses_the_form_and_django_q_only_warns(kind, tmp_path):
    env = environment(f"sqlite:///{tmp_path}/db", LOG_FORMAT=kind)
    env["DJANGO_SETTINGS_MODULE"] = "config.settings"
    done = subprocess.run(
        [sys.executable, "-c", CHATTER],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    if kind == "json":
        lines = [json.loads(line)["message"] for line in lines]
    assert [line.split(": ")[-1] for line in lines] == ["reincarnated worker", "ready"]
