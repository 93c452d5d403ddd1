"""Play the whole loop in one folder: labelled history, held-out test set, and one night.

The agent runs in a separate process, as in a lab, so that nothing of it is simulated.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.demo.exporter import DemoPicture, Exported, plan_ordinary
from agent.demo.micrograph import TRAINED
from agent.errors import UsageError
from agent.store import State
from agent.triage import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.store import FileFate, Result, Store

MARK = "# Written by `agent demo`."
ENDED = frozenset({State.DONE, State.DUPLICATE, State.SET_ASIDE, State.IGNORED, State.FAILED})
STOP_S = 20.0
LOOK_EVERY_S = 0.5
PORT = re.compile(r"^port = (\d+)$", re.MULTILINE)
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
class DemoSize:
    """Size of a demonstration.

    Args:
        codes: Structure codes in training.
        specimens: Labelled specimens per code.
        exams: Held-out specimens per code.
        fields: Fields per specimen.
        pixels: Width and height of a picture.
        night_specimens: Specimens per code in the night.
        strange_each: Anomalies of every kind.
    """

    codes: tuple[str, ...] = TRAINED
    specimens: int = 8
    exams: int = 4
    fields: int = 3
    pixels: tuple[int, int] = (800, 600)
    night_specimens: int = 1
    strange_each: int = 2


@dataclass(frozen=True, slots=True)
class DemoFolders:
    """Paths of the demonstration."""

    folder: Path

    @property
    def settings(self) -> Path:
        """`agent.toml`."""
        return self.folder / "agent.toml"

    @property
    def labelled(self) -> Path:
        """Training images, a folder per structure code."""
        return self.folder / "labelled"

    @property
    def test(self) -> Path:
        """Held-out test images, never trained on."""
        return self.folder / "test"

    @property
    def export(self) -> Path:
        """The watched folder."""
        return self.folder / "export"


def prepare_folder(folder: Path, *, now: datetime) -> tuple[DemoFolders, bool]:
    """Prepare a folder for the demonstration, or resume an earlier one in it.

    Args:
        folder: Empty, new, or an earlier demonstration's.
        now: Aware UTC; the report is due at an hour that does not cut the demonstration in two.

    Returns:
        The paths, and whether a demonstration was there before.

    Raises:
        UsageError: The folder holds other things, or cannot be written.
    """
    places = DemoFolders(folder.absolute())
    try:
        here = sorted(path.name for path in places.folder.iterdir()) if folder.exists() else []
        before = places.settings.is_file() and MARK in places.settings.read_text("utf-8")
        if here and not before:
            raise UsageError(
                f"{places.folder}: holds other things ({', '.join(here[:3])}); name an empty or a "
                "new folder: agent demo DIR."
            )
        for place in (places.labelled, places.test, places.export):
            place.mkdir(parents=True, exist_ok=True)
        if not before:
            late = (now + timedelta(hours=1, minutes=30)).date() > now.date()
            at = "12:00" if late else "23:30"
            text = SETTINGS.format(mark=MARK, port=find_free_port(8787), at=at)
            places.settings.write_text(text, encoding="utf-8")
    except NotADirectoryError as error:
        raise UsageError(f"{places.folder}: is no folder.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{places.folder}: cannot be used ({error}).") from error
    return places, before


def find_free_port(requested: int) -> int:
    """Return a free port of this PC: the requested one or the next free one."""
    for port in range(requested, requested + 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return requested


def renew_port(settings: Path) -> None:
    """Write another port into an `agent.toml` of ours if another program took the one it names.

    Minutes lie between writing the file and starting the agent.

    Args:
        settings: The file; its other lines stay as they are.
    """
    text = settings.read_text("utf-8")
    named = PORT.search(text)
    if named and (free := find_free_port(int(named[1]))) != int(named[1]):
        settings.write_text(text[: named.start(1)] + str(free) + text[named.end(1) :], "utf-8")


def plan_history(size: DemoSize) -> list[DemoPicture]:
    """Plan the labelled history of the laboratory."""
    return plan_ordinary(size.codes, size.specimens, first_order=41_000, seed=1, fields=size.fields)


def plan_test_set(size: DemoSize) -> list[DemoPicture]:
    """Plan the held-out micrographs: other orders, specimens and seeds."""
    return plan_ordinary(size.codes, size.exams, first_order=46_000, seed=2, fields=size.fields)


@dataclass
class AgentProcess:
    """`agent run` in a separate process.

    Args:
        settings: Its agent.toml.
        output: File that receives its output.
    """

    settings: Path
    output: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process."""
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
        """Raise `UsageError` with its last output line if it ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            words = self.output.read_text("utf-8", errors="replace").strip().splitlines()
            last = words[-1] if words else "it said nothing"
            raise UsageError(f"the agent stopped by itself: {last} (see {self.output})")

    def wait(self) -> None:
        """Wait until it ends."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """Request that it finishes the current file and stops; kill it after `STOP_S`."""
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
) -> Iterator[dict[str, FileFate]]:
    """Wait until every exported file has a final state.

    Args:
        store: The agent's database.
        folder: The watched folder.
        wanted: Names in it.
        agent: The agent's process; waiting stops if it dies.
        limit_s: Longest wait, in seconds.

    Yields:
        The final states so far, by name; the last one is complete, unless the time was up.
    """
    until_s = time.monotonic() + limit_s
    while True:
        fates = list_fates(store, folder, wanted)
        yield fates
        if len(fates) == len(wanted) or time.monotonic() > until_s:
            return
        agent.refuse_if_dead()
        time.sleep(LOOK_EVERY_S)


def list_fates(store: Store, folder: Path, wanted: Sequence[str]) -> dict[str, FileFate]:
    """Return the final states of files in the watched folder, by name."""
    names = {str(folder / name): name for name in wanted}
    return {
        names[path]: fate
        for fate in store.files.iter_status()
        if fate.state in ENDED
        for path in fate.paths
        if path in names
    }


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Result of the night for planted anomalies and ordinary micrographs.

    Args:
        planted: Number of anomalies.
        flagged: Anomalies that the agent flagged as unusual.
        defects: Anomalies sent to review for a defect of preparation or imaging.
        set_aside: Anomalies that could not be used at all, with a message.
        missed: Kind → number that passed as ordinary.
        ordinary: Number of ordinary micrographs.
        right: Ordinary micrographs with the structure code that was drawn.
        false_alarms: Ordinary micrographs flagged as unusual.
    """

    planted: int
    flagged: int
    defects: int
    set_aside: int
    missed: dict[str, int]
    ordinary: int
    right: int
    false_alarms: int


def count_results(
    store: Store,
    night: Sequence[DemoPicture],
    exported: Sequence[Exported],
    fates: dict[str, FileFate],
) -> DemoResult:
    """Count the results of the night."""
    codes = {picture.name: picture.code for picture in night}
    flagged = defects = set_aside = false_alarms = right = 0
    missed: dict[str, int] = {}
    strange = [export for export in exported if export.strange]
    ordinary = [export for export in exported if not export.strange and not export.fault]
    for export in strange:
        fate = fates.get(export.name)
        result = _find_result(store, fate)
        if fate and fate.state == State.SET_ASIDE:
            set_aside += 1
        elif result and Reason.STRANGE in result.reasons:
            flagged += 1
        elif result and Reason.INPUT_DEFECT in result.reasons:
            defects += 1
        else:
            missed[export.strange] = missed.get(export.strange, 0) + 1
    for export in ordinary:
        if result := _find_result(store, fates.get(export.name)):
            false_alarms += Reason.STRANGE in result.reasons
            right += result.structure_code == codes[export.name]
    return DemoResult(
        len(strange), flagged, defects, set_aside, missed, len(ordinary), right, false_alarms
    )


def _find_result(store: Store, fate: FileFate | None) -> Result | None:
    view = store.results.find(fate.sha256[:16]) if fate and fate.sha256 else None
    return view.result if view else None
