"""Run a long job in a low-priority process, and yield its progress.

The child ends with its parent, however that ends; and it ends when its generator is closed.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import psutil
import structlog

from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from agent.settings import Settings

    Work = Callable[[Settings], Iterator[object]]

log = structlog.get_logger()

ENDS_S = 10.0
NICE = 10


class ChildEnded(AgentError):  # noqa: N818 - it says what happened
    """The process ended before its job did; the message states how."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """The job ended with a sentence for the operator and, for a bug, its traceback."""

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
        ChildEnded: It was killed, or failed; the message states how.
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
            if isinstance(news, _Refused):
                if news.traceback:  # logged here: the child has neither the log file nor its form
                    log.error("job.crashed", reason=news.sentence, traceback=news.traceback)
                raise ChildEnded(news.sentence)
            yield news
        process.join(ENDS_S)
        if process.exitcode:
            raise ChildEnded(f"the process that worked {_describe_end(process.exitcode)}.")
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
        pipe.send(_Refused(str(error)))
    except MemoryError:
        pipe.send(_Refused("memory ran out."))
    except Exception as error:  # noqa: BLE001 - it ends here either way, and the parent says it
        pipe.send(_Refused(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _end_with_parent(lives: Connection) -> None:
    try:
        lives.recv()
    except (EOFError, OSError):
        os._exit(1)


def _lower_priority() -> None:
    me = psutil.Process()
    me.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else max(me.nice(), NICE))
