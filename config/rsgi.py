"""The RSGI entry point: `granian --interface rsgi config.rsgi:application`.

The event loop reads the body of a request, and then a thread answers the request with Django. An
unfinished body therefore takes no thread. Granian's WSGI interface takes the thread first, which
then waits for the body without a time limit, so that eight slow clients stop a server with eight
threads (granian 2.8.7, measured 2026-11-29).

https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md describes RSGI.
"""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.http.response import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import set_script_prefix
from granian.rsgi import HTTPProtocol, Scope

from config import timeouts
from config.request_bodies import BodyRefused, Environ, HeldBytes, RequestBody
from config.streams import list_headers, send_stream

MAX_STREAMS = 8  # streamed responses that a process sends at once; further ones wait


class Application:
    """Answers requests with Django on WEB_THREADS threads."""

    def __init__(self) -> None:
        self.django = DjangoHandler()
        self.threads = ThreadPoolExecutor(settings.WEB_THREADS, "request")
        self.streams = ThreadPoolExecutor(MAX_STREAMS, "stream")
        self.held = HeldBytes()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        loop = asyncio.get_running_loop()
        environ = build_environ(scope)
        body = RequestBody(environ, protocol, self.held)
        try:
            environ["wsgi.input"] = BytesIO(await body.read())
            stream = await loop.run_in_executor(self.threads, self.answer, environ, protocol)
            if stream is not None:
                await loop.run_in_executor(
                    self.streams, send_stream, stream, environ, protocol, loop
                )
        except BodyRefused as refusal:
            refuse(refusal, environ["PATH_INFO"], protocol)
        finally:
            body.release()

    def answer(self, environ: Environ, protocol: HTTPProtocol) -> StreamingHttpResponse | None:
        """Answer a request, or return its response if that must be streamed. Runs on a thread."""
        response = self.django.respond(environ)
        path = whole_file(response)
        if isinstance(response, StreamingHttpResponse) and path is None:
            return response
        with closing(response):
            headers = list_headers(response)
            if isinstance(response, HttpResponse):
                protocol.response_bytes(response.status_code, headers, response.content)
            elif path is not None:
                protocol.response_file(response.status_code, headers, path)
        return None


class DjangoHandler(WSGIHandler):
    """Django's WSGI handler, which returns Django's response instead of WSGI's."""

    def respond(self, environ: Environ) -> HttpResponseBase:
        set_script_prefix("/")
        request_started.send(sender=type(self), environ=environ)
        return self.get_response(self.request_class(environ))


def build_environ(scope: Scope) -> Environ:
    """Return the request's WSGI environment (PEP 3333), without its body."""
    server, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.url_scheme": scope.scheme,
    }
    headers = scope.headers.items()
    if len(names := scope.headers.keys()) > len(headers):
        environ["penstock.unreadable_headers"] = set(names) - {name for name, _ in headers}
    for name, value in headers:
        if "_" in name:
            continue  # it could pass for the header with "-", which a proxy may have removed
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    return environ


def whole_file(response: HttpResponseBase) -> str | None:
    """Return the path of a file that the response sends whole, or None."""
    file = getattr(response, "file_to_stream", None)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else None


def refuse(refusal: BodyRefused, path: str, protocol: HTTPProtocol) -> None:
    """Respond to a request whose body cannot be read, in the format of its API."""
    message = str(refusal)
    body: dict[str, Any] = {"success": False, "code": refusal.code, "message": message}
    if path.startswith("/v1/admin/"):
        body = {"error": {"code": refusal.code.upper(), "message": message}}
    headers = [("Content-Type", "application/json"), ("Connection", "close")]
    if refusal.status == 503:
        headers.append(("Retry-After", "1"))
    protocol.response_bytes(refusal.status, headers, json.dumps(body).encode())


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)
timeouts.limit_web_database()
application = Application()
