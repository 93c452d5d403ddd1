"""Look over a PC before it is trusted: what is right, what is doubtful, what is wrong.

In:  the settings. Out: `Finding`s in plain sentences, each with what to do.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agent.cli.app import store_of
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.settings import Settings, Source

LITTLE_DISK_BYTES = 5_000_000_000
"""Our choice: below it a person should look before a disk that is full stops the intake."""

FEW_WATCHES = 8192
"""Linux's old default of fs.inotify.max_user_watches; a large export tree has more folders."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    check: str
    level: Literal["right", "doubtful", "wrong"]
    sentence: str

    @property
    def mark(self) -> str:
        """Its sign in a table; a word is beside it, so it needs no colour."""
        return {"right": "✓", "doubtful": "?", "wrong": "✗"}[self.level]


def examine(settings: Settings, file: Path | None) -> list[Finding]:
    """Look at everything; nothing is changed but a probe file in the data folder."""
    return [
        Finding("settings", "right", str(file))
        if file
        else Finding(
            "settings", "doubtful", "no agent.toml found: defaults hold; try `agent init`."
        ),
        _python(),
        *_data_folder(settings.store.folder),
        _database(settings),
        *(finding for source in settings.sources for finding in _source(source)),
        *([] if settings.sources else [_no_sources()]),
        *_watch_limits(),
        _web(settings),
        _compute(),
        _label_reader(),
        _bundle(settings),
    ]


def _python() -> Finding:
    return Finding("python", "right", f"{platform.python_version()} on {platform.platform()}")


def _data_folder(folder: Path) -> Iterator[Finding]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"probe")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        why = error.strerror or str(error)
        yield Finding("data folder", "wrong", f"{folder}: cannot be written ({why}).")
        return
    yield Finding("data folder", "right", f"{folder} can be written.")
    free = shutil.disk_usage(folder).free
    level: Literal["right", "doubtful"] = "right" if free >= LITTLE_DISK_BYTES else "doubtful"
    yield Finding("free disk", level, f"{free / 1e9:.1f} GB free at {folder}.")


def _database(settings: Settings) -> Finding:
    try:
        store = store_of(settings)
    except AgentError as error:
        return Finding("database", "wrong", str(error))
    store.close()
    return Finding("database", "right", "opens, and its schema is this program's.")


def _source(source: Source) -> Iterator[Finding]:
    check = f"source {source.name}"
    if not source.folder.is_dir():
        yield Finding(check, "wrong", f"{source.folder}: no such folder, or no right to see it.")
        return
    try:
        with os.scandir(source.folder) as entries:
            some = next(entries, None)
    except OSError as error:
        yield Finding(check, "wrong", f"{source.folder}: cannot be listed ({error.strerror}).")
        return
    seen = "can be listed" if some else "can be listed, and is empty"
    yield Finding(check, "right", f"{source.folder} {seen}.")


def _no_sources() -> Finding:
    return Finding("sources", "doubtful", "none: name an export folder under [[sources]].")


def _watch_limits() -> Iterator[Finding]:
    if not sys.platform.startswith("linux"):
        return
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", encoding="ascii") as limit:  # noqa: PTH123
            watches = int(limit.read())
    except (OSError, ValueError):
        return
    if watches <= FEW_WATCHES:
        yield Finding(
            "inotify",
            "doubtful",
            f"max_user_watches is {watches}; raise it with sysctl, or sources turn to polling.",
        )
    else:
        yield Finding("inotify", "right", f"{watches} watches allowed.")


def _web(settings: Settings) -> Finding:
    host = settings.web.host
    if host in {"127.0.0.1", "localhost", "::1"}:
        return Finding("review page", "right", f"on this PC only, port {settings.web.port}.")
    return Finding("review page", "wrong", f"{host}: the network needs accounts; use 127.0.0.1.")


def _compute() -> Finding:
    import torch  # noqa: PLC0415 - seconds to import

    if torch.cuda.is_available():
        return Finding("compute", "right", f"GPU {torch.cuda.get_device_name()}.")
    return Finding("compute", "right", f"CPU, {os.cpu_count()} processors; no GPU that torch sees.")


def _label_reader() -> Finding:
    try:
        import rapidocr  # noqa: F401, PLC0415
    except ImportError as error:
        return Finding("label reader", "wrong", f"rapidocr cannot be imported ({error}).")
    return Finding("label reader", "right", "its models are on this PC.")


def _bundle(settings: Settings) -> Finding:
    try:
        store = store_of(settings)
    except AgentError:
        return Finding("bundle", "doubtful", "unknown, as the database does not open.")
    name = store.current_bundle()
    store.close()
    if name is None:
        return Finding(
            "bundle",
            "doubtful",
            "none yet: everything goes to review until `agent train` made one.",
        )
    from model import ModelError, verify_bundle  # noqa: PLC0415

    try:
        verify_bundle(settings.store.folder / "bundles" / name)
    except ModelError as error:
        return Finding("bundle", "wrong", str(error))
    return Finding("bundle", "right", f"{name}, every hash as in its manifest.")
