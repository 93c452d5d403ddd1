"""What the tests of work units share: micrographs without pixels, and judges without a network."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from predictions import prediction_of
from sqlalchemy import create_engine, text

from agent.retrain.unit_worker import UnitWorker
from agent.store import MicrographResult, Store, UnitAnswer
from agent.triage import Handling, TriageVerdict
from agent.watch import ListedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.store import MicrographView

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
OLD, NEW = "20261101-0badcafe", "20261125-beefbeef"
LEASE_S = 60.0
SURE = TriageVerdict(Handling.AUTOMATIC, ())


def fill(
    store: Store, n: int, *, source: str = "LOM-07", at: datetime = AT, code: str = "G8"
) -> None:
    """Store micrographs of the bundle in use, without pixels."""
    prediction = replace(prediction_of("G8"), bundle=OLD, structure_code=code)
    names = [f"{store.site}-{source}-{number}.tif" for number in range(n)]
    files = [ListedFile(source, Path("/export"), name, 10, 1) for name in names]
    store.files.add(files, at=at)
    for claim in store.work_queue.claim(n, at=at, lease_s=60):
        sha256 = hashlib.sha256(f"{store.site}{claim.relative}".encode()).hexdigest()
        facts = {
            "id": sha256[:16], "sha256": sha256, "page": 0, "width": 100, "height": 80,
            "um_per_px": 0.1, "um_per_px_source": "metadata", "crop": [0, 0, 100, 80],
            "recipe": "1", "warnings": [],
        }  # fmt: skip
        found = MicrographResult(facts, {}, {}, prediction, SURE)
        assert store.work_queue.finish(claim, [found], at=at)


def answer(view: MicrographView, code: str = "G7") -> UnitAnswer:
    """Answer about a micrograph with the new bundle."""
    prediction = replace(prediction_of(code), bundle=NEW)
    return UnitAnswer(view, MicrographResult({}, {}, {}, prediction, SURE))


@dataclass
class Judge:
    """A judge without a network: it counts, and calls `before` with the number of each batch."""

    before: Callable[[int], None] = lambda _batch: None
    seen: Counter[str] = field(default_factory=Counter)
    batches: int = 0

    def __call__(self, views: Sequence[MicrographView]) -> list[UnitAnswer]:
        self.batches += 1
        self.before(self.batches)
        self.seen.update(view.id for view in views)
        return [answer(view) for view in views]


def worker_of(
    store: Store, judge: Judge | None = None, *, late_s: float = 0.0, **how: object
) -> UnitWorker:
    """Make a worker whose clock shows `AT`, or later."""
    own = judge or Judge()
    given = {"has_bundle": lambda name: name == NEW, "has_crop": lambda _sha256, _page: False}
    return UnitWorker(
        store,
        open_judge=lambda _name: own,
        now=lambda: AT + timedelta(hours=1, seconds=late_s),
        lease_s=LEASE_S,
        pause=lambda _s: None,
        unit=256,
        **{**given, **how},
    )


def start(store: Store, *, unit: int = 32) -> int:
    """Request a job and make its units; its number comes back."""
    job = store.work_jobs.open(NEW, "reprocess", days=None, since=None, by="Ada", at=AT)
    while store.work_jobs.divide(job.id, unit=unit, at=AT):
        pass
    return job.id


def count_answers(address: str) -> tuple[int, int]:
    """Count rows of the new bundle, and micrographs that have one, past every repository."""
    engine = create_engine(address)
    query = "SELECT count(*), count(DISTINCT micrograph_id) FROM result WHERE bundle = :bundle"
    with engine.connect() as connection:
        rows, micrographs = connection.execute(text(query), {"bundle": NEW}).one()
    engine.dispose()
    return rows, micrographs
