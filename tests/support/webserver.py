"""Answers web requests on 127.0.0.1 the way real servers fail: errors, slow bodies, bodies that end early."""

from __future__ import annotations

import os
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

__all__ = ["CONTENT", "Web"]

CONTENT = os.urandom(5 * 2**20 + 17)


class Web(BaseHTTPRequestHandler):
    """A server that fails on demand; `/fails/N/CODE` answers CODE N times, then the content."""

    seen: dict[str, int]
    ranges: list[tuple[str, str | None]]  # Range and If-Range of what was asked below /cut
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for its head to be acknowledged

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.seen[path] = self.seen.get(path, 0) + 1
        match path.split("/")[1:]:
            case ["fails", times, code] if self.seen[path] <= int(times):
                self.answer(int(code), b"no")
            case ["slow"]:
                self.answer(200, b"", announced=10**6)
                with_patience(self)
            case ["short"] if self.seen[path] == 1:
                self.answer(200, CONTENT[:1000], announced=len(CONTENT))
                self.close_connection = True
            case ["cut", kind]:
                self.cut(kind)
            case ["unannounced"]:
                self.answer(200, CONTENT, announced=None)
            case _:
                self.answer(200, CONTENT)

    def cut(self, kind: str) -> None:
        """Cut the first answer after 3 MiB; then go on from there, or show that it is another object."""
        is_first = self.seen[self.path] == 1
        start, condition = self.headers.get("Range", ""), self.headers.get("If-Range")
        self.ranges.append((start, condition))
        etag = '"one"' if is_first or kind != "changed" else '"two"'
        if kind == "weak":
            etag = f"W/{etag}"
        if is_first:
            self.answer(200, CONTENT[: 3 << 20], announced=len(CONTENT), etag=etag)
            self.close_connection = True
        elif kind == "same" and condition == etag:
            first = int(start.removeprefix("bytes=").removesuffix("-"))
            place = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.answer(206, CONTENT[first:], etag=etag, place=place)
        elif kind == "elsewhere" and condition == etag:
            self.answer(206, CONTENT[7:], etag=etag, place=f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.answer(200, CONTENT[::-1] if kind == "changed" else CONTENT, etag=etag)

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/tagged" else 404)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", "5")
        self.end_headers()

    def answer(
        self,
        code: int,
        body: bytes,
        announced: int | None = -1,
        *,
        etag: str | None = None,
        place: str | None = None,
    ) -> None:
        self.send_response(code)
        for name, value in (("ETag", etag), ("Content-Range", place)):
            if value is not None:
                self.send_header(name, value)
        if announced is not None:
            self.send_header("Content-Length", str(len(body) if announced < 0 else announced))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def with_patience(handler: BaseHTTPRequestHandler) -> None:
    """Trickle bytes until the reader goes away: each read is quick, the whole is not."""
    try:
        for _ in range(200):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True
