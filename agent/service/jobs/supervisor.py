"""Run a job in a low-priority child, one at a time, with a row of its progress and end.

The child ends with its parent, however that ends; and it ends when its generator is closed.

Each reader of the row may request the end, so a job of the service can be cancelled from any shell.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import psutil
import structlog

from agent.errors import AgentError
from agent.store import StoreFaultError
from model import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from datetime import datetime
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from agent.service.data_folder import Lock
    from agent.settings import Settings
    from agent.store import Store

    Work = Callable[[Settings], Iterator[object]]


log = structlog.get_logger()

ENDS_S = 10.0
NICE = 10


class ChildEndedError(AgentError):
    """The process ended before its job did; the message states how."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Message of a child that ended: a sentence for the operator and, for a bug, its traceback."""

    sentence: str
    traceback: str = ""


def run_in_child(
    work: Work, settings: Settings, *, look_every_s: float
) -> Generator[object, None, None]:
    """Run a job in a process of low priority.

    Args:
        work: A function of a module, called with the settings; what it yields is sent back.
        settings: Of the lab.
        look_every_s: At least so often (s) something is yielded: None where there is nothing new.

    Yields:
        What the job yields, and None.

    Raises:
        ChildEndedError: It was killed, or failed; the message states how.
    """
    context = get_context("spawn")
    heard, child_end = context.Pipe(duplex=False)
    lives, life = context.Pipe(duplex=False)
    process = context.Process(target=_begin, args=(work, settings, child_end, lives), name="work")
    process.start()
    child_end.close()
    lives.close()
    try:
        while True:
            try:
                news = heard.recv() if heard.poll(look_every_s) else None
            except (EOFError, OSError):  # it says no more, by whichever name a system calls that
                break
            if isinstance(news, Refused):
                if news.traceback:  # logged here: the child has neither the log file nor its form
                    log.error("job.crashed", reason=news.sentence, traceback=news.traceback)
                raise ChildEndedError(news.sentence)
            yield news
        process.join(ENDS_S)
        if process.exitcode:
            raise ChildEndedError(f"the process that worked {_describe_end(process.exitcode)}.")
    finally:
        life.close()
        _end(process)
        heard.close()


def _end(process: BaseProcess) -> None:
    process.terminate()
    process.join(ENDS_S)
    if process.exitcode is None:
        process.kill()
        process.join(ENDS_S)


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed (signal {-code}; the system does that when memory runs out)"
    return f"ended unexpectedly (exit code {code})"


def _begin(work: Work, settings: Settings, pipe: Connection, lives: Connection) -> None:
    """Work, in the child."""
    from agent import log  # noqa: PLC0415 - only the child needs it
    from model import ModelError  # noqa: PLC0415

    log.set_up(level="error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, args=(lives,), daemon=True).start()
    _lower_priority()
    try:
        for news in work(settings):
            pipe.send(news)
    except (AgentError, ModelError) as error:
        pipe.send(Refused(str(error)))
    except MemoryError:
        pipe.send(Refused("memory ran out."))
    except Exception as error:  # noqa: BLE001 - it ends here either way, and the parent says it
        pipe.send(Refused(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _end_with_parent(lives: Connection) -> None:
    try:
        lives.recv()
    except (EOFError, OSError):
        os._exit(1)


def _lower_priority() -> None:
    me = psutil.Process()
    me.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else max(me.nice(), NICE))


NOTE_EVERY_S = 2.0


class JobCancelledError(AgentError):
    """The end of the job was requested."""


def run_supervised(
    work: Work,
    settings: Settings,
    store: Store,
    *,
    name: str,
    lock: Lock,
    by: str,
    now: Callable[[], datetime],
    ending: Callable[[Any], tuple[str, dict[str, Any]]],
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Run a job in a child, with a row of its progress.

    Args:
        work: As in `run_in_child`: it yields `Progress`, last its result.
        settings: Of the lab.
        store: Holds the row.
        name: Of the job, such as "retrain".
        lock: Held while it runs.
        by: Who started it.
        now: Returns the time, aware UTC.
        ending: Returns, for the result, how the job ended, in a word, and what is stored of it.
        should_stop: Called every few seconds; True ends the job, and nothing is yielded.

    Yields:
        What the job yields.

    Raises:
        UsageError: Another one is running.
        ChildEndedError: It failed.
        JobCancelledError: Its end was requested.
    """
    with lock:
        store.jobs.end_lost(name, at=now())
        job = store.jobs.begin(name, at=now(), facts={"by": by})
        outcome, facts = "interrupted", dict[str, Any]()
        row = _Row(store, job, now)
        try:
            with closing(run_in_child(work, settings, look_every_s=NOTE_EVERY_S)) as messages:
                for news in messages:
                    if should_stop():
                        return
                    if isinstance(news, Progress):
                        row.step = news
                    elif news is not None:
                        outcome, facts = ending(news)
                    row.note()
                    if news is not None:
                        yield news
        except (ChildEndedError, JobCancelledError) as ended:
            outcome = "cancelled" if isinstance(ended, JobCancelledError) else "failed"
            facts = {"sentence": str(ended)}
            log.warning("job.ended", job=name, outcome=outcome, reason=str(ended))
            raise
        finally:
            store.jobs.end(job, outcome, at=now(), facts={"by": by, **facts})


class _Row:
    """Writes down how far a job is, seldom enough not to be in anybody's way."""

    def __init__(self, store: Store, job: int, now: Callable[[], datetime]) -> None:
        self._store, self._job, self._now = store, job, now
        self._due_s = 0.0
        self.step: Progress[None] = Progress("beginning", 0, 0)

    def note(self) -> None:
        """Write it down if it is time. Raises `JobCancelledError`."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + NOTE_EVERY_S
        step = self.step
        facts = {"stage": step.stage, "done": step.done, "total": step.total, "note": step.note}
        try:
            by = self._store.jobs.report(self._job, facts, at=self._now())
        except StoreFaultError:  # a database that is away for a moment costs a note, not the work
            return
        if by:
            raise JobCancelledError(f"cancelled by {by}.")
