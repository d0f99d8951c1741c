"""A vendor on localhost: a real HTTP server that gives set responses and records requests."""

import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class FakeVendor:
    """Use as a context manager.

    answers   the responses to the requests in order, followed by 200 for all further ones; each is
              a status, a tuple of (status, headers, body), or one of the functions below
    received  (path, headers, JSON body or None) of each request, in order
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.received = []

    def __enter__(self):
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                vendor.received.append((self.path, dict(self.headers), json.loads(body or "null")))
                answer = vendor.answers.pop(0) if vendor.answers else 200
                if callable(answer):
                    answer(self)
                    return
                status, headers, text = answer if isinstance(answer, tuple) else (answer, {}, "{}")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.server.shutdown()
        self.server.server_close()


def reset_connection(handler):
    """Close the connection without a response."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def respond_slowly(handler):
    """Send the head of a response one byte per tenth of a second while the client reads."""
    try:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1_000:
            handler.connection.sendall(bytes([byte]))
            time.sleep(0.1)
    except OSError:
        handler.close_connection = True
