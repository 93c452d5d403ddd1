"""A real S3 server on this PC, and data folders that use it."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from agent.archive import Archive
from agent.objects import Access, Bucket, ObjectMirror, UploadIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    return Bucket(Access(url, endpoint, credentials))


def open_pc(folder: Path, bucket: Bucket) -> Archive:
    """Return the archive of a PC whose data folder is the cache of a storage."""
    return Archive(folder, ObjectMirror(folder, bucket, UploadIndex(folder)))


def make_older(folder: Path, seconds: float = 10.0) -> None:
    """Date folders back, so that they count as looked through at once."""
    for path in folder.rglob("*"):
        if path.is_dir():
            facts = path.stat()
            os.utime(path, (facts.st_atime, facts.st_mtime - seconds))
