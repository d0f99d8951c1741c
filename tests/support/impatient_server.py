"""Penstock's web application with short time limits, and with streams that a test needs."""

from django.http import StreamingHttpResponse

from config import request_bodies, rsgi, streams

request_bodies.BODY_SECONDS = 2.0
streams.STALL_SECONDS = 2.0

ROW = b"a row of an export\n" * 1_000
ROWS = 1_000  # 19 MB, more than the buffers of a connection hold
penstock = rsgi.application.django.respond


def respond(environ):
    if environ["PATH_INFO"].endswith("-stream"):
        environ["REMOTE_ADDR"] = "203.0.113.7"  # as behind a trusted proxy
    if environ["PATH_INFO"] == "/failing-stream":
        return StreamingHttpResponse(failing_rows())
    if environ["PATH_INFO"] == "/long-stream":
        return StreamingHttpResponse([*[ROW] * ROWS, b"the last row"])
    return penstock(environ)


def failing_rows():
    yield ROW
    raise OSError("The database went away.")


rsgi.application.django.respond = respond
application = rsgi.application
