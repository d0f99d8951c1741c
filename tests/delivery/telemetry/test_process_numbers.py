"""Processes that count in one folder."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from delivery.telemetry.process_numbers import FILE_BYTES, FOLDER_VARIABLE, share_metrics
from tests.support.processes import ROOT

COUNT = """
from delivery.telemetry import instruments
instruments.count_responses([200])
print("counted", flush=True)
input()
"""
COUNT_IN_A_FORK = """
import os
from delivery.telemetry import instruments
instruments.count_responses([200])
child = os.fork()
instruments.count_responses([200] * 100)
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""


@contextmanager
def counting(folder):
    """Run a process that counts one response."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT], cwd=ROOT, env={**os.environ, FOLDER_VARIABLE: str(folder)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == b"counted\n"
        yield
        process.kill()


def counted(folder):
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return registry.get_sample_value("penstock_attempt_responses_total", {"status": "200"})


@pytest.fixture
def environment(monkeypatch):
    """The environment without the folder; afterwards it is as before."""
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    monkeypatch.delenv(FOLDER_VARIABLE)
    return monkeypatch


def test_counts_add_up_and_the_next_process_continues_those_of_one_that_died(tmp_path):
    with counting(tmp_path):
        with counting(tmp_path):
            assert counted(tmp_path) == 2
        with counting(tmp_path):
            assert counted(tmp_path) == 3
    files = list(tmp_path.glob("*_*.db"))
    assert len(files) == 4
    assert {each.stat().st_size for each in files} == {FILE_BYTES}  # not grown while in use


def test_a_forked_child_counts_for_itself(tmp_path):
    env = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-c", COUNT_IN_A_FORK], cwd=ROOT, env=env, check=True)
    assert counted(tmp_path) == 201


def test_a_start_begins_anew_unless_a_process_still_counts(tmp_path, environment):
    folder = tmp_path / "metrics"
    with counting(folder):
        share_metrics(folder)
        assert os.environ[FOLDER_VARIABLE] == str(folder)
        assert counted(folder) == 1
    environment.delenv(FOLDER_VARIABLE)
    share_metrics(folder)
    assert counted(folder) is None


def test_a_folder_that_the_environment_names_is_left_alone(tmp_path, environment):
    environment.setenv(FOLDER_VARIABLE, "elsewhere")
    share_metrics(tmp_path)
    assert os.environ[FOLDER_VARIABLE] == "elsewhere"
    assert list(tmp_path.iterdir()) == []
