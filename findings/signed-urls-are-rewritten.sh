#!/usr/bin/env bash
# A signed URL that one HTTP library fetches is refused to another, which has spelled it anew.
#
# Versions: aiohttp 3.14.5 with yarl 1.25.1, fsspec 2026.9.0, against a server of the standard library
# Seen: a server that signs the request target as it stands, as some content networks do. `urllib` sends the URL as
#   given and gets the file. aiohttp, and fsspec's "https" which is made of it, decode %27, %40, %3A, %28 and their
#   like before they send, so that the signature is of other bytes: 403. The same path without such characters is
#   served to all three.
# Expected: that a client which is given a finished, encoded URL sends that URL.
# Why it matters: only files with an apostrophe, a parenthesis or an @ in their names fail, with a status that points
#   at keys and clocks. Hand aiohttp `yarl.URL(url, encoded=True)`; fsspec wants `encoded=True` when the filesystem is
#   made.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet aiohttp==3.14.5 yarl==1.25.1 fsspec==2026.9.0

venv/bin/python - <<'PYTHON'
import asyncio
import hashlib
import hmac
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import fsspec
import yarl


def signed(path):
    return f"{path}?signature={hmac.new(b'secret', path.encode(), hashlib.sha256).hexdigest()}"


class Signed(BaseHTTPRequestHandler):
    def do_GET(self):
        is_right = self.path == signed(self.path.partition("?")[0])
        self.send_response(200 if is_right else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def by_urllib(url):
    with urllib.request.urlopen(url) as answer:
        return answer.status


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


def by_fsspec(url, **options):
    try:
        fsspec.filesystem("http", skip_instance_cache=True, **options).cat_file(url)
    except aiohttp.ClientResponseError as error:
        return error.status
    return 200


server = ThreadingHTTPServer(("127.0.0.1", 0), Signed)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for path in ("/plain.mp4", "/it%27s%20%40home%20%281%29.mp4"):
    url = f"http://127.0.0.1:{server.server_port}{signed(path)}"
    seen[path] = {
        "urllib": by_urllib(url),
        "aiohttp": asyncio.run(by_aiohttp(url)),
        "aiohttp, encoded": asyncio.run(by_aiohttp(yarl.URL(url, encoded=True))),
        "fsspec": by_fsspec(url),
        "fsspec, encoded": by_fsspec(url, encoded=True),
    }
    print(path, seen[path])
server.shutdown()
plain, quoted = seen.values()
assert set(plain.values()) == {200}, "this has changed"
assert quoted == plain | {"aiohttp": 403, "fsspec": 403}, "this has changed"
PYTHON
