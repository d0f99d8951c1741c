"""A vendor at the socket level, which responds to each request with any bytes or with none."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Responder = Callable[[socket.socket], None]

OK_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class RawVendor:
    """A vendor on localhost; use as a context manager.

    answer     is called with the connection after each request
    on_sni     is called with the server name that each TLS connection asks for
    requests   bodies of the requests, in order of arrival
    """

    def __init__(
        self,
        answer: Responder | None = None,
        *,
        certificate: Path | None = None,
        on_sni: Callable[[str | None], None] = lambda name: None,
    ):
        self.answer = answer or respond_with_bytes(OK_RESPONSE)
        self.certificate, self.on_sni = certificate, on_sni
        self.requests: list[bytes] = []

    def __enter__(self) -> "RawVendor":
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # shutdown() wakes the accepting thread; close() alone would not
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self.certificate:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(self.certificate)
                    context.sni_callback = lambda wire, name, _: self.on_sni(name)
                    connection = context.wrap_socket(connection, server_side=True)
                while self._read(connection):
                    self.answer(connection)
            except OSError:
                pass

    def _read(self, connection: socket.socket) -> bool:
        """Read one request; return whether there was one."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65_536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65_536)
        self.requests.append(body)
        return True


def respond_with_bytes(answer: bytes, *, then_close: bool = False) -> Responder:
    def send(connection: socket.socket) -> None:
        connection.sendall(answer)
        if then_close:
            connection.shutdown(socket.SHUT_RDWR)

    return send


def respond_with_status(code: int, headers: str = "", body: bytes = b"said") -> Responder:
    body = b"" if code in (204, 304) else body
    head = f"HTTP/1.1 {code} Whatever\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return respond_with_bytes(head.encode() + body)


def respond_in_turn(*answers: Responder) -> Responder:
    """Return a responder that uses each of these in turn and then repeats the last one."""
    left = list(answers)

    def send(connection: socket.socket) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(connection)

    return send


def never_respond(connection: socket.socket) -> None:
    """Send nothing until the client closes the connection."""
    connection.recv(1)


def drip_response(connection: socket.socket) -> None:
    """Send one byte every 0.1 s, without end."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def make_self_signed_certificate(folder: Path) -> Path:
    """Make a self-signed certificate with its key in the same file; return the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
