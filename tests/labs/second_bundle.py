"""Micrographs without pixels, and what a second bundle answers about them without a network."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, text

from agent.store import MicrographResult, MicrographView, Store
from agent.triage import Handling, TriageVerdict
from agent.watch import ListedFile
from labs.predictions import prediction_of

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
OLD, NEW = "20261101-0badcafe", "20261125-beefbeef"
SURE = TriageVerdict(Handling.AUTOMATIC, ())


def fill(store: Store, n: int, *, source: str = "LOM-07", at: datetime = AT) -> None:
    """Store micrographs of the bundle in use, without pixels."""
    prediction = replace(prediction_of("G8"), bundle=OLD, structure_code="G8")
    names = [f"{store.site}-{source}-{number}.tif" for number in range(n)]
    store.files.add([ListedFile(source, Path("/export"), name, 10, 1) for name in names], at=at)
    for claim in store.work_queue.claim(n, at=at, lease_s=60):
        sha256 = hashlib.sha256(f"{store.site}{claim.relative}".encode()).hexdigest()
        facts = {
            "id": sha256[:16], "sha256": sha256, "page": 0, "width": 100, "height": 80,
            "um_per_px": 0.1, "um_per_px_source": "metadata", "crop": [0, 0, 100, 80],
            "recipe": "1", "warnings": [],
        }  # fmt: skip
        found = MicrographResult(facts, {}, {}, prediction, SURE)
        assert store.work_queue.finish(claim, [found], at=at)


@dataclass
class Judge:
    """A judge without a network: it counts, and calls `before` with the views of each batch."""

    before: Callable[[Sequence[MicrographView]], None] = lambda _views: None
    seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, views: Sequence[MicrographView]) -> list[MicrographResult | str]:
        self.before(views)
        self.seen.update(view.id for view in views)
        prediction = replace(prediction_of("G7"), bundle=NEW)
        return [MicrographResult({}, {}, {}, prediction, SURE) for _ in views]


def count_answers(address: str) -> tuple[int, int]:
    """Count rows of the new bundle, and micrographs that have one, past every repository."""
    engine = create_engine(address)
    query = "SELECT count(*), count(DISTINCT micrograph_id) FROM result WHERE bundle = :bundle"
    with engine.connect() as connection:
        rows, micrographs = connection.execute(text(query), {"bundle": NEW}).one()
    engine.dispose()
    return rows, micrographs
