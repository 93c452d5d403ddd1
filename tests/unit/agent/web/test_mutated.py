"""Whatever bytes come, no answer is a server error, on either database."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from labs.lab import NEXT_DAY, web_of

from agent.service import Pages
from agent.settings import WebSection
from agent.store import Store
from agent.web import Inbox, create_app
from agent.web.connection import ConnectionLimits

ODD = (
    "\0",
    "\x01",
    "\ud800",
    "\U0001f9ea",
    "..",
    "../../etc/passwd",
    "%00",
    "%ff",
    "[",
    "'\"<script>",
    "-1",
    "1e999",
    "9" * 40,
    "\u0661\u0662",
    "a" * 5000,
    "",
    " ",
    "NaN",
    "2026-99-99",
    "0000-00-00",
    "9999-12-31",
    "9223372036854775808",
    "\u202e4711",
    "4711\0",
    "order:\0",
    "%_\\",
    "\ufffe",
)
HEADERS = (
    ("Host", "["),
    ("Host", "[::1"),
    ("Host", ""),
    ("Host", "127.0.0.1\x00"),
    ("Origin", "http://["),
    ("Origin", "null"),
    ("Content-Length", "-1"),
    ("Content-Length", "99999999999999999999"),
    ("Content-Length", "\u0661"),
    ("Transfer-Encoding", "chunked"),
    ("Transfer-Encoding", "gzip, chunked"),
    ("Content-Type", "application/json; charset=utf-99"),
    ("Content-Type", "multipart/form-data; boundary="),
    ("Content-Type", "multipart/form-data; boundary=x"),
    ("Content-Type", "\xff"),
    ("Cookie", "session=\xff; reviewer=%00%ff; criterion=["),
    ("Cookie", "decided=" + "9" * 30),
    ("Authorization", "Bearer \xff"),
    ("Accept-Language", "\xff" * 50),
    ("If-None-Match", '"' * 200),
    ("Range", "bytes=9999999-1"),
    ("X-Forwarded-For", "[" * 40),
    ("X-Padding", "p" * 10_000_000),
)
FIELDS = (
    "by", "code", "strange", "unusable", "cannot_tell", "criterion", "unsure", "comment",
    "viewing_s", "result_seen", "label_seen", "decision", "name", "password", "then", "reason",
    "order", "specimen", "result_id", "label_id", "blind", "subtype", "size", "verdict",
    "q", "month", "reviewer", "sort", "before", "act", "night", "field", "um_min", "seen", "state",
)  # fmt: skip


def routes_of(application: FastAPI) -> list[tuple[str, str]]:
    """List method and path of everything an application answers, included routers too."""
    found = []
    for route in application.routes:
        inner = getattr(route, "original_router", None)
        for one in inner.routes if inner else [route]:
            methods: Any = getattr(one, "methods", None) or ()
            found += [(method, str(one.path)) for method in methods]
    return sorted(found)


def mutated(
    routes: list[tuple[str, str]], known: list[str], *, seed: int, n: int
) -> Iterator[bytes]:
    """Yield so many requests, as bytes.

    Args:
        routes: Method and path, places as in FastAPI.
        known: What stands in places where something is found: public ids, order numbers.
        seed: Of the random numbers.
        n: How many.
    """
    rng = random.Random(seed)
    for _ in range(n):
        method, path = rng.choice(routes)
        filled = re.sub(r"\{[^}]+\}", lambda _: _quoted(rng, _word(rng, known)), path)
        if rng.random() < 0.5:
            filled += "?" + "&".join(_pair(rng, known) for _ in range(rng.randint(1, 3)))
        headers = {"Host": "127.0.0.1", "Connection": "close"}
        body = b""
        if method != "GET" or rng.random() < 0.1:
            kind, body = _body(rng, known)
            headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 1, 2))):
            headers[name] = value
        if rng.random() < 0.05:
            method = rng.choice(("PATCH", "TRACE", "get", "OPTIONS", "HEAD", "DELETE", "\0"))
        lines = [f"{method} {filled} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        yield "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def _word(rng: random.Random, known: list[str]) -> str:
    return rng.choice(known) if rng.random() < 0.5 else rng.choice(ODD)


def _quoted(rng: random.Random, word: str) -> str:
    """Quote a word as an address has to, and sometimes not."""
    held = word.encode("utf-8", "surrogatepass")
    if rng.random() < 0.9:
        return "".join(f"%{byte:02X}" if byte < 48 or byte > 122 else chr(byte) for byte in held)
    return held.decode("latin-1")


def _pair(rng: random.Random, known: list[str]) -> str:
    name = rng.choice((*FIELDS, "sha256", "path", "limit", "um", "source"))
    return f"{name}={_quoted(rng, _word(rng, known))}"


def _body(rng: random.Random, known: list[str]) -> tuple[str, bytes]:
    if rng.random() < 0.4:
        pairs = "&".join(_pair(rng, known) for _ in range(rng.randint(0, 6)))
        return "application/x-www-form-urlencoded", pairs.encode("latin-1", "replace")
    values = (None, True, -1, 1e300, 10**40, [], {}, [[]] * 50)
    made = {
        rng.choice(FIELDS): rng.choice(values) if rng.random() < 0.4 else _word(rng, known)
        for _ in range(rng.randint(0, 6))
    }
    text = json.dumps(made)  # a surrogate becomes \\ud800
    if rng.random() < 0.2:
        text = text[: rng.randint(0, len(text))]
    return "application/json", text.encode()


def answer_to(address: tuple[str, int], request: bytes, *, timeout_s: float = 60.0) -> int:
    """Send a request; the status of its answer, 0 where the connection was ended without one."""
    with socket.create_connection(address, timeout=timeout_s) as opened:
        with contextlib.suppress(OSError):  # refused before it was read whole
            opened.sendall(request)
        try:
            head = opened.recv(64)
        except ConnectionError:
            return 0
    return int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0


def test_no_mutated_request_is_answered_by_a_server_error(lab, address):
    lab.store.close()
    lab.store = Store.open(address, site="Plant 1", agent="PC")
    lab.compares_places = False
    known = [lab.take("G8", reasons=("strange",), order="4711", specimen="1"), "4711", "G8", "Ann"]
    inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: NEXT_DAY)
    application = create_app(dataclasses.replace(web_of(lab), inbox=inbox))
    pages = Pages(application, WebSection(port=0), limits=ConnectionLimits(512, 5, 5))
    pages.start()
    where = urlsplit(pages.url)
    try:
        answers = {
            request: answer_to((where.hostname, where.port), request)
            for request in mutated(routes_of(application), known, seed=7, n=100)
        }
    finally:
        pages.stop()
        pages.join(10)

    assert {one[:300]: code for one, code in answers.items() if code >= 500} == {}
    assert len(Counter(answers.values())) > 4
