"""A real S3 server on this PC, and data folders that use it."""

from __future__ import annotations

import http.client
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import boto3

from agent.archive import Archive
from agent.objects import Bucket, ObjectMirror

Meddle = Callable[[str, str], tuple[int, bytes] | None]

CREDENTIALS = "[default]\naws_access_key_id = lab\naws_secret_access_key = secret\n"


@contextmanager
def serve() -> Iterator[str]:
    """Start the server; yield its address."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes a second

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint: str, name: str) -> None:
    """Create an empty bucket."""
    with urlopen(Request(f"{endpoint}/{name}", method="PUT")) as answer:  # noqa: S310 - this PC
        assert answer.status == 200


def write_credentials(folder: Path) -> str:
    """Write a credentials file; return its path."""
    path = folder / "credentials"
    path.write_text(CREDENTIALS, "utf-8")
    return str(path)


def connect(endpoint: str, url: str, credentials: str) -> Bucket:
    """Return a connection of its own."""
    return Bucket(url, endpoint, credentials)


def open_client(bucket: Bucket) -> Any:
    """Return a client by which somebody else changes the objects."""
    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        aws_access_key_id="other",
        aws_secret_access_key="secret",  # noqa: S106 - of a test
    )


def open_pc(folder: Path, bucket: Bucket) -> Archive:
    """Return the archive of a PC whose data folder is the cache of a storage."""
    return Archive(folder, ObjectMirror(folder, bucket))


def make_older(folder: Path, seconds: float = 10.0) -> None:
    """Date folders back, so that they count as looked through at once."""
    for path in folder.rglob("*"):
        if path.is_dir():
            facts = path.stat()
            os.utime(path, (facts.st_atime, facts.st_mtime - seconds))


@contextmanager
def serve_through(endpoint: str, meddle: Meddle) -> Iterator[str]:
    """Start a server in front of another one; yield its address.

    Args:
        endpoint: The other one.
        meddle: Called with method and path; returns what is answered instead, or None.
    """

    class Handler(_Between):
        behind, instead = endpoint, staticmethod(meddle)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Between(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind: ClassVar[str]
    instead: ClassVar[Meddle]

    def log_message(self, *_args: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers: list[tuple[str, str]] = []
        if (answer := self.instead(self.command, self.path)) is None:
            server = http.client.HTTPConnection(urlsplit(self.behind).netloc)
            kept = {name: value for name, value in self.headers.items() if name != "Expect"}
            server.request(self.command, self.path, body, kept)
            got = server.getresponse()
            answer, headers = (got.status, got.read()), got.getheaders()
            server.close()
        status, content = answer
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        if "content-length" not in {name.lower() for name, _value in headers}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815 - names of the library
