"""Write the pair of files for the newest schema: after each change of it before a release."""

import json
import sqlite3
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))
sys.path.insert(0, str(HERE.parents[1]))

from drawn.needle_samples import measured  # noqa: E402 - beside us only after the line above
from labs.stored import OTHER, SHA, file, finding  # noqa: E402 - beside us only after the line above

from agent.store import (  # noqa: E402 - as above
    Decision,
    NewImage,
    NewNeedle,
    NewRater,
    NewStatement,
    Opinion,
    RingRules,
    Signature,
    StatementFile,
    Store,
    schema,
)
from agent.store.search import search_updates  # noqa: E402 - as above

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


def fill(store: Store) -> None:
    """Leave a row in every table that a release of this schema fills."""
    store.files.add([file("a.tif"), file("b.tif"), file("c.tif"), file("d.tif")], at=AT)
    first, second, third = store.work_queue.claim(3, at=AT, lease_s=60)
    store.work_queue.identify(first, SHA, at=AT)
    store.work_queue.finish(
        first, [finding(SHA, process={"order": "4711", "specimen": "3"})], at=AT
    )
    store.work_queue.identify(second, SHA, at=AT, is_there=lambda _: True)
    store.work_queue.fail(third, "ValueError: no idea", at=AT)
    store.files.add([file("a.tif", mtime=2)], at=AT)
    (fourth,) = [
        claim for claim in store.work_queue.claim(9, at=AT, lease_s=60) if claim.relative == "a.tif"
    ]
    needles = replace(finding(OTHER), needles=measured())
    store.work_queue.finish(fourth, [needles], at=AT + timedelta(minutes=5))
    store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8", comment="sure"), at=AT)
    store.labels.decide(OTHER[:16], Decision("strange", "Bob", strange_kind="scratch"), at=AT)
    store.labels.undo(OTHER[:16], by="Bob", at=AT)
    store.promotions.promote(
        "20261101-0badcafe", by="Ada", reason="first", at=AT, metrics={"n": 80}
    )
    state = {"number": 1, "previous": "", "conformity": "conforms", "state": "a.b", "final": True}
    said = {"order": "4711", "number": 1, "conformity": "conforms", "at": AT.isoformat()}
    store.statements.add(NewStatement(order="4711", document=said, **state), at=AT)
    (frozen,) = store.statements.all("4711")
    facts = {"kind": "pdf", "language": "en", "sha256": "a hash", "size_bytes": 3}
    store.statements.add_files(frozen, [StatementFile(statement_id=frozen.id, at=AT, **facts)])
    store.nightly_reports.freeze(AT.date(), '{"n": 2}', at=AT)
    store.accounts.add("Ada", kind="person", role="lead", hashed="a hash", by="Ada", at=AT)
    store.accounts.begin("Ada", cookie="another hash", at=AT)
    images, raters = [NewImage(SHA[:16], "G8")], [NewRater("R1", "Bob", account="Ada")]
    store.campaigns.add("spring", images, raters, taxonomy={}, seed=1, by="Ada", at=AT)
    store.campaigns.open("spring", by="Ada", at=AT)
    seat = store.campaigns.seat(name="spring", account="Ada")
    store.campaigns.rate(seat, 1, Opinion("G", "8", "mean"), at=AT)
    store.needle_measurements.add(
        SHA[:16], NewNeedle((10.0, 10.0), (90.0, 40.0), 0.2), by="Ada", at=AT
    )
    job = store.jobs.begin("shadow", at=AT, facts={"by": "Ada"})
    store.jobs.end(job, "done", at=AT, facts={"bundle": "20261101-beefbeef", "days": 9})
    store.agents.record_start(at=AT)
    store.promotions.sign(
        "20261102-cafebabe", Signature("Ada", "in rings", AT), metrics={"n": 80}, promoters=1,
        instead_of="20261101-0badcafe", rings=RingRules(("PC",)),
    )  # fmt: skip
    ticket = store.rollouts.find_wanted().ticket
    store.rollouts.record_answers(
        ticket, {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.9}}, at=AT
    )


def main() -> None:
    """Write them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "martensight.db"
        with Store.open(f"sqlite:///{path}", site="Plant 1", agent="PC") as store:
            fill(store)
            said = {
                "files": [fate.as_json() for fate in store.files.iter_status()],
                "micrographs": [view.id for view in store.results.iter_all()],
                "labelled": [one.label.code for one in store.labelled_micrographs.list_all()],
            }
        connection = sqlite3.connect(path)
        connection.execute(f"DROP TABLE {search_updates.WORDS}")  # made again; no dump can hold it
        dump = "\n".join(connection.iterdump()) + "\n"
        connection.close()
    (HERE / f"{schema.HEAD}.sql").write_text(dump, encoding="utf-8")
    (HERE / f"{schema.HEAD}.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
