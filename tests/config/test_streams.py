"""The connection of a streamed response is found, even while clients leave."""

import os
import socket
import sys
from contextlib import closing

import psutil
import pytest

from config import streams

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@pytest.fixture
def connection():
    """The server's end of a connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        closing(listener.accept()[0]) as server,
    ):
        yield server


def test_the_connection_of_a_client_is_found(connection):
    with closing(streams.find_connection(connection.getpeername())) as found:
        assert found.getpeername() == connection.getpeername()


def test_the_file_that_has_the_number_of_a_closed_connection_is_not_taken_for_it(
    connection, monkeypatch, tmp_path
):
    client, number = connection.getpeername(), connection.fileno()
    seen = psutil.Process().net_connections("tcp")
    monkeypatch.setattr(psutil.Process, "net_connections", lambda *_: seen)
    with (tmp_path / "other").open("w") as file, socket.create_server(("127.0.0.1", 0)) as other:
        connection.close()
        assert streams.find_connection(client) is None  # no file has the number
        before = len(os.listdir("/proc/self/fd"))
        for each in (file, other):
            os.dup2(each.fileno(), number)
            assert streams.find_connection(client) is None
            os.close(number)
        assert len(os.listdir("/proc/self/fd")) == before
