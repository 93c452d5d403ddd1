"""Worker processes that end while they read."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress

import psutil


def list_children(*, recursive=False):
    return {child.pid for child in psutil.Process().children(recursive=recursive)}


def list_readers():
    """Return the processes that read for this one; one that just ended is none."""
    readers = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                readers.append(child)
    return readers


@contextmanager
def killing_what_reads():
    """Kill each child that has loaded what it reads with, as a system short of memory does."""
    ended, before = threading.Event(), list_children()

    def kill():
        while not ended.wait(0.01):
            for child in psutil.Process().children():
                with suppress(psutil.Error):
                    if child.pid not in before and child.memory_info().rss > 50_000_000:
                        child.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
