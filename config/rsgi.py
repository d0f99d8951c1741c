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
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from queue import SimpleQueue
from threading import Thread
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
from config.streams import CONNECTION, list_headers, send_stream

TIDY_SECONDS = 0.1  # seconds that an answered request may wait for its end
MAX_STREAMS = 8  # streamed responses that a process sends at once; further ones wait


Answered = asyncio.Future[StreamingHttpResponse | None]
Request = tuple[Environ, HTTPProtocol, Answered]


class Application:
    """Answers requests with Django on WEB_THREADS threads.

    A thread sends the response itself. The event loop, which must end the request's coroutine, is
    not woken for that, because waking it costs more than the rest of this module: the coroutine
    ends when the next request arrives, or a little later.
    """

    def __init__(self) -> None:
        self.django = DjangoHandler()
        self.held = HeldBytes()
        self.requests: SimpleQueue[Request] = SimpleQueue()
        self.answered: deque[Answered] = deque()
        self.unanswered = 0  # requests; only the event loop changes it
        self.is_tidying = False  # whether the event loop will call `tidy`
        self.streams = ThreadPoolExecutor(MAX_STREAMS, "stream")
        for number in range(settings.WEB_THREADS):
            Thread(target=self.run_thread, name=f"request-{number}", daemon=True).start()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        self.end_answered()
        loop = asyncio.get_running_loop()
        environ = build_environ(scope)
        body = RequestBody(environ, protocol, self.held)
        try:
            environ["wsgi.input"] = BytesIO(await body.read())
            stream = await self.wait_for_answer(environ, protocol, loop)
            if stream is not None:
                await loop.run_in_executor(
                    self.streams, send_stream, stream, environ, protocol, loop
                )
        except BodyRefused as refusal:
            refuse(refusal, environ["PATH_INFO"], protocol)
        finally:
            body.release()

    async def wait_for_answer(
        self, environ: Environ, protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop
    ) -> StreamingHttpResponse | None:
        answered: Answered = loop.create_future()
        self.unanswered += 1
        self.requests.put((environ, protocol, answered))
        if not self.is_tidying:
            self.is_tidying = True
            loop.call_later(TIDY_SECONDS, self.tidy, loop)
        try:
            return await answered
        finally:
            self.unanswered -= 1

    def tidy(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is answered, again and again until no request is unanswered."""
        self.end_answered()
        self.is_tidying = self.unanswered > 0
        if self.is_tidying:
            loop.call_later(TIDY_SECONDS, self.tidy, loop)

    def end_answered(self) -> None:
        while self.answered:
            answered = self.answered.popleft()
            if not answered.done():  # it is cancelled when the server stops at once
                answered.set_result(None)

    def run_thread(self) -> None:
        while True:
            environ, protocol, answered = self.requests.get()
            loop = answered.get_loop()
            try:
                stream = self.answer(environ, protocol)
            except Exception as error:  # granian logs it
                loop.call_soon_threadsafe(answered.set_exception, error)
                continue
            if stream is None:
                self.answered.append(answered)
            else:
                loop.call_soon_threadsafe(answered.set_result, stream)

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
        CONNECTION: (client.strip("[]"), int(client_port)),
        "wsgi.url_scheme": scope.scheme,
    }
    headers = scope.headers.items()
    # Granian leaves out values that are not ASCII. They must not seem absent.
    unreadable = set(scope.headers.keys()).difference(dict(headers))
    for name, value in (*headers, *((name, "\ufffd") for name in unreadable)):
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
