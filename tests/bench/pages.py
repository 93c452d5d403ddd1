"""How long a night's report takes and weighs, and how long a page of the review.

Run it: `python tests/bench/pages.py [MICROGRAPHS]`; a fifth of them is flagged. The report is
written by a process of its own, as `agent report` does, so that its memory is no one else's.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastapi.testclient import TestClient
from lab import DAY, HOME, SETTINGS, Lab, desk_of, minutes

from agent.archive import Archive
from agent.demo.drawing import draw
from agent.night import write_report
from agent.web import create_app

if TYPE_CHECKING:
    from agent.imaging.crop import Crop

PAGES = ("/review", "/review/{id}", "/pictures/{id}/crop.jpg", "/pictures/{id}/size.png")
CODES = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")
REPORT = "--report"


class Linking(Archive):
    """An archive that encodes the same pixels once: filling it is not what is measured."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._first: dict[int, tuple[str, dict[str, str]]] = {}

    def keep(self, crop: Crop) -> dict[str, str]:
        """Keep a crop, as links to the files of the first one with these pixels."""
        if id(crop.pixels) not in self._first:
            self._first[id(crop.pixels)] = crop.sha256, super().keep(crop)
        first, hashes = self._first[id(crop.pixels)]
        for path in self.of(first, 0) if first != crop.sha256 else ():
            if "maps" not in path.name:
                other = (
                    self.folder / "crops" / crop.sha256[:2] / path.name.replace(first, crop.sha256)
                )
                other.parent.mkdir(exist_ok=True)
                os.link(path, other)
        return hashes


def fill(lab: Lab, count: int) -> list[str]:
    """Take micrographs in, a fifth of them flagged; eight drawn fields stand for all."""
    lab.archive = Linking(lab.folder)
    drawn = [draw(code, seed=n, size=(800, 600)).pixels for n, code in enumerate(CODES)]
    flagged = []
    for n in range(count):
        reasons = ("strange",) if n % 5 == 0 else ()
        which = n % len(CODES)
        at = minutes(n / count * 600)
        public_id = lab.take(CODES[which], at=at, pixels=drawn[which], reasons=reasons)
        flagged += [public_id] if reasons else []
    return flagged


def report(folder: Path) -> None:
    """Write the night's report and print what that took."""
    lab = Lab(folder)
    idle_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began_s, cpu_s = time.perf_counter(), time.process_time()
    written = write_report(
        lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=minutes(1200)
    )
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sizes_mb = [page.stat().st_size / 1e6 for page in lab.reports.rglob("2026*/*.html")]
    print(f"  {written.summary.headline}: {took_s:.1f} s, {cpu_s:.1f} s of CPU")
    print(f"  peak memory {peak_mb:.0f} MB, of which {idle_mb:.0f} MB before it began")
    print(
        f"  first page {written.path.stat().st_size / 1e6:.2f} MB; {len(sizes_mb)} overflow pages, "
        f"the heaviest {max(sizes_mb, default=0):.2f} MB, together {sum(sizes_mb):.0f} MB"
    )
    lab.store.close()


def main(count: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        flagged = fill(lab, count)
        print(f"report of {count} micrographs, {len(flagged)} flagged", flush=True)
        subprocess.run([sys.executable, __file__, REPORT, folder], check=True)
        time_pages(lab, flagged)
        lab.store.close()


def time_pages(lab: Lab, flagged: list[str]) -> None:
    """Print how long each page takes, median of nine."""
    with TestClient(create_app(desk_of(lab, at=DAY)), base_url=HOME) as browser:
        for page in PAGES:
            took = []
            for public_id in flagged[:10]:
                began_s = time.perf_counter()
                assert browser.get(page.format(id=public_id)).status_code == 200
                took.append(time.perf_counter() - began_s)
            print(f"  {page}: median {np.median(took[1:]) * 1000:.0f} ms, n = {len(took) - 1}")


if __name__ == "__main__":
    if sys.argv[1:2] == [REPORT]:
        report(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
