"""Kill retrain and promote at random moments, alter bundles, roll back; print what was left behind.

    python tests/bench/lifecycle.py [--moments 10] [--seed 0] [--keep FOLDER]

A small lab is taught on drawn micrographs and given new labels. `agent retrain` is killed with
SIGKILL at random moments between its beginning and its end, the shell or its child by turns; then
`agent models promote` between two bundles likewise. After each kill the bundle at work has to be
one that was put to work, has to load, and nothing half-written may be listed. Then each file of the
bundle at work is altered by one byte in turn: it has to be refused by its name, and the one before
has to serve. Last, rolling back is timed until the bundle is at work. Exit code 3 where anything of
this does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from labs.small import past, twin_of, write_labelled

from agent import settings as settings_of
from agent.retrain.bundle_registry import delete_leftovers, get_bundle, list_bundles
from agent.service.active_bundle import CurrentBundle
from agent.service.composition import open_store
from agent.service.data_folder import TrainingLock, clock
from model import ModelError, verify_bundle

SETTINGS = (
    '[site]\nname = "Small lab"\ntime_zone = "UTC"\n[imaging]\nworkers = 1\n'
    "[strangeness]\nalpha = 0.1\n[retrain]\nmin_new_labels = 5\n"
)
SIGNED = ("--by", "bench", "--reason", "lifecycle")
ROLL_BACK_S = 5.0


@dataclass
class Tally:
    """What was found after kills, alterations and roll-backs."""

    kills: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    altered: int = 0
    refused: int = 0
    roll_backs_s: list[float] = field(default_factory=list)

    def holds(self) -> bool:
        """Whether all promises were kept."""
        in_time = all(took_s <= ROLL_BACK_S for took_s in self.roll_backs_s)
        return not self.faults and self.altered == self.refused and in_time


class Place:
    """A lab that is killed again and again.

    Args:
        folder: Of the lab; with its `agent.toml` and a bundle at work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = settings_of.read(folder / "agent.toml", {})
        self.data = self.settings.store.folder

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command of the agent."""
        command = [sys.executable, "-m", "agent", "--config", str(self.folder / "agent.toml")]
        with (self.folder / "out.txt").open("ab") as out:
            return subprocess.Popen([*command, *words], stdout=out, stderr=out)

    def agent(self, *words: str) -> tuple[int, float]:
        """Run a command to its end: exit code, and how long it took (s)."""
        began_s = time.monotonic()
        code = self.start(*words).wait()
        return code, time.monotonic() - began_s

    def current(self) -> str | None:
        """Return the bundle in use."""
        with open_store(self.settings) as store:
            return store.promotions.find_current()

    def kill(self, words: tuple[str, ...], after_s: float, *, child: bool) -> bool:
        """Start a command and kill it after a while; False where it had ended by then.

        Args:
            words: Of the command.
            after_s: How long after its beginning.
            child: Whether its child is killed, where it has one, instead of itself.
        """
        process = self.start(*words)
        time.sleep(after_s)  # the moment that is asked for, nothing that is waited for
        there, victims = psutil.Process(process.pid), []
        with suppress(psutil.NoSuchProcess):
            family = there.children(recursive=True)
            victims = [one for one in family if "spawn_main" in " ".join(one.cmdline())]
            target = victims[0] if child and victims else there
            target.send_signal(signal.SIGKILL)
        ended = process.wait()
        while TrainingLock(self.data).is_held():
            time.sleep(0.05)
        return ended < 0 or bool(child and victims)

    def faults(self, *, may_be: set[str | None]) -> list[str]:
        """Yield each promise that is broken after a kill, as a sentence.

        Args:
            may_be: Names, one of which has to be the bundle at work.
        """
        found = []
        with open_store(self.settings) as store:
            current = store.promotions.find_current()
            if current not in may_be:
                found.append(f"{current} is at work")
            bundle = CurrentBundle(self.settings, store)
            bundle.refresh()
            if bundle.problem or bundle.name != current:
                found.append(f"{current} does not load: {bundle.problem}")
            found += store.audit_log.find_problems()
            promoted = [promotion.bundle for promotion in store.promotions.list_all()]
            signed = [act.subject for act in store.audit_log.iter_acts("model.promoted")]
            if promoted != signed[::-1]:
                found.append("promotions and trail differ")
        for path in list_bundles(self.data):
            try:
                verify_bundle(path)
            except ModelError as error:
                found.append(f"listed though it is not whole: {error}")
        return found


def taught(folder: Path) -> Place:
    """Teach a small lab its first bundle, and give it 18 new labels."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.toml").write_text(SETTINGS, encoding="utf-8")
    place = Place(folder)
    first = write_labelled(past(10, first_order=1000, seed=1), folder / "labelled")
    more = write_labelled(past(3, first_order=2000, seed=5), folder / "more")
    for words in (
        ("train", str(folder / "labelled"), "--manifest", str(first)),
        ("import", str(folder / "more"), "--manifest", str(more)),
    ):
        code, _ = place.agent(*words)
        if code:
            raise SystemExit((folder / "out.txt").read_text("utf-8"))
    return place


def kill_retrain(place: Place, moments: int, dice: random.Random, tally: Tally) -> None:
    """Kill `agent retrain` at random moments; the bundle at work stays the one it was."""
    current = place.current()
    whole_s = place.agent("retrain")[1]
    for number in range(moments):
        at_s = dice.uniform(0.0, whole_s)
        hit = place.kill(("retrain",), at_s, child=bool(number % 2))
        tally.kills["retrain"] = tally.kills.get("retrain", 0) + hit
        said = place.faults(may_be={current})
        tally.faults += [f"retrain killed after {at_s:.1f} s: {one}" for one in said]
    place.agent("retrain")
    tally.faults += [
        f"left over after the next start: {name}" for name in delete_leftovers(place.data)
    ]


def kill_promote(place: Place, moments: int, dice: random.Random, tally: Tally) -> None:
    """Kill `agent models promote` at random moments; one of the two bundles is at work, whole."""
    names = [path.name for path in list_bundles(place.data)][:2]
    for _ in names:  # the first time a bundle is at work it is compiled; what counts is the rest
        whole_s = place.agent("models", "promote", _other(names, place.current()), *SIGNED)[1]
    for _ in range(moments):
        before = place.current()
        other = _other(names, before)
        at_s = dice.uniform(0.3 * whole_s, whole_s)  # before that Python itself is loaded
        hit = place.kill(("models", "promote", other, *SIGNED), at_s, child=False)
        tally.kills["promote"] = tally.kills.get("promote", 0) + hit
        said = place.faults(may_be={before, other})
        tally.faults += [f"promote killed after {at_s:.1f} s: {one}" for one in said]


def _other(names: list[str], current: str | None) -> str:
    return next(name for name in names if name != current)


def alter(place: Place, tally: Tally) -> None:
    """Alter each file of the bundle at work by one byte; the one before has to serve."""
    with open_store(place.settings) as store:
        current = str(store.promotions.find_current())
        before = next(
            promotion.bundle
            for promotion in store.promotions.list_all()
            if promotion.bundle != current
        )
        folder = get_bundle(place.data, current)
        for path in sorted(one for one in folder.iterdir() if one.is_file()):
            whole = path.read_bytes()
            at = len(whole) // 2
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            bundle = CurrentBundle(place.settings, store)
            bundle.refresh()
            path.write_bytes(whole)
            tally.altered += 1
            if bundle.name == before and current in bundle.problem:
                tally.refused += 1
            else:
                tally.faults.append(f"{path.name} altered: {bundle.name} serves")


def roll_back(place: Place, times: int, tally: Tally) -> None:
    """Promote and roll back; each has to be on record, and to load."""
    names = [path.name for path in list_bundles(place.data)][:2]
    for _ in range(times):
        place.agent("models", "promote", _other(names, place.current()), *SIGNED)
        current, began_s = place.current(), time.monotonic()
        process = place.start("models", "rollback", *SIGNED)
        while process.poll() is None and place.current() == current:
            time.sleep(0.05)
        tally.roll_backs_s.append(time.monotonic() - began_s)
        if process.wait() or place.current() == current:
            tally.faults.append(f"roll back left {place.current()} at work")
        tally.faults += place.faults(may_be={place.current()})


def run(folder: Path, *, moments: int, seed: int = 0) -> Tally:
    """Do all of it in a folder."""
    place, dice, tally = taught(folder), random.Random(seed), Tally()
    kill_retrain(place, moments, dice, tally)
    if len(list_bundles(place.data)) < 2:  # a gate that found too little taught none
        twin_of(get_bundle(place.data, str(place.current())))
    kill_promote(place, moments, dice, tally)
    alter(place, tally)
    roll_back(place, 3, tally)
    return tally


def main() -> None:
    """Print what was found."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--moments", type=int, default=10)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--keep", type=Path, help="the lab's folder, kept")
    given = ask.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="lifecycle-"))
    print(f"{clock():%Y-%m-%d %H:%M}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    try:
        tally = run(folder, moments=given.moments, seed=given.seed)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    for what, n in tally.kills.items():
        print(f"{what}: {n} of {given.moments} kills came before its end")
    print(f"altered by one byte: {tally.refused} of {tally.altered} files refused by name")
    print(
        "roll back, s until it is at work:",
        ", ".join(f"{took_s:.1f}" for took_s in tally.roll_backs_s),
    )
    for fault in tally.faults:
        print("FAULT", fault)
    raise SystemExit(0 if tally.holds() else 3)


if __name__ == "__main__":
    main()
