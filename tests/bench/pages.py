"""How long a night's report takes and weighs, and how long a page of the review.

Run it: `python tests/bench/pages.py [MICROGRAPHS]`; a fifth of them is flagged.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastapi.testclient import TestClient
from lab import DAY, HOME, SETTINGS, Lab, desk_of, minutes

from agent.demo.drawing import draw
from agent.night import write_report
from agent.web import create_app

PAGES = ("/review", "/review/{id}", "/pictures/{id}/crop.jpg", "/pictures/{id}/size.png")


def fill(lab: Lab, count: int) -> list[str]:
    """Take micrographs in, a fifth of them flagged; eight drawn fields, shifted, stand for all."""
    drawn = [draw(code, seed=n, size=(800, 600)).pixels for n, code in enumerate(CODES)]
    flagged = []
    for n in range(count):
        pixels = np.roll(drawn[n % len(drawn)], n, axis=1)
        reasons = ("strange",) if n % 5 == 0 else ()
        public_id = lab.take(
            CODES[n % len(CODES)], at=minutes(n / count * 600), pixels=pixels, reasons=reasons
        )
        flagged += [public_id] if reasons else []
    return flagged


CODES = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")


def main(count: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        flagged = fill(lab, count)
        began_s, cpu_s = time.perf_counter(), time.process_time()
        written = write_report(
            lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=minutes(1200)
        )
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        pages = sorted(lab.reports.rglob("*.html"))
        print(f"report of {count} micrographs, {len(flagged)} flagged")
        print(f"  {took_s:.1f} s, {cpu_s:.1f} s of CPU")
        for page in pages:
            print(f"  {page.relative_to(lab.reports)}: {page.stat().st_size / 1e6:.2f} MB")
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {written.summary.headline}; peak memory of the process {peak_mb:.0f} MB")
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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
