"""How long a night's report takes and weighs, and how long a page of the review.

Run it: `python tests/bench/pages.py [MICROGRAPHS]`; a fifth of them is flagged. The report is
written by `agent report`, so that its time and memory are those of the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, Lab, minutes, web_of

from agent.archive import Archive
from agent.demo.micrograph import draw_micrograph
from agent.imaging.crop import Crop
from agent.web import create_app

PAGES = ("/review", "/review/{id}", "/pictures/{id}/crop.jpg", "/pictures/{id}/size.png")
CODES = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")


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
    """Store micrographs, a fifth of them flagged; eight drawn fields stand for all."""
    lab.archive = Linking(lab.folder)
    drawn = [draw_micrograph(code, seed=n, size=(800, 600)).pixels for n, code in enumerate(CODES)]
    flagged = []
    for n in range(count):
        reasons = ("strange",) if n % 5 == 0 else ()
        which = n % len(CODES)
        at = minutes(n / count * 600)
        public_id = lab.take(CODES[which], at=at, pixels=drawn[which], reasons=reasons)
        flagged += [public_id] if reasons else []
    return flagged


def report(lab: Lab) -> None:
    """Write the night's report by its command and print what that took, start and all."""
    settings = lab.folder / "agent.toml"
    settings.write_text('[site]\nname = "Plant 1"\n[store]\nfolder = "."\n', encoding="utf-8")
    command = (sys.executable, "-m", "agent", "--config", str(settings), "report", "--date")
    began_s = time.perf_counter()
    _, status, used = os.wait4(subprocess.Popen([*command, f"{DAY:%Y-%m-%d}"]).pid, 0)
    took_s = time.perf_counter() - began_s
    first, more = lab.reports / f"{DAY:%Y-%m-%d}.html", list(lab.reports.rglob("*/page-*.html"))
    sizes_mb = [page.stat().st_size / 1e6 for page in more]
    print(f"  {took_s:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, exit code {status}")
    print(f"  peak memory {used.ru_maxrss / 1024:.0f} MB")
    print(
        f"  first page {first.stat().st_size / 1e6:.2f} MB; {len(more)} overflow pages, the "
        f"heaviest {max(sizes_mb, default=0):.2f} MB, together {sum(sizes_mb):.0f} MB"
    )


def main(count: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.compares_places = False
        flagged = fill(lab, count)
        print(f"report of {count} micrographs, {len(flagged)} flagged", flush=True)
        report(lab)
        time_pages(lab, flagged)
        lab.store.close()


def time_pages(lab: Lab, flagged: list[str]) -> None:
    """Print how long each page takes, median of nine."""
    with TestClient(create_app(web_of(lab, at=DAY)), base_url=HOME) as browser:
        for page in PAGES:
            took = []
            for public_id in flagged[:10]:
                began_s = time.perf_counter()
                assert browser.get(page.format(id=public_id)).status_code == 200
                took.append(time.perf_counter() - began_s)
            print(f"  {page}: median {np.median(took[1:]) * 1000:.0f} ms, n = {len(took) - 1}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
