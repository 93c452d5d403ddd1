"""Take files in that a program sends, and queue them like those of any microscope.

In:  a name and bytes. Out: a file in the data folder and a row in the journal. Next: the pipeline.
The file is named by its content, so that sending it twice is sending it once.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from agent.archive import write_whole
from agent.errors import WrongUse
from agent.imaging.crop import public_id
from agent.settings import PROCESS_COLUMNS
from agent.watch import Arrival, look_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from agent.store import Store

SOURCE = "api"
"""Name of the source that sent files belong to; the pipeline has to take from it too."""
LONGEST_NAME = 120
LONGEST_VALUE = 200


class Inbox:
    """Where sent files lie.

    Args:
        folder: Of the inbox, below the data folder.
        store: Open.
        now: Says the time, aware UTC.
        on_work: Called when something was queued.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        now: Callable[[], datetime],
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._store, self._now, self._on_work = folder, store, now, on_work

    def take(self, name: str, held: bytes, told: Mapping[str, str]) -> dict[str, Any]:
        """Keep a file and queue it.

        Args:
            name: As the sender calls it; only its last part counts.
            held: The file's bytes.
            told: Process data, column → value.

        Returns:
            `id` to ask for, `sha256`, and `state`: "queued", or "done" if it was known.

        Raises:
            WrongUse: A process-data column is unknown, or a value is too long.
            OSError: The data folder cannot be written.
        """
        _refuse_unknown(told)
        sha256 = hashlib.sha256(held).hexdigest()
        relative = f"{sha256[:2]}/{sha256[:16]}{_of(told)}-{_safe(name)}"
        path = self._folder / relative
        if not path.exists():
            write_whole({path: held})
        facts = look_up(self._folder, relative)
        if facts is None:
            raise FileNotFoundError(f"{path} was removed at this moment; send it again")
        arrival = Arrival(SOURCE, self._folder, relative, *facts)
        self._store.arrive(
            [arrival],
            at=self._now(),
            lane="urgent",
            origin="api",
            process_data={relative: dict(told)},
        )
        self._on_work()
        known = self._store.micrograph(public_id(sha256, 0))
        return {
            "id": public_id(sha256, 0),
            "sha256": sha256,
            "state": "done" if known else "queued",
        }


def _of(told: Mapping[str, str]) -> str:
    """Return what tells one content under other process data apart, "" without any.

    Sent for another order it is another file, so that both orders hear of it.
    """
    if not told:
        return ""
    text = json.dumps(dict(sorted(told.items())), ensure_ascii=False)
    return f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _refuse_unknown(told: Mapping[str, str]) -> None:
    if strangers := sorted(told.keys() - set(PROCESS_COLUMNS)):
        raise WrongUse(
            f"no process data is called {strangers[0]!r}; known are {', '.join(PROCESS_COLUMNS)}."
        )
    if any(len(value) > LONGEST_VALUE or not value.isprintable() for value in told.values()):
        raise WrongUse(f"a value of the process data has at most {LONGEST_VALUE} plain letters.")


def _safe(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^\w.+ -]", "_", last).strip(". ")
    return plain[-LONGEST_NAME:] or "file"
