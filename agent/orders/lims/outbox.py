"""Write every revision of an order into the outbox folder of the LIMS, in order, as JSON and CSV.

A round first freezes what changed and finds the statements that are new: a record keeps the
revision, the hash of its statement, its document and the content of its files, whether or not the
folder is available. Then it writes every recorded revision that was not written, per order the
oldest first, and records that. Killed anywhere in between, the next round writes the same bytes
under the same name, and a LIMS that knows the id has them already.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.files.csv_export import format_csv
from agent.files.whole_file import write_whole
from agent.orders.facts.open_items import OpenItems
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import Position, list_due
from agent.orders.lims.lost_conformity import is_held_back, read_losses
from agent.orders.lims.resumption import (
    SentRevision,
    SentRevisions,
    UnreadableNoteError,
    find_resumption,
    read_floors,
)
from agent.orders.statements.freezing import freeze_orders
from agent.orders.statements.statement_document import Issuer
from agent.store import FrozenStatement, NewRecord, Record, Store, number_key
from model import Taxonomy, TaxonomyError, taxonomy_from

JSON, CSV = "json", "csv"
FORMATS = (JSON, CSV)
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


def render_files(
    document: Mapping[str, Any],
    *,
    formats: Collection[str],
    revision_id: str,
    revision: int,
    found_at: datetime,
    site: str,
    taxonomy: Taxonomy,
    statement: str = "",
    epoch: str = "",
) -> dict[str, str]:
    """Return the content of each file of a revision.

    Args:
        document: Of the order, as `agent orders show --json` writes it.
        formats: Of `FORMATS`.
        revision_id: Id of the revision.
        revision: Its number, from 1.
        found_at: When the state was found, aware UTC.
        site: Name of the site.
        taxonomy: Gives the bounds of a size.
        statement: Hash of the statement that it comes from, "" where none was frozen.
        epoch: Names the restore of a back-up after which it comes, "" where there was none.

    Returns:
        Format → text.
    """
    head = {"id": revision_id, "revision": revision, "found_at": found_at.isoformat(), "site": site}
    texts = {}
    if JSON in formats:
        source = {"statement": statement} if statement else {}
        source |= {"epoch": epoch} if epoch else {}
        texts[JSON] = (
            json.dumps({**head, **source, **document}, indent=1, ensure_ascii=False) + "\n"
        )
    if CSV in formats:
        texts[CSV] = _render_csv(document, head, taxonomy)
    return texts


def require_not_taken(files: Mapping[Path, bytes], site: str) -> None:
    """Refuse to write over a delivered file; the same content may be written again.

    Raises:
        OSError: A file has the name and other content, or cannot be read.
    """
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            raise FileExistsError(
                f"{path} is there with other content, delivered by another site or database; site "
                f"{site!r} does not write over it. Compare [site] name and [orders] outbox in "
                "agent.toml with those of the delivered file"
            )


def _render_csv(document: Mapping[str, Any], head: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    every_row = {
        "order": document["order"],
        "revision": head["revision"],
        "id": head["id"],
        "conformity": document["conformity"],
    }
    rows = list(_iter_rows(document, taxonomy)) or [{}]
    return format_csv(COLUMNS, (every_row | row for row in rows))


def _iter_rows(document: Mapping[str, Any], taxonomy: Taxonomy) -> Iterator[dict[str, object]]:
    for specimen in document["specimens"]:
        own = {
            "specimen": specimen["specimen"],
            "specimen_conformity": specimen["conformity"],
        }
        fields = [(field, "") for field in specimen["fields"]]
        fields += [(field, field["superseded"]["reason"]) for field in specimen["superseded"]]
        for field, gone in fields:
            decided = field["decided"] or {}
            code = decided["said"] if decided.get("kind") == "code" else field["structure_code"]
            yield own | {
                "field": field["field"],
                "micrograph": field["id"],
                "structure_code": code,
                **_find_bounds(code, taxonomy),
                "decided_by": decided.get("by"),
                "superseded": gone,
            }


def _find_bounds(code: str | None, taxonomy: Taxonomy) -> dict[str, object]:
    if not code:
        return {}
    try:
        low, high = taxonomy.size_bounds(taxonomy.parse(code)[1])
    except TaxonomyError:
        return {}  # an old order may hold a code that the taxonomy no longer has
    return {"size_min": low, "size_max": high}


OUTBOX, FILES, WRITTEN = "outbox", "outbox_files", "outbox_written"
"""Kinds of records: a revision of an order, the content of its files (by the revision's id), and
that they were written."""


@dataclass(frozen=True, slots=True)
class OutboxResult:
    """Result of writing the pending revisions.

    Args:
        names: Of the files that were written.
        faults: A sentence per order whose files could not be written; they are tried again.
    """

    names: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxFormat:
    """Facts that are the same in every file of a lab.

    Args:
        name: Of the site.
        formats: Of `FORMATS`.
    """

    name: str
    formats: tuple[str, ...] = FORMATS


# --- what is new --------------------------------------------------------------------------------


def record_revisions(
    store: Store,
    policy: OrderPolicy,
    site: OutboxFormat,
    *,
    now: datetime,
    position: Position | None = None,
    issuer: Issuer | None = None,
) -> Position:
    """Freeze what changed, and record a revision of each statement with a new state.

    An order that was never final has none. One that was, and is no longer, has a new one.

    Args:
        store: Open.
        policy: The policy of the lab.
        site: What is the same in every file.
        now: Aware UTC.
        position: Where the last round ended, None: every order is examined.
        issuer: The site and software that issue statements, None: the site alone.

    Returns:
        Where this round ended; to be stored only now, so that a kill loses no change.
    """
    due, position = list_due(store, policy, OpenItems.of(store), position=position, now=now)
    freeze_orders(store, policy, issuer or Issuer(site.name, policy.zone), due, now=now)
    record_statements(store, site, now=now)
    return position


def record_statements(store: Store, site: OutboxFormat, *, now: datetime) -> None:
    """Record a revision of each statement, from an order's first final one on, that has none yet.

    Args:
        store: Open.
        site: What is the same in every file.
        now: Aware UTC.
    """
    known, losses = store.records.newest(OUTBOX), read_losses(store)
    resumption = find_resumption(store, OUTBOX)
    for number, newest in store.statements.newest().items():
        last = known.get(number)
        loss = losses.get(number_key(number, exact=store.exact_numbers))
        floor = loss.sent if loss else SentRevision(number)
        done = int(last.facts.get("statement_number", 0)) if last else 0
        is_behind = _build_revision(last) < floor.revision
        # What the back-up held is older than what the LIMS holds beyond it.
        old = resumption.newest_statement if is_behind else 0
        if is_behind and loss and loss.is_acknowledged:  # its present state is sent
            done, old = newest.number - 1, 0
        if not newest.final or newest.number <= done:
            continue
        made = store.statements.all(number)
        own = loss.list_own(store, made) if loss else made
        for statement in made:
            if not statement.final or statement.number <= done or statement.id <= old:
                continue
            if is_held_back(store, statement) or (loss and loss.is_held(statement, own)):
                continue
            until = [entry for entry in own if entry.number <= statement.number]
            lost = loss.conformity if loss and loss.is_open(until) else ""
            above = _Above(floor, resumption.epoch, lost)
            last = _record(store, site, statement, last, above, now=now)


def _build_revision(record: Record | None) -> int:
    return int(record.facts["revision"]) if record else 0


@dataclass(frozen=True, slots=True)
class _Above:
    """Lower bound of the next revision of an order.

    Attributes:
        floor: The highest revision that is used outside the database.
        epoch: Of the restore after which it is made, "" where there was none.
        lost: The conformity that a restored database lost and that still counts, "" for none.
    """

    floor: SentRevision
    epoch: str
    lost: str


def _record(
    store: Store,
    site: OutboxFormat,
    statement: FrozenStatement,
    last: Record | None,
    above: _Above,
    *,
    now: datetime,
) -> Record | None:
    """Record a statement as the next revision, unless it states the same; the last record."""
    state = statement.state.partition(".")[0]
    recorded = _build_revision(last)
    sent = last.facts["state"] if last and recorded >= above.floor.revision else above.floor.state
    if sent == state:
        return last
    number = statement.order
    revision = max(recorded, above.floor.revision) + 1
    # A state that comes back is a new revision: its number is in the id. So is the restore, after
    # which the same number may have been another's.
    epoch = f"{above.epoch}\n" if above.epoch else ""
    revision_id = _hash(f"{number}\n{epoch}{revision}\n{state}")
    whole = store.statements.document(statement.sha256)
    texts = render_files(
        whole["document"],
        formats={JSON, *site.formats},  # JSON holds the document, also where no file is wanted
        revision_id=revision_id,
        revision=revision,
        found_at=statement.at,
        site=site.name,
        taxonomy=taxonomy_from(whole["method"]["taxonomy"]),  # by which it was judged
        statement=statement.sha256,
        epoch=above.epoch,
    )
    sha256 = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    head = {"id": revision_id, "revision": revision}
    source = {"statement": statement.sha256, "statement_number": statement.number}
    source["conformity"] = statement.conformity
    source |= {"lost": above.lost} if above.lost else {}
    content = {"order": number, "formats": list(site.formats)}
    store.records.add_together(
        [
            NewRecord(OUTBOX, number, {**head, **source, "state": state, "sha256": sha256}),
            NewRecord(FILES, revision_id, {**content, "texts": texts}, logged=content),
        ],
        by="agent",
        at=now,
        follows=last.id if last else 0,
    )
    return store.records.latest(OUTBOX, number)  # another agent's, where it was faster


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- what is not written yet --------------------------------------------------------------------


def write_pending(
    store: Store,
    policy: OrderPolicy,
    site: OutboxFormat,
    folder: Path,
    *,
    now: datetime,
    data: Path | None = None,
) -> OutboxResult:
    """Write every revision on record that is not written yet, per order the oldest first.

    Where one cannot be written, the later ones of its order wait; other orders do not. A revision
    is noted outside the database before it is written, and none is written below a noted one.

    Args:
        store: Open.
        policy: What is laid down for orders.
        site: What is the same in every file.
        folder: The outbox; it has to be there, since a share that is unavailable is none.
        now: Aware UTC.
        data: The data folder, in which sent revisions are noted too; None: in the outbox alone.

    Raises:
        OSError: The folder cannot be seen.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder that can be seen")
    newest, written = store.records.newest(OUTBOX), store.records.newest(WRITTEN)
    writer = _Writer(store, policy, site, folder, data)
    for number, last in newest.items():
        done = written.get(number)
        if done and done.facts["id"] == last.facts["id"]:
            continue
        for revision in _list_pending(store, number, done):
            if not writer.write(number, revision, now=now):
                break
    return OutboxResult(tuple(writer.names), tuple(writer.faults))


class _Writer:
    """Writes revisions into the outbox, and remembers what became of them."""

    def __init__(
        self, store: Store, policy: OrderPolicy, site: OutboxFormat, folder: Path, data: Path | None
    ) -> None:
        self._store, self._lab, self._site, self._folder = store, policy, site, folder
        exact = store.exact_numbers
        self._notes = SentRevisions(site.name, data=data, outbox=folder, exact_numbers=exact)
        self._floors, self._lab_id = read_floors(store), store.audit_log.get_first_hash()
        self.names: list[str] = []
        self.faults: list[str] = []

    def write(self, number: str, revision: Record, *, now: datetime) -> bool:
        """Write one revision; False where the later ones of its order have to wait."""
        facts = {key: revision.facts[key] for key in ("id", "revision")}
        if self._is_adopted(number, revision):
            self._record(number, facts | {"overtaken": True}, now)
            return True
        try:
            noted = self._notes.find(number)
        except UnreadableNoteError as error:
            self.faults.append(f"order {number}, revision {facts['revision']}: {error}")
            return False
        if noted and _is_above(noted, revision):
            self.faults.append(_describe_older(number, revision, noted))
            return False
        kept = self._store.records.latest(FILES, facts["id"])
        if kept is None:
            self.faults.append(
                f"order {number}, revision {facts['revision']}: the content of its files is not in "
                "the database. Run: agent verify"
            )
            return False
        texts = {name: kept.facts["texts"][name] for name in kept.facts["formats"]}
        name = _name(number, revision)
        files = {self._folder / f"{name}.{kind}": text.encode() for kind, text in texts.items()}
        try:
            require_not_taken(files, self._site.name)
            self._notes.keep(_open_sent(number, revision, self._lab_id))
            write_whole(files)
        except OSError as error:
            self.faults.append(f"order {number}, revision {facts['revision']}: {error}")
            return False
        self._record(number, facts, now)
        self.names += [path.name for path in files]
        return True

    def _is_adopted(self, number: str, revision: Record) -> bool:
        """Return whether the LIMS got a higher revision before the database was put back."""
        key = number_key(number, exact=self._store.exact_numbers)
        floor = self._floors.get(key)
        return floor is not None and _is_above(floor, revision)

    def _record(self, number: str, facts: dict[str, Any], now: datetime) -> None:
        self._store.records.add(WRITTEN, number, by="agent", at=now, facts=facts)


def _is_above(sent: SentRevision, revision: Record) -> bool:
    """Return whether what was sent is above a revision, or another one of its number."""
    number = int(revision.facts["revision"])
    return sent.revision > number or (
        sent.revision == number and sent.id not in ("", revision.facts["id"])
    )


def _open_sent(number: str, revision: Record, lab: str) -> SentRevision:
    facts = revision.facts
    return SentRevision(
        order=number,
        revision=int(facts["revision"]),
        id=facts["id"],
        state=facts["state"],
        conformity=facts.get("conformity", ""),
        statement=facts.get("statement", ""),
        statement_number=int(facts.get("statement_number", 0)),
        at=revision.at.isoformat(),
        lab=lab,
        lost=facts.get("lost", ""),
    )


def _describe_older(number: str, revision: Record, sent: SentRevision) -> str:
    return (
        f"order {number}: revision {sent.revision} was sent before, and this database would send "
        f"{revision.facts['revision']}: it is older than what the LIMS holds. Restore a newer "
        "back-up, or take this one for good with agent restore --accept database --reason TEXT"
    )


def _list_pending(store: Store, number: str, done: Record | None) -> list[Record]:
    """Return the revisions of an order after the last one that was written, oldest first."""
    revisions = store.records.all(OUTBOX, number)
    ids = [revision.facts["id"] for revision in revisions]
    start = ids.index(done.facts["id"]) + 1 if done and done.facts["id"] in ids else 0
    return revisions[start:]


def _name(number: str, revision: Record) -> str:
    """Return the name of a revision's files, without ending."""
    return f"{_safe(number)}-r{revision.facts['revision']}-{revision.facts['id']}"


def _safe(number: str) -> str:
    plain = re.sub(r"[^\w-]", "_", number, flags=re.ASCII)[:60]
    # Two numbers that differ only in what a file name cannot hold are two names all the same.
    return plain if plain == number else f"{plain}-{_hash(number)[:6]}"
