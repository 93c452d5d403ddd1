"""Play the whole loop in one folder: a laboratory's past, its exams, and one night.

In:  an empty folder. Out: `agent.toml`, `labelled/`, `test/`, `export/`, `data/`, and a real agent
process that watches. Next: the command, which shows it.
The agent is started as a lab starts it, in a process of its own, so nothing of it is pretended.
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.demo.drawing import TRAINED
from agent.demo.microscope import encoded, planned
from agent.errors import WrongUse
from agent.store import State
from agent.triage import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.demo.microscope import Exported, Picture
    from agent.store import FileFate, Store

MARK = "# Written by `agent demo`."
ENDED = frozenset({State.DONE, State.DUPLICATE, State.SET_ASIDE, State.IGNORED, State.FAILED})
COLUMNS = ("file", "code", "order", "specimen", "magnification", "material", "etchant", "rater")
MATERIALS = {"G": "100Cr6", "B": "100Cr6", "M": "C56E2"}
STOP_S = 20.0
SETTINGS = """{mark} Every line may be changed; `agent settings` explains them all.

[site]
name = "Demonstration"
time_zone = "UTC"

[store]
folder = "data"

[[sources]]                     # the pretend microscope exports here
name = "LOM-07"
folder = "export"
quiet_s = 1.0                   # a real one gets 5 s
scan_every_s = 10
microscope = "LOM-07"
etchant = "Nital 3 %"
pattern = "(?P<order>\\\\d+)_(?P<specimen>\\\\d+)_(?P<field>\\\\d+)_(?P<magnification>\\\\d+x)"

[night]
at = "{at}"

[web]
port = {port}
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a demonstration is.

    Args:
        codes: Structure codes that are taught.
        specimens: Labelled specimens per code. exams: held-out specimens per code.
        fields: Fields per specimen. pixels: width and height of a picture.
        night_specimens: Specimens per code in the night. strange_each: planted, of every kind.
    """

    codes: tuple[str, ...] = TRAINED
    specimens: int = 8
    exams: int = 4
    fields: int = 3
    pixels: tuple[int, int] = (800, 600)
    night_specimens: int = 1
    strange_each: int = 2


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is."""

    folder: Path

    @property
    def settings(self) -> Path:
        """`agent.toml`."""
        return self.folder / "agent.toml"

    @property
    def labelled(self) -> Path:
        """What the agent is taught from, a folder per structure code."""
        return self.folder / "labelled"

    @property
    def test(self) -> Path:
        """What it is examined with, and never taught."""
        return self.folder / "test"

    @property
    def export(self) -> Path:
        """The watched folder."""
        return self.folder / "export"


def settle_in(folder: Path, *, now: datetime) -> tuple[Places, bool]:
    """Make a folder ready for the demonstration, or take up an earlier one in it.

    Args:
        folder: Empty, new, or an earlier demonstration's.
        now: Aware UTC; the report is due at an hour that does not cut the demonstration in two.

    Returns:
        The places, and whether a demonstration was here before.

    Raises:
        WrongUse: The folder holds other things, or cannot be written.
    """
    places = Places(folder.absolute())
    try:
        here = sorted(path.name for path in places.folder.iterdir()) if folder.exists() else []
        before = places.settings.is_file() and MARK in places.settings.read_text("utf-8")
        if here and not before:
            raise WrongUse(
                f"{places.folder}: holds other things ({', '.join(here[:3])}); name an empty or a "
                "new folder: agent demo DIR."
            )
        for place in (places.labelled, places.test, places.export):
            place.mkdir(parents=True, exist_ok=True)
        if not before:
            late = (now + timedelta(hours=1, minutes=30)).date() > now.date()
            at = "12:00" if late else "23:30"
            text = SETTINGS.format(mark=MARK, port=free_port(8787), at=at)
            places.settings.write_text(text, encoding="utf-8")
    except NotADirectoryError as error:
        raise WrongUse(f"{places.folder}: is no folder.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{places.folder}: cannot be used ({error}).") from error
    return places, before


def free_port(wished: int) -> int:
    """Say a port of this PC that nobody listens on: the wished one or the next free."""
    for port in range(wished, wished + 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return wished


def past(size: Size) -> list[Picture]:
    """Plan what the laboratory has labelled before."""
    return planned(size.codes, size.specimens, first_order=41_000, seed=1, fields=size.fields)


def exams(size: Size) -> list[Picture]:
    """Plan the held-out micrographs: other orders, other specimens, other seeds."""
    return planned(size.codes, size.exams, first_order=46_000, seed=2, fields=size.fields)


def write_labelled(pictures: Sequence[Picture], folder: Path, size: Size) -> Iterator[int]:
    """Draw labelled micrographs into a folder per code, with a manifest; those there are kept.

    Yields:
        How many are done.
    """
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for picture in pictures:
            relative = f"{picture.code}/{picture.name}"
            rows.writerow(
                (
                    relative,
                    picture.code,
                    picture.order,
                    picture.specimen,
                    picture.magnification,
                    MATERIALS.get(picture.code[0], ""),
                    "Nital 3 %",
                    "drawn",
                )
            )
    for done, picture in enumerate(pictures, 1):
        path = folder / picture.code / picture.name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            aside = path.with_name(f"~{path.name}.tmp")
            extension = picture.name.rpartition(".")[2]
            aside.write_bytes(encoded(picture.drawn(size.pixels), extension))
            aside.replace(path)
        yield done


@dataclass
class AgentProcess:
    """`agent run` in a process of its own.

    Args:
        settings: Its agent.toml. output: where what it says is written.
    """

    settings: Path
    output: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "agent", "--config", str(self.settings), "run"]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.settings.parent,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                start_new_session=os.name == "posix",
            )

    def refuse_if_dead(self) -> None:
        """Raise `WrongUse` with its last words if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            words = self.output.read_text("utf-8", errors="replace").strip().splitlines()
            last = words[-1] if words else "it said nothing"
            raise WrongUse(f"the agent stopped by itself: {last} (see {self.output})")

    def wait(self) -> None:
        """Wait until it ends."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """Ask it to finish the file in hand and stop; after a while it is made to."""
        if self._process is None or self._process.poll() is not None:
            return
        gentle = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)
        self._process.send_signal(gentle)
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def await_fates(
    store: Store,
    folder: Path,
    wanted: Sequence[str],
    agent: AgentProcess,
    *,
    limit_s: float,
    look_every_s: float = 0.5,
) -> Iterator[dict[str, FileFate]]:
    """Wait until every exported file has met its fate.

    Args:
        store: The agent's own books, read beside it.
        folder: The watched folder.
        wanted: Names in it.
        agent: Who does the work; if it dies, so does the waiting.
        limit_s: How long to wait at most, in seconds.
        look_every_s: How often to look, in seconds.

    Yields:
        The fates so far, by name; the last one has all of them, or the time was up.
    """
    until_s = time.monotonic() + limit_s
    while True:
        fates = fates_of(store, folder, wanted)
        yield fates
        if len(fates) == len(wanted) or time.monotonic() > until_s:
            return
        agent.refuse_if_dead()
        time.sleep(look_every_s)


def fates_of(store: Store, folder: Path, wanted: Sequence[str]) -> dict[str, FileFate]:
    """Say the fates of files in the watched folder, by name, of those that have met one."""
    names = {str(folder / name): name for name in wanted}
    return {
        names[path]: fate
        for fate in store.files()
        if fate.state in ENDED
        for path in fate.paths
        if path in names
    }


@dataclass(frozen=True, slots=True)
class Tally:
    """How the planted strange ones and the ordinary ones fared.

    Args:
        planted: How many strange ones were exported. flagged: how many the agent called strange.
        defects: How many it sent to review for a defect of preparation or imaging.
        set_aside: How many it could not use at all, and said so.
        missed: Kind → how many passed as ordinary.
        ordinary: How many ordinary ones. false_alarms: how many of them it called strange.
    """

    planted: int
    flagged: int
    defects: int
    set_aside: int
    missed: dict[str, int]
    ordinary: int
    false_alarms: int


def tally(store: Store, exported: Sequence[Exported], fates: dict[str, FileFate]) -> Tally:
    """Count how the night went."""
    flagged = defects = set_aside = false_alarms = 0
    missed: dict[str, int] = {}
    strange = [one for one in exported if one.strange]
    ordinary = [one for one in exported if not one.strange and not one.fault]
    for one in strange:
        fate = fates.get(one.name)
        if fate and fate.state == State.SET_ASIDE:
            set_aside += 1
        elif fate and _has(store, fate, Reason.STRANGE):
            flagged += 1
        elif fate and _has(store, fate, Reason.INPUT_DEFECT):
            defects += 1
        else:
            missed[one.strange] = missed.get(one.strange, 0) + 1
    for one in ordinary:
        fate = fates.get(one.name)
        false_alarms += bool(fate and _has(store, fate, Reason.STRANGE))
    return Tally(len(strange), flagged, defects, set_aside, missed, len(ordinary), false_alarms)


def _has(store: Store, fate: FileFate, reason: Reason) -> bool:
    view = store.micrograph(fate.sha256[:16]) if fate.sha256 else None
    return view is not None and reason in view.reasons
