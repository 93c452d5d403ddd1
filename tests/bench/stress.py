"""Export in every bad way into a running agent, kill it again and again, and count what it did.

    python tests/bench/stress.py [--rounds 3] [--kills 100] [--seed 0] [--quiet-s 1] [--only NAME …]
    python tests/bench/stress.py --postgresql     three agents of two sites in one PostgreSQL

The scenarios are those of the field, in ten sources: slow and interrupted writers, placeholders,
pre-allocated files filled in order and out of order, mapped files, renames, copies, overwriting,
vanished and emptied roots, odd names, odd times, twins by case and spelling, links, junk, broken
files, rights withheld, a second agent, a database that is away, bursts. The agent is the real one
(`agent run`, no bundle), killed with SIGKILL at random moments and started again; with
`--postgresql` there are three, two of them on the same sources, and any may be killed. The table
says of every scenario how many contents were expected, taken once, taken twice, lost, and taken
half-written; the exit code is 3 unless the last three are nil.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import mmap
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers.databases import Postgres

ROOT_WAS_AWAY_S = 10.0
IDLE_S = 120.0  # after the last export, so long without any file meeting its fate ends the run
STARTS_S = 60.0
AGENT_ENDS_S = 15.0
REFUSED = 2  # another agent had the data folder just then
AWAY_S = 5.0


# --- the database -------------------------------------------------------------------------------


class Sqlite:
    """The file in the data folder."""

    url = ""

    def __init__(self, file: Path) -> None:
        self._file = file

    def ask(self, question: str) -> list[Any]:
        """Return the rows of a query; [] if the database does not answer."""
        try:
            with closing(sqlite3.connect(self._file, timeout=30)) as books:
                return books.execute(question).fetchall()
        except sqlite3.Error:
            return []

    @contextmanager
    def away(self) -> Iterator[None]:
        """Hold it locked."""
        while not self._file.is_file():
            time.sleep(0.1)
        with closing(sqlite3.connect(self._file, timeout=30, isolation_level=None)) as held:
            held.execute("BEGIN EXCLUSIVE")
            yield
            held.execute("ROLLBACK")

    def close(self) -> None:
        """Nothing is to be closed."""


class Server:
    """A PostgreSQL of our own."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._lock = threading.Lock()
        server.start()
        self.url = server.empty()

    def ask(self, question: str) -> list[Any]:
        """Return the rows of a query; [] if the database does not answer."""
        import psycopg  # noqa: PLC0415 - only with --postgresql

        try:
            address = self.url.replace("+psycopg", "")
            with psycopg.connect(address, connect_timeout=5) as books:
                return books.execute(question).fetchall()  # type: ignore[arg-type]
        except psycopg.Error:
            return []

    @contextmanager
    def away(self) -> Iterator[None]:
        """Stop it and start it again."""
        with self._lock:
            self._server.stop()
            yield
            self._server.resume()

    def close(self) -> None:
        """Stop it for good."""
        self._server.stop()


# --- contents -----------------------------------------------------------------------------------


class Contents:
    """Draws small micrographs that differ, and remembers which contents were ever whole."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def _steel(self, height: int = 120, width: int = 160) -> np.ndarray:
        with self._lock:
            noise = self._rng.normal(0, 40, (height, width))
        grey = cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128
        return np.clip(grey, 1, 255).astype(np.uint8)

    def pixels(self) -> np.ndarray:
        """Draw one picture, (120, 160) uint8."""
        return self._steel()

    def make(self, suffix: str) -> bytes:
        """Make one whole file of a form; the suffix says which."""
        pixels = self._steel()
        if suffix == ".pages.tif":
            return _tiff(np.stack([pixels, self._steel()]), photometric="minisblack")
        if suffix == ".16.tif":
            return _tiff(pixels.astype(np.uint16) * 200)
        if suffix == ".rgba.png":
            pixels = np.dstack([pixels] * 3 + [np.full_like(pixels, 255)])
        if suffix.endswith(".tif"):
            return _tiff(pixels, **TIFFS[suffix])
        return bytes(cv2.imencode(f".{suffix.rpartition('.')[2]}", pixels)[1])


TIFFS: dict[str, dict[str, Any]] = {
    ".tif": {},
    ".lzw.tif": {"compression": "lzw"},
    ".tiles.tif": {"tile": (32, 32)},
    ".palette.tif": {
        "photometric": "palette",
        "colormap": np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1)),
    },
}


def _tiff(pixels: np.ndarray, **how: Any) -> bytes:
    held = io.BytesIO()
    tifffile.imwrite(held, pixels, **how)
    return held.getvalue()


FORMS = (".tif", ".png", ".jpg", ".bmp", ".lzw.tif")


# --- exporters ----------------------------------------------------------------------------------


@dataclass
class Stage:
    """Where one scenario plays: a folder of its own in a source, and what it promises.

    Args:
        folder: Its own folder inside the source. source: the source's root.
        quiet_s: The agent's quiet time.
        rng: Seeded.
        contents: Draws files.
        database: The agents'. settings: an agent's. beside: another source's folder.
        crowd: How many files a crowd has.
        expected: sha256 → name, of contents that must be taken exactly once.
        allowed: sha256 of contents that may be taken: whole, but not there for long.
    """

    folder: Path
    source: Path
    quiet_s: float
    rng: random.Random
    contents: Contents
    database: Sqlite | Server
    settings: Path
    beside: Path
    crowd: int = 25
    expected: dict[str, str] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)

    def new(self, suffix: str | None = None) -> bytes:
        """Make a file's bytes without a promise."""
        return self.contents.make(suffix or self.rng.choice(FORMS))

    def promise(self, held: bytes, name: str) -> bytes:
        """Promise that a content stays: it must be taken, once."""
        self.expected[hashlib.sha256(held).hexdigest()] = name
        return held

    def allow(self, held: bytes) -> bytes:
        """Record that a content is complete for a while: it may be stored."""
        self.allowed.add(hashlib.sha256(held).hexdigest())
        return held

    def pause(self, share: float = 1.0) -> None:
        """Wait about `share` quiet times."""
        time.sleep(self.quiet_s * share * self.rng.uniform(0.7, 1.3))

    def path(self, name: str) -> Path:
        """Return the path of a file of this scenario."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def slow_writer(stage: Stage) -> None:
    """Write in pieces, pausing for longer than the quiet time."""
    for number, suffix in enumerate(FORMS):
        held = stage.promise(stage.new(suffix), f"{number}{suffix}")
        with stage.path(f"{number}{suffix}").open("wb") as file:
            for start in range(0, len(held), max(1, len(held) // 3)):
                file.write(held[start : start + max(1, len(held) // 3)])
                file.flush()
                stage.pause(1.8)


def steady_writer(stage: Stage) -> None:
    """Write in many pieces without ever resting."""
    for number in range(3):
        held = stage.promise(stage.new(), f"steady{number}.tif")
        with stage.path(f"steady{number}.tif").open("wb") as file:
            for start in range(0, len(held), max(1, len(held) // 20)):
                file.write(held[start : start + max(1, len(held) // 20)])
                file.flush()
                stage.pause(0.15)


def placeholder(stage: Stage) -> None:
    """Make the name first, empty, and fill it later."""
    names = [f"placeholder{number}.png" for number in range(4)]
    for name in names:
        stage.path(name).touch()
    stage.pause(3)
    for name in names:
        stage.path(name).write_bytes(stage.promise(stage.new(".png"), name))


def preallocated(stage: Stage) -> None:
    """Allocate the final size at once, as zeros, and fill it third by third.

    The pauses are longer than the quiet time.
    """
    for number, suffix in enumerate((".tif", ".bmp", ".png", ".jpg")):
        name = f"pre{number}{suffix}"
        held = stage.promise(stage.new(suffix), name)
        with stage.path(name).open("wb") as file:
            file.truncate(len(held))
            third = -(-len(held) // 3)
            for start in range(0, len(held), third):
                file.write(held[start : start + third])
                file.flush()
                stage.pause(1.6)


def last_byte_late(stage: Stage) -> None:
    """Allocate the final size at once and write the last byte or two much later.

    Of an uncompressed picture nobody can tell that by looking at it: it has two black pixels.
    What tells is that its writer still holds it open.
    """
    for number, suffix in enumerate((".tif", ".bmp", ".png", ".jpg")):
        name = f"late{number}{suffix}"
        held = stage.promise(stage.new(suffix), name)
        with stage.path(name).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, len(held))
            file.write(held[: -1 - number % 2])
            file.flush()
            stage.pause(4)
            file.write(held[-1 - number % 2 :])


def overwritten_in_place(stage: Stage) -> None:
    """Write another picture of the same size over a taken one, piece by piece."""
    for number, suffix in enumerate((".bmp", ".tif")):
        path = stage.path(f"over{number}{suffix}")
        path.write_bytes(stage.allow(stage.new(suffix)))
        stage.pause(3)
        held = stage.promise(stage.new(suffix), path.name)
        third = -(-len(held) // 3)
        with path.open("r+b") as file:
            for start in range(0, len(held), third):
                file.write(held[start : start + third])
                file.flush()
                stage.pause(1.6)


def kept_open(stage: Stage) -> None:
    """Write a whole picture and close it much later."""
    for number in range(3):
        held = stage.promise(stage.new(), f"kept{number}.tif")
        with stage.path(f"kept{number}.tif").open("wb") as file:
            file.write(held)
            file.flush()
            stage.pause(4)


def filled_with_zeros(stage: Stage) -> None:
    """Write zeros first and the picture over them, so that there are no holes."""
    for number, suffix in enumerate((".tif", ".bmp", ".png", ".jpg")):
        name = f"zeros{number}{suffix}"
        held = stage.promise(stage.new(suffix), name)
        with stage.path(name).open("wb") as file:
            file.write(bytes(len(held)))
            file.flush()
            stage.pause(1.6)
            third = -(-len(held) // 3)
            for start in range(0, len(held), third):
                file.seek(start)
                file.write(held[start : start + third])
                file.flush()
                stage.pause(1.6)


def out_of_order(stage: Stage) -> None:
    """Write the last part first, as a copy over several connections does."""
    for number, suffix in enumerate(FORMS):
        name = f"order{number}{suffix}"
        held = stage.promise(stage.new(suffix), name)
        third = -(-len(held) // 3)
        with stage.path(name).open("wb") as file:
            for start in (2 * third, 0, third):
                file.seek(start)
                file.write(held[start : start + third])
                file.flush()
                stage.pause(1.6)


def mapped(stage: Stage) -> None:
    """Map the file into memory and write it page by page."""
    for number in range(3):
        held = stage.promise(stage.new(".tif"), f"mapped{number}.tif")
        with stage.path(f"mapped{number}.tif").open("w+b") as file:
            file.truncate(len(held))
            with mmap.mmap(file.fileno(), len(held)) as page:
                for start in range(0, len(held), 4096):
                    page[start : start + 4096] = held[start : start + 4096]
                    stage.pause(0.5)
                page.flush()


def appended(stage: Stage) -> None:
    """Append a page to a whole file later."""
    for number in range(3):
        path = stage.path(f"growing{number}.tif")
        tifffile.imwrite(path, stage.contents.pixels())
        stage.allow(path.read_bytes())
        stage.pause(2.5)
        whole = path.with_name("more.tmp")
        shutil.copyfile(path, whole)
        tifffile.imwrite(whole, stage.contents.pixels(), append=True)
        held = stage.promise(whole.read_bytes(), path.name)
        whole.unlink()
        with path.open("r+b") as file:
            file.write(held)


def written_anew_slowly(stage: Stage) -> None:
    """Open a taken file for writing, so that it is empty, and write it anew piece by piece."""
    path = stage.path("anew.png")
    path.write_bytes(stage.allow(stage.new(".png")))
    stage.pause(3)
    held = stage.promise(stage.new(".png"), path.name)
    with path.open("wb") as file:
        for start in range(0, len(held), len(held) // 3 + 1):
            stage.pause(1.4)
            file.write(held[start : start + len(held) // 3 + 1])
            file.flush()


def replaced_at_once(stage: Stage) -> None:
    """Put another file in the place of one, at once, again and again."""
    path = stage.path("replaced.png")
    for _ in range(5):
        (path.parent / "next.tmp").write_bytes(held := stage.allow(stage.new(".png")))
        (path.parent / "next.tmp").replace(path)
        stage.pause(stage.rng.uniform(0.4, 2))
    stage.promise(held, path.name)


def linked_into_place(stage: Stage) -> None:
    """Link a finished file to its name, and remove the old name."""
    for number in range(4):
        aside = stage.path(f".aside{number}")
        aside.write_bytes(stage.promise(stage.new(".png"), f"linked{number}.png"))
        os.link(aside, stage.path(f"linked{number}.png"))
        stage.pause(0.5)
        aside.unlink()


def copied_with_its_date(stage: Stage) -> None:
    """Copy like a tool that keeps dates: the time jumps back when the copy is whole."""
    for number in range(3):
        held = stage.promise(stage.new(".tif"), f"dated{number}.tif")
        path = stage.path(f"dated{number}.tif")
        with path.open("wb") as file:
            file.write(held[: len(held) // 2])
            file.flush()
            stage.pause(1.5)
            file.write(held[len(held) // 2 :])
        os.utime(path, (1_200_000_000, 1_200_000_000))


def renamed_into_place(stage: Stage) -> None:
    """Write under a temporary name, then rename."""
    for number in range(6):
        name = f"final{number}.tif"
        temporary = stage.path(f"{name}.tmp")
        temporary.write_bytes(stage.promise(stage.new(".tif"), name))
        stage.pause(0.4)
        temporary.rename(stage.path(name))


def folder_moved_in(stage: Stage) -> None:
    """Fill a folder elsewhere and move it into the source as a whole."""
    aside = stage.source.with_name(f"{stage.source.name}-aside-{stage.folder.name}")
    aside.mkdir(exist_ok=True)
    for number in range(stage.crowd):
        held = stage.promise(stage.new(".jpg"), f"moved/{number}.jpg")
        (aside / f"{number:03}.jpg").write_bytes(held)
    aside.rename(stage.path("moved"))


def folder_renamed_later(stage: Stage) -> None:
    """Rename a folder and move it deeper, perhaps while its files are read."""
    for number in range(8):
        held = stage.promise(stage.new(".png"), f"renamed/{number}.png")
        stage.path(f"job/{number}.png").write_bytes(held)
    for name in ("job done", "archive/2026/job"):
        stage.pause(stage.rng.uniform(1, 3))
        before = stage.folder / ("job" if name == "job done" else "job done")
        before.rename(stage.path(name))


def folder_deleted(stage: Stage) -> None:
    """Delete a whole folder, perhaps while its files are read, and begin it anew."""
    for number in range(8):
        stage.path(f"job/{number}.png").write_bytes(stage.allow(stage.new(".png")))
    stage.pause(stage.rng.uniform(0.5, 2))
    shutil.rmtree(stage.folder / "job")
    stage.pause(0.3)
    stage.path("job/0.png").write_bytes(stage.promise(stage.new(".png"), "job/0.png"))


def same_name_new_content(stage: Stage) -> None:
    """Write a name anew with as many bytes and the old time."""
    path = stage.path("again.bmp")
    path.write_bytes(stage.allow(stage.new(".bmp")))
    before = path.stat()
    stage.pause(3)
    path.write_bytes(stage.promise(stage.new(".bmp"), "again.bmp"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def same_content_three_names(stage: Stage) -> None:
    """Write one content under three names."""
    held = stage.promise(stage.new(), "triple")
    for name in ("one.tif", "two.tif", "deep/three.tif"):
        stage.path(name).write_bytes(held)


def renamed_later(stage: Stage) -> None:
    """Rename at some time, perhaps while it is read."""
    for number in range(5):
        path = stage.path(f"old{number}.png")
        path.write_bytes(stage.promise(stage.new(".png"), f"new{number}.png"))
        stage.pause(stage.rng.uniform(0.2, 2.5))
        path.rename(stage.path(f"new{number}.png"))


def renamed_in_case(stage: Stage) -> None:
    """Change only the case of a name."""
    path = stage.path("Case.png")
    path.write_bytes(stage.promise(stage.new(".png"), "case.PNG"))
    stage.pause(1.5)
    path.rename(stage.path("case.PNG"))


def twins(stage: Stage) -> None:
    """Lay different pictures under names that differ in case or spelling alone."""
    for name in ("Twin.png", "twin.png", "TWIN.PNG", "gr\u00f6sse.png", "gro\u0308sse.png"):
        stage.path(name).write_bytes(stage.promise(stage.new(".png"), ascii(name)))


def moved_to_another_source(stage: Stage) -> None:
    """Move files into another source's folder, before or after they are taken."""
    for number in range(4):
        held = stage.promise(stage.new(".png"), f"{number}.png")
        path = stage.path(f"{number}.png")
        path.write_bytes(held)
        stage.pause(stage.rng.uniform(0.3, 2))
        path.rename(stage.beside / f"from-{stage.folder.name}-{number}.png")


def same_content_in_two_sources(stage: Stage) -> None:
    """Export one content at two microscopes at once."""
    for number in range(4):
        held = stage.promise(stage.new(".png"), f"both{number}.png")
        for folder in (stage.folder, stage.beside):
            (folder / f"{stage.folder.name}-both{number}.png").write_bytes(held)


def overwritten(stage: Stage) -> None:
    """Write a name anew at some time, perhaps while it is read."""
    for number in range(4):
        path = stage.path(f"over{number}.tif")
        for _ in range(3):
            path.write_bytes(stage.allow(stage.new(".tif")))
            stage.pause(stage.rng.uniform(0.6, 1.4))
        path.write_bytes(stage.promise(stage.new(".tif"), path.name))


def deleted(stage: Stage) -> None:
    """Delete at some time, perhaps while it is read."""
    for number in range(5):
        path = stage.path(f"gone{number}.png")
        path.write_bytes(stage.allow(stage.new(".png")))
        stage.pause(stage.rng.uniform(0.5, 1.5))
        path.unlink()


def deleted_and_back(stage: Stage) -> None:
    """Remove a file for a while and restore it unchanged."""
    path = stage.path("back.png")
    path.write_bytes(stage.promise(stage.new(".png"), path.name))
    aside = stage.path("back.png.tmp")
    stage.pause(stage.rng.uniform(0.5, 1.5))
    path.rename(aside)
    stage.pause(2)
    aside.rename(path)


def odd_names(stage: Stage) -> None:
    """Use every name a person can type, and one that is no text."""
    names = [
        "größe ü.tif", "漢字.png", "😀 emoji.jpg", "trailing dot..png", " leading.png",
        "new\nline.png", "quote'\".png", "percent%20.png", "x" * 240 + ".png", "UPPER.TIF",
        "a" * 100 + "/" + "b" * 100 + "/" + "c" * 100 + "/deep.png", "dot.png.", "blank.png ",
    ]  # fmt: skip
    for name in names:
        suffix = "." + name.rstrip(" .").rpartition(".")[2].lower()
        stage.path(name).write_bytes(stage.promise(stage.new(suffix), name))
    raw = os.fsencode(stage.folder) + b"/latin-\xe9\xff.png"
    Path(os.fsdecode(raw)).write_bytes(stage.promise(stage.new(".png"), "no text"))


def odd_times(stage: Stage) -> None:
    """Set the times of files to 1970, 2038 and the far future."""
    in_an_hour = int(time.time()) + 3600
    dates = (0, 1, -(10**9), in_an_hour, 2**31 + 5, 4_000_000_000, 10_400_000_000, 13_000_000_000)
    for number, at in enumerate(dates):
        path = stage.path(f"time{number}.png")
        path.write_bytes(stage.promise(stage.new(".png"), path.name))
        os.utime(path, (at, at))


def links(stage: Stage) -> None:
    """Lay links: loops, out of the root, dangling, hard ones."""
    outside = stage.source.with_name(f"outside-{stage.folder.name}")
    outside.mkdir(exist_ok=True)
    (outside / "secret.png").write_bytes(stage.new(".png"))
    stage.path("loop.png").symlink_to("loop.png")
    stage.path("out").symlink_to(outside)
    stage.path("out.png").symlink_to(outside / "secret.png")
    stage.path("dangling.png").symlink_to("nowhere.png")
    stage.path("round").symlink_to(stage.folder)
    path = stage.path("real.png")
    path.write_bytes(stage.promise(stage.new(".png"), "real.png"))
    os.link(path, stage.path("hard.png"))


def junk(stage: Stage) -> None:
    """Leave what systems leave; nothing of it is a micrograph."""
    for name in (".hidden.png", "._a.png", "~$a.png", "Thumbs.db", "a.png.part", "@eaDir/a.png"):
        stage.path(name).write_bytes(stage.new(".png"))
    for name in ("notes.txt", "list.xml", "noextension"):
        stage.path(name).write_bytes(b"not a picture")
    stage.path("real.png").write_bytes(stage.promise(stage.new(".png"), "real.png"))


def odd_forms(stage: Stage) -> None:
    """Use 16 bit, a palette, RGBA, tiles, several pages."""
    for suffix in (".16.tif", ".palette.tif", ".rgba.png", ".tiles.tif", ".pages.tif", ".lzw.tif"):
        stage.path(f"form{suffix}").write_bytes(stage.promise(stage.new(suffix), suffix))


def broken(stage: Stage) -> None:
    """Leave files that are no use, among good ones."""
    whole = stage.new(".jpg")
    stage.path("cut.jpg").write_bytes(whole[: len(whole) // 2])
    stage.path("noise.tif").write_bytes(os.urandom(3000))
    stage.path("text.png").write_bytes(b"this is no picture at all, only its name says so")
    stage.path("empty.png").touch()
    png = stage.new(".png")
    stage.path("flipped.png").write_bytes(png[:200] + bytes(50) + png[250:])
    stage.path("good.png").write_bytes(stage.promise(stage.new(".png"), "good.png"))


def opened_again(stage: Stage) -> None:
    """Open and close many times for one file, as scanners do."""
    held = stage.promise(stage.new(".tif"), "scanner.tif")
    path = stage.path("scanner.tif")
    for part in range(1, 9):
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(held[: len(held) * part // 8])
        stage.pause(0.5)


def touched(stage: Stage) -> None:
    """Touch and change rights of files that were taken long ago."""
    path = stage.path("touched.png")
    path.write_bytes(stage.promise(stage.new(".png"), path.name))
    for _ in range(4):
        stage.pause(1.5)
        os.utime(path)
        path.chmod(0o600)
        path.chmod(0o644)


def burst(stage: Stage) -> None:
    """Copy many files at once."""
    for number in range(max(120, stage.crowd // 2)):
        held = stage.promise(stage.new(".png"), f"burst{number}")
        stage.path(f"{number % 7}/burst{number:03}.png").write_bytes(held)


def root_away(stage: Stage) -> None:
    """Remove the whole root for some seconds and restore it with more in it."""
    stage.path("before.png").write_bytes(stage.promise(stage.new(".png"), "before.png"))
    stage.pause(stage.rng.uniform(0.5, 2))
    aside = stage.source.with_name(f"{stage.source.name}-away")
    stage.source.rename(aside)
    time.sleep(ROOT_WAS_AWAY_S)
    (aside / "while-away.png").write_bytes(stage.promise(stage.new(".png"), "while-away.png"))
    aside.rename(stage.source)


def root_emptied(stage: Stage) -> None:
    """Show an empty root for some seconds, as a mount point without its mount does."""
    stage.path("mounted.png").write_bytes(stage.promise(stage.new(".png"), "mounted.png"))
    stage.pause(stage.rng.uniform(1.5, 3))
    aside = stage.source.with_name(f"{stage.source.name}-unmounted")
    stage.source.rename(aside)
    stage.source.mkdir()
    time.sleep(ROOT_WAS_AWAY_S)
    stage.source.rmdir()
    aside.rename(stage.source)
    stage.path("again.png").write_bytes(stage.promise(stage.new(".png"), "again.png"))


def rights_withheld(stage: Stage) -> None:
    """Forbid reading a file and a folder, and allow it later."""
    path = stage.path("secret.png")
    path.write_bytes(stage.promise(stage.new(".png"), "secret.png"))
    path.chmod(0)
    below = stage.path("closed/inside.png")
    below.write_bytes(stage.promise(stage.new(".png"), "inside.png"))
    stage.pause(stage.rng.uniform(0, 2))
    below.parent.chmod(0)
    stage.pause(5)
    path.chmod(0o644)
    below.parent.chmod(0o755)


def second_agent(stage: Stage) -> None:
    """Start another agent on the same data folder: one of them goes away by itself."""
    for number in range(4):
        name = f"second{number}.png"
        stage.path(name).write_bytes(stage.promise(stage.new(".png"), name))
        call = [sys.executable, "-m", "agent", "--config", str(stage.settings), "run", "--once"]
        with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
            time.sleep(stage.rng.uniform(1, 6))
            other.kill()


def database_away(stage: Stage) -> None:
    """Make the database unavailable for some seconds while files arrive."""
    with stage.database.away():
        for number in range(3):
            name = f"away{number}.png"
            stage.path(name).write_bytes(stage.promise(stage.new(".png"), name))
        time.sleep(AWAY_S)


SCENARIOS: dict[str, Callable[[Stage], None]] = {
    scenario.__name__: scenario
    for scenario in (
        slow_writer, steady_writer, placeholder, preallocated, filled_with_zeros, last_byte_late,
        overwritten_in_place, kept_open, out_of_order, mapped, appended, written_anew_slowly,
        replaced_at_once, linked_into_place,
        copied_with_its_date, renamed_into_place, folder_moved_in, folder_renamed_later,
        folder_deleted, same_name_new_content, same_content_three_names,
        same_content_in_two_sources, moved_to_another_source, renamed_later, renamed_in_case,
        twins, overwritten, deleted, deleted_and_back, odd_names, odd_times, links, junk,
        odd_forms, broken, opened_again, touched, burst, root_away, root_emptied,
        rights_withheld, second_agent, database_away,
    )
}  # fmt: skip
OWN_SOURCE = ("root_away", "root_emptied")
SHARED_SOURCES = 10


# --- the agent ----------------------------------------------------------------------------------


_WITHOUT_RIGHTS = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("setpriv")
    else []
)
"""Root may read anything; the agent of this run may not."""

PC = """
import platform, sys
name = sys.argv.pop(1)
platform.node = lambda: name
from agent.cli import main
main()
"""
"""The agent of a PC of another name."""


class Agent:
    """The real agent, started, killed, started.

    Args:
        folder: Where its settings file `NAME.toml` lies.
        name: Of that file, and of its PC if it is not "agent".
    """

    def __init__(self, folder: Path, name: str = "agent") -> None:
        self.settings = folder / f"{name}.toml"
        self._log = folder / f"{name}-stderr.txt"
        self._program = ["-m", "agent"] if name == "agent" else ["-c", PC, name]
        self._process: subprocess.Popen[bytes] | None = None
        self._size = 0
        self.deaths = 0
        """How often it died by itself."""

    def start(self) -> None:
        """Start it."""
        command = [*_WITHOUT_RIGHTS, sys.executable, *self._program]
        command += ["--config", str(self.settings)]
        self._size = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as file:
            self._process = subprocess.Popen([*command, "run"], stderr=file)

    def wait_until_ready(self) -> None:
        """Wait until it says where its page is, or long enough."""
        ends_s = time.monotonic() + STARTS_S
        while time.monotonic() < ends_s and self.is_alive():
            if b"review page" in self._log.read_bytes()[self._size :]:
                return
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it, whatever it does."""
        if self._process is None:
            return
        if self._process.poll() not in (None, REFUSED):
            self.deaths += 1
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> bool:
        """Stop it; return whether it ended in time."""
        if self._process is None or self._process.poll() is not None:
            self.deaths += 1
            return False
        self._process.terminate()
        try:
            return self._process.wait(AGENT_ENDS_S) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            return False


@dataclass
class Plan:
    """What a run does."""

    rounds: int = 3
    kills: int = 100
    seed: int = 0
    quiet_s: float = 1.0
    only: tuple[str, ...] = ()
    crowd: int = 500
    lives_s: tuple[float, float] = (0.0, 6.0)
    """How long the agent may live, two times in three counted from when it is ready."""
    postgresql: bool = False

    def names(self) -> list[str]:
        """Return the scenarios that run."""
        return [name for name in SCENARIOS if not self.only or name in self.only]


@dataclass
class Tally:
    """What became of one scenario's contents."""

    expected: int = 0
    once: int = 0
    twice: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """How a run ended."""

    tallies: dict[str, Tally]
    half_written: list[str]
    deaths: int
    kills: int
    ended_well: bool
    settled_s: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, taken twice or half-written, and the agent lived."""
        return (
            not self.half_written
            and not self.deaths
            and self.ended_well
            and all(not t.lost and not t.twice for t in self.tallies.values())
        )


def run(folder: Path, plan: Plan) -> Verdict:
    """Play every scenario in every round, killing the agents on the way."""
    with closing(_database(folder, plan)) as database:
        return _run(folder, plan, database)


def _database(folder: Path, plan: Plan) -> Sqlite | Server:
    if not plan.postgresql:
        return Sqlite(folder / "data" / "martensight.db")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from servers.databases import Postgres  # noqa: PLC0415 - only with --postgresql

    (place := folder / "server").mkdir()
    folder.chmod(0o755)  # the server runs as a user of its own
    return Server(Postgres(place))


def _run(folder: Path, plan: Plan, database: Sqlite | Server) -> Verdict:
    rng = random.Random(plan.seed)
    contents = Contents(plan.seed)
    stages = list(_stages(folder, plan, contents, database))
    sources = sorted({place for _, stage in stages for place in (stage.source, stage.beside)})
    agents = _agents(folder, plan, sources, database.url)
    for agent in agents:
        agent.start()
    players = [threading.Thread(target=SCENARIOS[name], args=(stage,)) for name, stage in stages]
    for player in players:
        player.start()
        time.sleep(rng.uniform(0, 0.3))
    kills = _kill_while(agents, players, rng, plan)
    began_s = time.monotonic()
    _settle(database, agents, stages)
    settled_s = time.monotonic() - began_s
    ended = [agent.end() for agent in agents]
    deaths = sum(agent.deaths for agent in agents)
    return _judge(database, stages, deaths, kills, ended_well=all(ended), settled_s=settled_s)


def _agents(folder: Path, plan: Plan, sources: list[Path], url: str) -> list[Agent]:
    """One on every source; or two of one site on one half of them, and one of another site."""
    half = len(sources) // 2
    lay = {"agent": ("Plant 1", sources)} if not plan.postgresql else {
        "PC-1": ("Plant 1", sources[:half]),
        "PC-2": ("Plant 1", sources[:half]),
        "PC-3": ("Plant 2", sources[half:]),
    }  # fmt: skip
    for name, (site, some) in lay.items():
        _write_settings(folder / f"{name}.toml", plan, site, url, some)
    return [Agent(folder, name) for name in lay]


def _stages(
    folder: Path, plan: Plan, contents: Contents, database: Sqlite | Server
) -> Iterator[tuple[str, Stage]]:
    settings = folder / ("PC-1.toml" if plan.postgresql else "agent.toml")
    for round_ in range(plan.rounds):
        for name in plan.names():
            own = name in OWN_SOURCE
            number = plan.names().index(name)
            source = folder / (f"{name}-{round_}" if own else f"export-{number % SHARED_SOURCES}")
            beside = folder / f"export-{(number + 1) % SHARED_SOURCES}"
            place = source if own else source / f"{name}-{round_}"
            for made in (place, beside):
                made.mkdir(parents=True, exist_ok=True)
            rng = random.Random(f"{plan.seed}/{round_}/{name}")
            stage = Stage(
                place, source, plan.quiet_s, rng, contents, database, settings, beside, plan.crowd
            )
            yield name, stage


def _write_settings(file: Path, plan: Plan, site: str, url: str, sources: list[Path]) -> None:
    text = f'[site]\nname = "{site}"\n[store]\nfolder = "data"\nurl = "{url}"\n'
    text += "[web]\nport = 0\n[imaging]\nworkers = 1\n"
    for source in sources:
        text += f'[[sources]]\nname = "{source.name}"\nfolder = "{source}"\n'
        text += f"quiet_s = {plan.quiet_s}\nscan_every_s = 5\n"
    file.write_text(text, encoding="utf-8")


def _kill_while(
    agents: list[Agent], players: list[threading.Thread], rng: random.Random, plan: Plan
) -> int:
    """Kill and start again at random moments, at least until every exporter is done."""
    kills = 0
    while kills < plan.kills:
        agent = rng.choice(agents)
        if kills % 3:
            agent.wait_until_ready()
        time.sleep(rng.uniform(*plan.lives_s))
        agent.kill()
        kills += 1
        agent.start()
    for player in players:
        player.join()
    return kills


def _settle(
    database: Sqlite | Server, agents: list[Agent], stages: list[tuple[str, Stage]]
) -> None:
    """Wait until every expected content is done, or the deadline says that it is lost."""
    ends_s, before = time.monotonic() + IDLE_S, -1
    expected = {sha for _, stage in stages for sha in stage.expected}
    quiet_s = stages[0][1].quiet_s
    while time.monotonic() < ends_s:
        done = _done(database)
        if expected <= done.keys() and not database.ask(OPEN):
            break
        if len(done) != before:
            before, ends_s = len(done), time.monotonic() + IDLE_S
        for agent in agents:
            if not agent.is_alive():
                agent.kill()
                agent.start()
        time.sleep(0.5)
    time.sleep(3 * quiet_s)  # what would be taken twice is taken now


OPEN = "SELECT id FROM content WHERE state IN ('settling', 'queued', 'processing') LIMIT 1"
RESULTS = (
    "SELECT micrograph.sha256, COUNT(*) FROM result JOIN micrograph"
    " ON micrograph.id = result.micrograph_id WHERE micrograph.page = 0"
    " GROUP BY micrograph.sha256"
)


def _done(database: Sqlite | Server) -> Counter[str]:
    return Counter(
        sha for (sha,) in database.ask("SELECT sha256 FROM content WHERE state = 'done'")
    )


def _judge(
    database: Sqlite | Server,
    stages: list[tuple[str, Stage]],
    deaths: int,
    kills: int,
    *,
    ended_well: bool,
    settled_s: float,
) -> Verdict:
    done = _done(database)
    results = Counter(dict(database.ask(RESULTS)))
    tallies: dict[str, Tally] = defaultdict(Tally)
    whole: set[str] = set()
    for name, stage in stages:
        tally = tallies[name]
        whole |= stage.expected.keys() | stage.allowed
        for sha, file in stage.expected.items():
            tally.expected += 1
            if done[sha] == results[sha] == 1:
                tally.once += 1
            elif done[sha] > 1 or results[sha] > 1:
                tally.twice += 1
            else:
                tally.lost.append(f"{stage.folder.name}/{file}")
    half = [sha for sha in {*done, *results} if sha not in whole]
    return Verdict(dict(tallies), half, deaths, kills, ended_well, settled_s)


def say(verdict: Verdict) -> None:
    """Print the table."""
    print(f"{'scenario':28}{'expected':>10}{'once':>8}{'twice':>8}{'lost':>8}")
    total = Tally()
    for name, tally in verdict.tallies.items():
        lost = len(tally.lost)
        print(f"{name:28}{tally.expected:10}{tally.once:8}{tally.twice:8}{lost:8}")
        total.expected += tally.expected
        total.once += tally.once
        total.twice += tally.twice
        total.lost += tally.lost
    print(
        f"{'all':28}{total.expected:10}{total.once:8}{total.twice:8}{len(total.lost):8}\n"
        f"half-written {len(verdict.half_written)}, died by itself {verdict.deaths}, "
        f"killed {verdict.kills} times, stopped well when asked: {verdict.ended_well}, "
        f"settled after {verdict.settled_s:.0f} s"
    )
    for name in total.lost:
        print(f"lost: {name!r}")


def main() -> None:
    """Read the arguments, run, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet-s", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--crowd", type=int, default=500, help="files of a folder moved in whole")
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stress-"))
    plan = Plan(
        given.rounds,
        given.kills,
        given.seed,
        given.quiet_s,
        tuple(given.only),
        given.crowd,
        postgresql=given.postgresql,
    )
    verdict = run(folder, plan)
    say(verdict)
    if given.keep:
        print(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if verdict.is_clean else 3)


if __name__ == "__main__":
    main()
