"""Print how long the first page of the review takes when everything waits for a person.

    python tests/bench/open_queue.py                  100 000 open items in a SQLite file
    python tests/bench/open_queue.py --rows 20000

Median and worst wall clock of the whole answer, and this process's own CPU time, which a busy
machine does not stretch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fastapi.testclient import TestClient
from store import _timed, fill

from agent.archive import Archive
from agent.store import Store
from agent.web import Desk, create_app
from model import default_taxonomy

LIMIT_MS = 200


def main() -> None:
    """Fill, ask, print."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--rows", type=int, default=100_000)
    wanted.add_argument("--runs", type=int, default=21)
    told = wanted.parse_args()
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        with Store.open(f"sqlite:///{folder}/martensight.db", site="Plant 1", agent="PC") as store:
            fill(store, told.rows, waits="i > 0")
            desk = Desk(
                store=store,
                archive=Archive(folder),
                reports=folder / "reports",
                site="Plant 1",
                zone="UTC",
                taxonomy=default_taxonomy,
                now=lambda: datetime.now(UTC),
                status=dict,
            )
            with TestClient(create_app(desk), base_url="http://127.0.0.1:8787") as browser:
                first = store.review_queue.list_micrographs(limit=1)[0].id
                for path in ("/review", f"/review/{first}"):
                    middle, worst, cpu, found = _timed(
                        lambda _run, path=path: browser.get(path).status_code, told.runs
                    )
                    mark = "" if middle <= LIMIT_MS else f"  above {LIMIT_MS} ms"
                    print(
                        f"{store.review_queue.count()} open, {path[:8]}: median {middle:.0f} ms, "
                        f"worst {worst:.0f} ms, CPU {cpu:.0f} ms, answer {found}{mark}"
                    )


if __name__ == "__main__":
    main()
