"""Runs https sites on this machine under names and addresses of the public internet, to test redirects."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["PUBLIC", "Names", "Site", "certified", "running_site"]

PUBLIC = "93.184.216.34"  # reaches this machine's loopback interface while `Names.in_force`


@dataclass
class Names:
    """What the resolver says: each name's addresses, one list an answer, the last for ever."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)  # addresses, in order, but for 127.0.0.1's own name

    def resolve(self, host: Any, port: Any, *rest: Any, **options: Any) -> list[Any]:
        """Answer as `socket.getaddrinfo` does."""
        if host not in self.answers:
            return _getaddrinfo(host, port, *rest, **options)
        self.asked.append(host)
        answers = self.answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [info for one in addresses for info in _getaddrinfo(one, port, type=socket.SOCK_STREAM)]

    def in_force(self, patch: pytest.MonkeyPatch) -> None:
        """Answer for the whole process, and lead connections to `PUBLIC` here."""
        names = self

        class Detour(socket.socket):
            def connect(self, address: Any) -> None:
                names.connected.append(address[0])
                super().connect(("127.0.0.1", address[1]) if address[0] == PUBLIC else address)

        patch.setattr(socket, "getaddrinfo", self.resolve)
        patch.setattr(socket, "socket", Detour)


_getaddrinfo = socket.getaddrinfo


@dataclass
class Site:
    """A server that remembers what it was asked and sends on where `locations` says so."""

    port: int = 0
    asked: list[str] = field(default_factory=list)  # request lines, as they arrived
    headers: list[dict[str, str]] = field(default_factory=list)
    locations: dict[str, str | Callable[[], str]] = field(default_factory=dict)  # by target
    status: int = 302
    content: bytes = b"the video"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.asked.append(handler.requestline)
        self.headers.append(dict(handler.headers))
        location = self.locations.get(handler.requestline.split(" ")[1])
        body = self.content if location is None else b"elsewhere"
        handler.send_response(200 if location is None else self.status)
        if location is not None:
            handler.send_header("Location", location if isinstance(location, str) else location())
            handler.send_header("Set-Cookie", "session=secret")
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD" and (location is None or self.status != 304):  # which has no body
            handler.wfile.write(body)


@contextlib.contextmanager
def running_site(context: ssl.SSLContext | None) -> Iterator[Site]:
    """Serve a site on 127.0.0.1, encrypted where a context is given."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a body waits 40 ms for its head to be acknowledged

        def do_GET(self) -> None:
            site.answer(self)

        do_HEAD = do_GET  # noqa: N815  # http.server's name

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        site.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def certified(folder: Path, names: list[str]) -> tuple[ssl.SSLContext, Path]:
    """Make a server's context for `names` (and 127.0.0.1), and the file that lets a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    known = [
        *map(x509.DNSName, names),
        *(x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", PUBLIC)),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, both = folder / "trusted.pem", folder / "both.pem"
    public = certificate.public_bytes(serialization.Encoding.PEM)
    trusted.write_bytes(public)
    both.write_bytes(
        public
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, trusted
