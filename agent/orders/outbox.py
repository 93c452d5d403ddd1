"""Lay what was found of an order into a folder from which a LIMS takes it.

In:  the store, what the lab has laid down, a folder. Out: a JSON and a CSV file per state. Next: a
LIMS, which may take them away at once.
Each revision of an order has an id made from its number and what it says; a state that holds is
written once. What an order says later is the next revision, also where it takes back what was said.
First a record says what is to be written, then the files are written whole, then a record says so:
killed in between, the next round writes the same bytes under the same name, and a LIMS that knows
the id has them already.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.archive import write_whole
from agent.orders.assessment import assess_recent
from agent.orders.document import document_of
from agent.orders.statement import FINAL, lasting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.orders.assessment import Lab
    from agent.store import Record, Store
    from model import Taxonomy

OUTBOX, WRITTEN = "outbox", "outbox_written"
FORMATS = ("json", "csv")
COLUMNS = (
    "order",
    "revision",
    "id",
    "conformity",
    "specimen",
    "specimen_conformity",
    "field",
    "micrograph",
    "structure_code",
    "size_min",
    "size_max",
    "decided_by",
    "superseded",
)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One state of an order that is to be written.

    Args:
        number: Of the order. id: of the revision. revision: from 1. at: when it was found.
        state: Hash of what it says. is_new: it is not on record yet.
        document: As `agent order --json` says it.
    """

    number: str
    id: str
    revision: int
    at: datetime
    state: str
    is_new: bool
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of its files, without ending."""
        return f"{_safe(self.number)}-r{self.revision}-{self.id}"


def state_of(document: Mapping[str, Any]) -> str:
    """Say a hash of what a document says; what passes or merely moves is not in it.

    Args:
        document: As `agent order --json` says it.
    """
    return _hash(json.dumps(lasting(document), sort_keys=True, ensure_ascii=False))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dispatches(store: Store, lab: Lab, *, now: datetime) -> Iterator[Dispatch]:
    """Say what is to be written.

    An order that was never final is left alone; one that was and says something else now is not.
    """
    told, written = _latest(store.records.all(OUTBOX)), _latest(store.records.all(WRITTEN))
    for assessed in assess_recent(store, lab, now=now):
        number = assessed.view.number
        last = told.get(number)
        if last is None and assessed.statement.conformity not in FINAL:
            continue
        document = document_of(assessed)
        state = state_of(document)
        if last is not None and last.facts["state"] == state:
            done = written.get(number)
            if done is None or done.facts["id"] != last.facts["id"]:
                yield _told(last, document)
            continue
        revision = int(last.facts["revision"]) + 1 if last else 1
        # A state that comes back is told again: its revision is in the id.
        found = _hash(f"{number}\n{revision}\n{state}")
        yield Dispatch(number, found, revision, now, state, is_new=True, document=document)


def _latest(records: Sequence[Record]) -> dict[str, Record]:
    return {one.subject: one for one in records}


def _told(told: Record, document: Mapping[str, Any]) -> Dispatch:
    return Dispatch(
        number=told.subject,
        id=told.facts["id"],
        revision=told.facts["revision"],
        at=told.at,
        state=told.facts["state"],
        is_new=False,
        document=document,
    )


def write(
    store: Store,
    lab: Lab,
    folder: Path,
    *,
    formats: Sequence[str] = FORMATS,
    site: str,
    now: datetime,
) -> list[str]:
    """Write every state that is not there yet; the names of the files come back.

    Args:
        store: Open.
        lab: What is laid down for orders.
        folder: The outbox; it has to be there, since a share that is away is none.
        formats: Of `FORMATS`.
        site: Name of the site.
        now: Aware UTC.

    Raises:
        OSError: The folder cannot be seen or written; what was put on record is tried again.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder that can be seen")
    names: list[str] = []
    for one in dispatches(store, lab, now=now):
        if one.is_new:
            facts = {"id": one.id, "revision": one.revision, "state": one.state}
            store.records.add(OUTBOX, one.number, by="agent", at=one.at, facts=facts)
        files = {
            folder / f"{one.name}.{kind}": (
                _json(one, site) if kind == "json" else _csv(one, lab.taxonomy)
            )
            for kind in formats
        }
        write_whole(files)
        facts = {"id": one.id, "revision": one.revision}
        store.records.add(WRITTEN, one.number, by="agent", at=now, facts=facts)
        names += [path.name for path in files]
    return names


def _json(one: Dispatch, site: str) -> bytes:
    said = {
        "id": one.id,
        "revision": one.revision,
        "found_at": one.at.isoformat(),
        "site": site,
        **one.document,
    }
    return json.dumps(said, indent=1, ensure_ascii=False).encode() + b"\n"


def _csv(one: Dispatch, taxonomy: Taxonomy) -> bytes:
    held = io.StringIO()
    writer = csv.DictWriter(held, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    head = {
        "order": one.number,
        "revision": one.revision,
        "id": one.id,
        "conformity": one.document["conformity"],
    }
    rows = list(_rows(one.document, taxonomy)) or [{}]
    writer.writerows({key: _cell(value) for key, value in (head | row).items()} for row in rows)
    return held.getvalue().encode()


def _rows(document: Mapping[str, Any], taxonomy: Taxonomy) -> Iterator[dict[str, object]]:
    for specimen in document["specimens"]:
        own = {
            "specimen": specimen["specimen"],
            "specimen_conformity": specimen["conformity"],
        }
        fields = [(one, "") for one in specimen["fields"]]
        fields += [(one, one["superseded"]["reason"]) for one in specimen["superseded"]]
        for field, gone in fields:
            decided = field["decided"] or {}
            code = decided["said"] if decided.get("kind") == "code" else field["structure_code"]
            yield own | {
                "field": field["field"],
                "micrograph": field["id"],
                "structure_code": code,
                **_bounds(code, taxonomy),
                "decided_by": decided.get("by"),
                "superseded": gone,
            }


def _bounds(code: str | None, taxonomy: Taxonomy) -> dict[str, object]:
    if not code:
        return {}
    low, high = taxonomy.size_bounds(taxonomy.parse(code)[1])
    return {"size_min": low, "size_max": high}


def _cell(value: object) -> object:
    # A spreadsheet would run what begins like a formula.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _safe(number: str) -> str:
    plain = re.sub(r"[^\w-]", "_", number, flags=re.ASCII)[:60]
    # Two numbers that differ only in what a file name cannot hold are two names all the same.
    return plain if plain == number else f"{plain}-{_hash(number)[:6]}"
