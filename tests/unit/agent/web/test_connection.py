"""A connection that sends no request, or nothing more, is ended; one that asks is let in."""

from __future__ import annotations

import http.client
import logging
import socket
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import pytest
from labs.lab import web_of
from labs.service import until

from agent.log import Seldom
from agent.service import Pages
from agent.settings import WebSection
from agent.web import create_app
from agent.web.connection import ConnectionLimits

HEAD = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n"


@pytest.fixture
def pages(lab):
    pages = Pages(
        create_app(web_of(lab)),
        WebSection(port=0),
        limits=ConnectionLimits(connections=16, header_s=1, idle_s=1),
    )
    pages.start()
    yield pages
    pages.stop()
    pages.join(10)


def opened(pages, sent=b""):
    where = urlsplit(pages.url)
    connection = socket.create_connection((where.hostname, where.port), timeout=120)
    connection.sendall(sent)
    return connection


def is_ended(connection):
    try:
        while connection.recv(4096):  # it may be told why before
            pass
    except ConnectionError:
        return True
    return True


def status_of(pages, path="/healthz"):
    with urllib.request.urlopen(f"{pages.url}{path}", timeout=120) as answer:  # noqa: S310 - ours
        return answer.status


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_that_sends_no_whole_head_is_ended(pages, sent):
    with opened(pages, sent) as connection:
        assert is_ended(connection)


def test_a_head_sent_by_drops_is_ended_too(pages):
    with opened(pages, HEAD) as connection:
        connection.settimeout(0.05)

        def drop():
            try:
                connection.sendall(b"X: y\r\n")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(drop)


def test_a_body_that_stops_is_ended(pages):
    with opened(pages, HEAD + b"\r\nname=") as connection:
        assert is_ended(connection)


def test_where_all_places_are_taken_by_half_sent_requests_a_whole_one_is_answered(pages):
    held = [opened(pages, HEAD) for _ in range(40)]

    assert status_of(pages) == 200
    for one in held:
        one.close()


def test_a_connection_between_two_requests_is_kept(pages):
    where = urlsplit(pages.url)
    asking = http.client.HTTPConnection(where.hostname, where.port, timeout=120)
    codes, sockets = [], set()
    for _ in range(2):
        asking.request("GET", "/healthz")
        sockets.add(asking.sock)
        answer = asking.getresponse()
        answer.read()
        codes.append(answer.status)
    asking.close()

    assert codes == [200, 200]
    assert len(sockets) == 1


# --- what is logged of it -----------------------------------------------------------------------


def record(sentence, level=logging.WARNING):
    return logging.LogRecord("uvicorn.error", level, __file__, 1, sentence, (), None)


def test_of_many_alike_lines_one_is_written_and_how_many_there_were():
    now_s = 0.0
    seldom = Seldom(lambda: now_s)

    written = [seldom.filter(record("Invalid HTTP request received.")) for _ in range(50)]
    other = seldom.filter(record("another"))
    now_s = 61.0
    later = record("Invalid HTTP request received.")

    assert written == [True] + [False] * 49
    assert other
    assert seldom.filter(later)
    assert later.getMessage() == "Invalid HTTP request received. (and 49 more like it)"


def test_a_line_that_names_another_socket_each_time_is_alike():
    seldom = Seldom(lambda: 0.0)
    lines = [f"socket.accept() out of system resource\nsocket: {fd}" for fd in range(9)]

    assert [seldom.filter(record(line)) for line in lines] == [True] + [False] * 8


WARMED = """
import sys, threading
from fastapi import FastAPI
from agent.service import Pages
from agent.settings import WebSection

pages = Pages(FastAPI(), WebSection(port=0))
pages.start()
pages.stop()
pages.join()
for thread in threading.enumerate():
    if thread.name == "pdf":
        thread.join()
print("reports.pdf_page" in sys.modules)
"""


def test_a_server_imports_what_draws_a_pdf_before_anyone_asks_for_one():
    done = subprocess.run(
        [sys.executable, "-c", WARMED], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
