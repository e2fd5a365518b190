"""Owns requests to web servers: targets travel as they were given, redirects are checked and then followed.

The first address is the operator's, from the manifest, and may be any. Where a server sends a request on is
not: whoever uploads may decide it. So a redirect leads to https alone, and to addresses of the public
internet alone, which is seen where the connection is made: a name that resolves to another address the second
time gains nothing. No host is told anything of another but a range and its ETag: no cookie, no credential.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import ssl
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
import yarl
from fsspec.asyn import get_loop, sync

from operators.addresses import is_public
from operators.filesystems import CONNECT_SECONDS, READ_SECONDS
from operators.storage_errors import StorageError
from operators.uris import authority_of, request_target, scheme_of, sent_on

__all__ = ["MAX_REDIRECTS", "request"]

MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CLOSE_SECONDS = 0.5
MAX_SHOWN = 100  # characters of a host that a server named
_TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # OpenSSL's own


class _Clients(NamedTuple):
    """The connections of one process."""

    given: aiohttp.ClientSession  # to what a manifest names
    led: aiohttp.ClientSession  # to where a server sends requests on


def request(
    method: str, uri: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float
) -> aiohttp.ClientResponse:
    """Ask a web server, and those it sends the request on to, until one answers; the body is not read yet.

    Args:
        method: GET or HEAD.
        uri: `http` or `https`; what its path and query hold is sent as it is, but for characters that no
            request can hold.
        headers: sent to every host on the way.
        timeout_seconds: until the last answer begins.

    Raises:
        StorageError: `redirect_refused` where a redirect leads to where none may, or on and on.
        Exception: whatever aiohttp raises.
    """
    # On fsspec's loop, where S3 is read as well: one thread for all of a process's connections.
    response: aiohttp.ClientResponse = sync(
        get_loop(), _request, method, uri, dict(headers or {}), timeout=timeout_seconds
    )
    return response


async def _request(method: str, uri: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
    clients = _clients(tuple(os.environ.get(name) for name in _TRUST_VARIABLES), os.getpid())
    response = await _ask(clients.given, method, uri, headers)
    for _ in range(MAX_REDIRECTS):
        location = response.headers.get("Location")
        if response.status not in REDIRECTS or location is None:
            return response
        response.close()
        uri = sent_on(uri, location)
        if scheme_of(uri) != "https":
            raise _refusal(uri, "and only https is followed")
        try:
            response = await _ask(clients.led, method, uri, headers)
        except aiohttp.ClientConnectorError as error:
            if error.errno != errno.EACCES:
                raise
            raise _refusal(uri, "which is no address of the public internet") from error
    if response.status not in REDIRECTS:
        return response
    response.close()
    raise StorageError("redirect_refused", f"there are more than {MAX_REDIRECTS} redirects")


async def _ask(
    client: aiohttp.ClientSession, method: str, uri: str, headers: dict[str, str]
) -> aiohttp.ClientResponse:
    origin = yarl.URL(f"{scheme_of(uri)}://{authority_of(uri)}")
    # All of the target is called a path, so that no library takes it apart and puts it together otherwise.
    url = yarl.URL.build(
        scheme=origin.scheme, authority=origin.raw_authority, path=request_target(uri), encoded=True
    )
    return await client.request(method, url, headers=headers, allow_redirects=False)


def _refusal(uri: str, rule: str) -> StorageError:
    # ascii: the server chose the text, and a report has to hold it.
    shown = ascii(f"{scheme_of(uri)}://{authority_of(uri)}"[:MAX_SHOWN])
    return StorageError("redirect_refused", f"it leads to {shown}, {rule}")


@functools.lru_cache(maxsize=4)
def _clients(_trust: tuple[str | None, ...], _pid: int) -> _Clients:
    """Make the clients, on the loop they belong to; others when the environment trusts other certificates."""
    return _Clients(given=_client(_any_socket), led=_client(_public_socket))


def _client(socket_factory: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=aiohttp.ThreadedResolver(),
        socket_factory=socket_factory,
        ssl=ssl.create_default_context(),
    )
    client = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS),
        headers={"Accept-Encoding": "identity"},  # the stored bytes, not a compressed form of them
    )
    weakref.finalize(client, _close, get_loop(), connector)
    return client


def _close(loop: Any, connector: aiohttp.TCPConnector) -> None:
    with contextlib.suppress(Exception):  # the process ends, or the loop has
        sync(loop, connector.close, timeout=CLOSE_SECONDS)


def _any_socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family=family, type=kind, proto=protocol)


def _public_socket(address: Any) -> socket.socket:
    """Make a socket for the one address that is connected to next, name or none before it."""
    if not is_public(address[4][0]):
        raise PermissionError(errno.EACCES, "not an address of the public internet")
    return _any_socket(address)
