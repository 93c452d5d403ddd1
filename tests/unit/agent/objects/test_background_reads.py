"""A read that a page does not wait for goes on, whichever other pages ask for the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.objects import BeingFetchedError, waiting_at_most
from agent.objects.mirrored_files import BackgroundReads

LONG_S = 20.0


def test_pages_that_read_one_file_again_and_again_all_get_it() -> None:
    reads = BackgroundReads()

    def browse(_number: int) -> list[str]:
        with waiting_at_most(LONG_S):
            return [reads.run("the crop", lambda: "bytes") for _ in range(300)]

    with ThreadPoolExecutor(16) as pages:
        answers = list(pages.map(browse, range(16)))

    assert answers == [["bytes"] * 300] * 16


def test_a_fault_of_a_read_is_raised_once_and_the_next_page_reads_again() -> None:
    reads, go = BackgroundReads(), threading.Event()

    def fail() -> str:
        go.wait(LONG_S)
        raise OSError("the storage refuses")

    with waiting_at_most(0.0), pytest.raises(BeingFetchedError):
        reads.run("the crop", fail)
    go.set()

    with waiting_at_most(LONG_S):
        with pytest.raises(OSError, match="refuses"):
            reads.run("the crop", lambda: "bytes")
        assert reads.run("the crop", lambda: "bytes") == "bytes"
