"""The way of a file through stand-ins of the network and the pool."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np

from agent.archive import Archive
from agent.files.whole_file import open_regular
from agent.imaging import Crop, SpecimenArea
from agent.pipeline import Pipeline
from agent.store import Store
from agent.triage import Policy
from agent.watch import ListedFile
from agent.watch.listing import list_folder
from labs import lab
from model.runtime.engines import Engine

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.at = NOON

    def __call__(self):
        return self.at


class InProcessPool:
    """Reads and crops like the real pool, at this desk: a file is its own picture, whole.

    `faults` says what becomes of a file name instead; `meanwhile` is called before each file. Like
    a worker it has read the next file by the time it gives one.
    """

    workers = 1

    def __init__(self):
        self.faults, self.jobs, self.meanwhile = {}, [], lambda _: None
        self.metadata, self.is_ahead = {}, True

    def has_outcome(self):
        return self.is_ahead

    def crop_all(self, jobs):
        left, read = iter(jobs), deque()
        while True:
            while len(read) < 2 and (job := next(left, None)):
                read.append(self._read(*job))
            if not read:
                return
            self.meanwhile(read[0][0])
            yield read.popleft()

    def _read(self, path, scale):
        self.jobs.append((path.name, scale))
        try:
            return path, self.faults.get(path.name) or [self._crop(path, scale)]
        except OSError as error:
            return path, error

    def _crop(self, path, scale):
        with open_regular(path) as opened:
            held = opened.read()
        pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(held, np.uint8), 1), cv2.COLOR_BGR2RGB)
        height, width = pixels.shape[:2]
        return Crop(
            sha256=hashlib.sha256(held).hexdigest(),
            page=0,
            pages=1,
            width=width,
            height=height,
            format="PNG",
            um_per_px=scale or 0.2,
            um_per_px_source="settings" if scale else "metadata",
            scales=(),
            micron_bar=None,
            band=None,
            specimen_area=SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=()),
            box=(0, 0, width, height),
            recipe="test",
            warnings=(),
            pixels=pixels,
            valid=np.ones((height, width), bool),
            preview=pixels,
            metadata=dict(self.metadata),
        )


class Parrot:
    """A classifier that always says the same, or breaks on a field of a given width."""

    def __init__(self, name="20261101-0badcafe", code="G8", breaks_on=None):
        self.name, self._breaks_on, self.batches = name, breaks_on, []
        self.engine = Engine("pytorch", "cpu", "fp32")
        self._prediction = replace(lab.prediction_of(code), bundle=name)

    def classify(self, fields):
        self.batches.append(len(fields))
        if any(field.pixels.shape[1] == self._breaks_on for field in fields):
            raise ValueError("a field that breaks the network")
        return [self._prediction] * len(fields)


class Bench:
    """A source folder, a store, an archive and a pipeline around them."""

    def __init__(self, folder, archiving=None):
        self._archiving = archiving
        self.source = folder / "export"
        self.source.mkdir()
        self.clock, self.pool = Clock(), InProcessPool()
        self.store = Store.open("sqlite://", site="Plant 1", agent="PC")
        self.archive = Archive(folder / "data")
        self.pipeline = self.made()

    def made(self, **given):
        wanted = {
            "store": self.store,
            "archive": self.archive,
            "pool": self.pool,
            "classifier": Parrot(),
            "policy": Policy(control_share=0.0),
            "now": self.clock,
            "archiving": self._archiving,
        }
        return Pipeline(**(wanted | given))

    def export(self, name, seed=None, width=64):
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(name) if seed is None else seed)
        picture = rng.integers(0, 255, (48, width, 3), np.uint8)
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        return path

    def arrive(self):
        found = list_folder(self.source).pictures
        files = [ListedFile("LOM", self.source, name, *facts) for name, facts in found.items()]
        return self.store.files.add(sorted(files, key=lambda f: f.relative), at=self.clock())

    def take(self, n=16, **given):
        self.arrive()
        return self.pipeline.process_batch(n, **given)

    def fates(self):
        return {os.path.basename(fate.path): fate.state for fate in self.store.files.iter_status()}  # noqa: PTH119

    def views(self):
        return list(self.store.results.iter_all())
