"""A lab whose agent runs, with the pictures that it is given."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import cv2
import numpy as np

from agent import settings as settings_of
from agent.service import build_status, run_once
from agent.service.composition import open_store

DEADLINE_S = 240.0


def picture(seed=0, height=240, width=320):
    noise = np.random.default_rng(seed).normal(0, 40, (height, width))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", grey)[1].tobytes()


def until(condition, deadline_s=DEADLINE_S):
    """Wait for a condition; the deadline is only there to fail."""
    ends_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends_s, "it never came true"
        time.sleep(0.02)


class Lab:
    """A data folder, a source, and settings for them."""

    def __init__(self, folder):
        self.folder, self.source = folder, folder / "export"
        self.source.mkdir()
        self.file = folder / "agent.toml"
        self.write()

    def write(self, *, sources=("export",), extra="", port=0):
        text = f'[web]\nport = {port}\n[imaging]\nworkers = 1\n{extra}\n[store]\nfolder = "data"\n'
        for name in sources:
            text += f'[[sources]]\nname = "{name}"\nfolder = "{name}"\nquiet_s = 0.3\n'
        self.file.write_text(text, encoding="utf-8")

    @property
    def settings(self):
        return settings_of.read(self.file, {})

    def export(self, name, held=None):
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(len(name)) if held is None else held)
        return path

    def store(self):
        return open_store(self.settings)

    def fates(self):
        with self.store() as store:
            return {os.path.basename(fate.path): fate.state for fate in store.files.iter_status()}  # noqa: PTH119

    def status(self):
        now = datetime.now(UTC)
        return build_status(self.settings, now=now, open_store=self.store)

    def once(self, **given):
        with self.store() as store:
            return run_once(self.settings, store, **given)
