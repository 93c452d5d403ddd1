"""Orders, their specimens and fields, and the acts of operators and leads on them.

Each act is one transaction and is in the audit log.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, update
from sqlmodel import col, select

from agent.errors import WrongUse
from agent.settings import PROCESS_COLUMNS
from agent.store import (
    audit_log,
    filing,
    labels,
    order_claims,
    order_lists,
    quality_records,
    specimens,
)
from agent.store.engine import reading, writing
from agent.store.file_states import Lane, chunks
from agent.store.micrograph_views import is_unassigned, of_micrographs
from agent.store.order_claims import ClaimedPlace
from agent.store.order_views import (
    Entry,
    OrderLine,
    OrderView,
    StoredAnswer,
    Unassigned,
    build_order,
    list_lines,
    to_answer,
)
from agent.store.repository import Repository
from agent.store.review_rank import with_urgency
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    OrderClaimRow,
    OrderRow,
    ResultRow,
    SpecificationRow,
    SpecimenRow,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date, datetime

    from sqlmodel import Session

    from agent.store.audit_log import TrailEntry
    from agent.store.specimens import Ordered

COPY = "copy_named"
"""Kind of the record of what a copy names whose first file is still being read; by its hash."""


class Orders(Repository):
    """Repository of orders."""

    # --- for workers ---

    def expect(self, number: str, specimen: str) -> Ordered:
        """Return the requirements of an order for one of its specimens."""
        with reading(self._engine) as session:
            return specimens.expect(session, self._whose, number, specimen)

    def reserve(self, number: str, specimen: str, bundle: str, *, at: datetime) -> str:
        """Return the bundle that judges a specimen; `bundle` is assigned if there is none yet."""
        with writing(self._engine) as session:
            return specimens.reserve(session, self._whose, number, specimen, bundle, at=at)

    def claim_again(
        self, content_id: int, claims: Sequence[ClaimedPlace], name: str, *, at: datetime
    ) -> list[str]:
        """Record that a known content was received again, under the name of another specimen.

        From now on it belongs to no specimen, and each order that it was named for is undecided
        until a lead has decided.

        Args:
            content_id: The content that was there first.
            claims: Orders and specimens that the new file names.
            name: Name of the new file.
            at: Now.

        Returns:
            Public ids of the micrographs that belonged to a specimen until now.
        """
        with writing(self._engine) as session:
            return self._claim(session, content_id, claims, name, at=at)

    def claim_copy(
        self,
        session: Session,
        content_id: int,
        sha256: str,
        claims: Sequence[ClaimedPlace],
        name: str,
        *,
        at: datetime,
    ) -> list[str]:
        """Record what a copy names, in the transaction that identifies it as one; as `claim_again`.

        The first of two files that were received together may not be finished: then what the copy
        names is stored until its micrographs are written.
        """
        wanted = select(MicrographRow.id).where(MicrographRow.content_id == content_id).limit(1)
        if session.exec(wanted).first() is not None:
            return self._claim(session, content_id, claims, name, at=at)
        facts = {"name": name, "claims": [asdict(claim) for claim in claims]}
        quality_records.append(
            session, self._whose.site_id, COPY, sha256, by="agent", at=at, facts=facts
        )
        return []

    def settle_copies(
        self, session: Session, content_id: int, sha256: str, *, at: datetime
    ) -> None:
        """Write what copies named that were known before the micrographs of a content were."""
        for record in quality_records.every(session, self._whose.site_id, COPY, sha256):
            claims = [ClaimedPlace(**claim) for claim in record.facts["claims"]]
            self._claim(session, content_id, claims, record.facts["name"], at=at)

    def _claim(
        self,
        session: Session,
        content_id: int,
        claims: Sequence[ClaimedPlace],
        name: str,
        *,
        at: datetime,
    ) -> list[str]:
        named = [claim for claim in claims if claim.order]
        torn = []
        wanted = select(MicrographRow).where(MicrographRow.content_id == content_id)
        for row in session.exec(wanted).all() if named else ():
            others = [claim for claim in named if not self._is_there(row, claim)]
            if not others:
                continue
            if row.specimen_id is not None:
                torn.append(row.public_id)
                self._detach(session, row, others[0], name, at=at)
            order_claims.add(session, self._whose, row, others, at=at)
        return torn

    def _is_there(self, row: MicrographRow, claim: ClaimedPlace) -> bool:
        key = self._whose.key
        if row.origin == "import" or key(row.order) != key(claim.order):
            return False
        return not claim.specimen or key(row.specimen) == key(claim.specimen)

    def _detach(
        self,
        session: Session,
        row: MicrographRow,
        claim: ClaimedPlace,
        name: str,
        *,
        at: datetime,
    ) -> None:
        had = order_claims.ClaimedPlace(row.order, row.specimen, "path", row.relative)
        order_claims.add(session, self._whose, row, [had], at=at)
        row.unassigned = (
            f"it claims two specimens: {row.order}/{row.specimen}, and as {name} "
            f"{claim.order}/{claim.specimen}"
        )
        row.specimen_id = row.preparation_id = None
        session.add(row)
        self._remember(
            session,
            actor="agent",
            at=at,
            act="field.unassigned",
            subject=row.public_id,
            facts={"reason": row.unassigned},
        )

    # --- queries ---

    def order(self, number: str) -> OrderView | None:
        """Return an order, or None if it is unknown."""
        with reading(self._engine) as session:
            row = self._row(session, number)
            return build_order(session, row) if row else None

    def all(self, *, since: datetime | None = None) -> list[OrderLine]:
        """Return the orders of this site: urgent ones first, then the newest.

        Args:
            since: Only orders first seen then or later, or at an unknown time; None for all.
        """
        with reading(self._engine) as session:
            return list_lines(session, self._whose, since=since)

    def unassigned(self) -> list[Unassigned]:
        """Return the fields that belong to no specimen, oldest first."""
        query = select(MicrographRow.id, MicrographRow.unassigned).where(
            is_unassigned(self._whose.site_id)
        )
        with reading(self._engine) as session:
            reasons = {number: reason for number, reason in session.exec(query) if number}
            views = of_micrographs(session, list(reasons))
            return [Unassigned(view, reasons[row.m_id]) for row, view in views]

    def by(self, column: str, value: str) -> list[str]:
        """Return the numbers of the orders of a heat or batch, as their fields or lists name it."""
        where = {"heat": SpecimenRow.heat, "batch": SpecimenRow.batch}[column]
        query = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .where(OrderRow.site_id == self._whose.site_id, where == value)
            .distinct()
        )
        with reading(self._engine) as session:
            return sorted(session.exec(query))

    def of_micrograph(self, public_id: str) -> str | None:
        """Return the number of the order of a micrograph, or None."""
        query = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .join(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
            .where(MicrographRow.public_id == public_id)
        )
        with reading(self._engine) as session:
            return session.exec(query).first()

    def answers(self, public_id: str) -> list[StoredAnswer]:
        """Return all bundles' answers on a micrograph, oldest first, superseded ones included.

        A result is never overwritten, so the first answer can always be read.
        """
        query = (
            select(ResultRow)
            .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
            .where(MicrographRow.public_id == public_id)
            .order_by(col(ResultRow.id))
        )
        with reading(self._engine) as session:
            return [to_answer(row) for row in session.exec(query)]

    def acts(self, subjects: Collection[str]) -> list[TrailEntry]:
        """Return the acts on orders, specimens or micrographs, oldest first.

        Args:
            subjects: As the audit log names them: a number, "number/specimen", a public id.
        """
        with reading(self._engine) as session:
            known = [
                entry
                for batch in chunks(sorted(subjects))
                for entry in audit_log.entries(session, subjects=batch)
            ]
        return sorted(known, key=lambda entry: entry.id)

    def urgent_numbers(self) -> set[str]:
        """Return the numbers of the urgent orders."""
        query = select(OrderRow.number).where(
            OrderRow.site_id == self._whose.site_id, col(OrderRow.urgent).is_(True)
        )
        with reading(self._engine) as session:
            return set(session.exec(query))

    def put_first(self, content_ids: Sequence[int]) -> None:
        """Move queued files into the urgent lane."""
        with writing(self._engine) as session:
            for batch in chunks(content_ids):
                session.execute(
                    update(ContentRow)
                    .where(
                        col(ContentRow.site_id) == self._whose.site_id,
                        col(ContentRow.id).in_(batch),
                    )
                    .values(lane=int(Lane.URGENT))
                )

    # --- order lists ---

    def take_list(self, entries: Iterable[Entry], name: str, *, by: str, at: datetime) -> list[str]:
        """Record an order list; values that it does not specify remain unchanged.

        Args:
            entries: One per order.
            name: Of the list.
            by: Who submitted it.
            at: Now.

        Returns:
            Numbers of the orders that are new or changed.
        """
        with writing(self._engine) as session:
            return [
                entry.number for entry in entries if self._take(session, entry, name, by=by, at=at)
            ]

    def _take(self, session: Session, entry: Entry, name: str, *, by: str, at: datetime) -> bool:
        is_new = self._row(session, entry.number) is None
        row = specimens.order_row(session, self._whose, entry.number, at=at)
        before = _list_values(row)
        has_fields = _has_fields(session, row)
        order_lists.merge(row, entry, name, key=self._whose.key, has_fields=has_fields)
        after = _list_values(row)
        if before == after and not is_new:
            return False
        row.facts = {**row.facts, "list": name}
        session.add(row)
        session.flush()
        if row.urgent and not before["urgent"]:
            _hasten(session, row)
        changed = {
            key: [before.get(key), after[key]] for key in after if before.get(key) != after[key]
        }
        self._remember(
            session,
            actor=by,
            at=at,
            act="order.listed",
            subject=row.number,
            facts={"list": name, **changed},
        )
        return True

    def amend(self, number: str, *, accept: bool, by: str, reason: str, at: datetime) -> list[str]:
        """Accept or dismiss the pending changes of an order list; a lead's act.

        Args:
            number: Of the order.
            accept: The list's values apply from now on; else they are dismissed.
            by: The lead.
            reason: Why.
            at: Now.

        Returns:
            The values decided about, such as "material".

        Raises:
            WrongUse: The order is unknown, no list changes it, or the reason is missing.
        """
        _require_reason(by, reason)
        with writing(self._engine) as session:
            row = self._get_known(session, number)
            pending = order_lists.pending(row.facts)
            if not pending:
                raise WrongUse(f"No list changes anything of order {row.number}.")
            order_lists.amend(row, accept=accept, by=by, reason=reason, at=at)
            session.add(row)
            self._remember(
                session,
                actor=by,
                at=at,
                act="order.amended",
                subject=row.number,
                facts={"accepted": accept, "reason": reason, "changes": pending},
            )
            return sorted(pending)

    def set_urgent(self, number: str, *, urgent: bool, by: str, at: datetime) -> None:
        """Mark an order as urgent, or no longer. Raises `WrongUse` if it is unknown."""
        with writing(self._engine) as session:
            row = self._get_known(session, number)
            if row.urgent == urgent:
                return
            row.urgent = urgent
            session.add(row)
            session.flush()
            _hasten(session, row)
            self._remember(
                session,
                actor=by,
                at=at,
                act="order.urgent",
                subject=number,
                facts={"urgent": urgent},
            )

    # --- acts on fields ---

    def assign(
        self,
        public_id: str,
        keys: Mapping[str, str],
        *,
        by: str,
        reason: str,
        at: datetime,
        lead: bool = False,
    ) -> None:
        """Assign a field to a specimen by hand; the reason is stored.

        The order that it leaves remains undecided, and so does each other order that it was named
        for, until a lead assigns it.

        Args:
            public_id: Of the micrograph.
            keys: `order` and `specimen`; `preparation` and `field` where known.
            by: Who.
            reason: Why.
            at: Now.
            lead: `by` is a lead.

        Raises:
            WrongUse: No such micrograph, keys or a reason are missing, or the model's answer on it
                is another bundle's than that of the specimen.
        """
        _require_reason(by, reason)
        if not (keys.get("order") and keys.get("specimen")):
            raise WrongUse("an assignment needs an order number and a specimen.")
        with writing(self._engine) as session:
            row = labels.micrograph_of(session, public_id)
            before = {name: getattr(row, name) for name in PROCESS_COLUMNS}
            if row.specimen_id is not None:
                left = order_claims.ClaimedPlace(row.order, row.specimen, "moved", row.relative)
                if not self._matches(left, keys):
                    order_claims.add(session, self._whose, row, [left], at=at)
            for name in ("order", "specimen", "preparation", "field"):
                setattr(
                    row, name, keys.get(name) or ("" if name == "preparation" else before[name])
                )
            row.unassigned = ""
            decisions = labels.histories(session, [row.id or 0]).get(row.id or 0, ())
            decided = any(not label.undone for label in decisions)
            bundle = "" if decided else _bundle(session, row)
            try:
                specimens.attach(session, self._whose, row, bundle, at=at)
            except specimens.OtherBundle as other:
                raise WrongUse(
                    f"{public_id}: {other}, this field by {bundle}; decide it at the review page, "
                    "then assign it."
                ) from other
            if lead:
                order_claims.settle(session, [row.id or 0], by=by, reason=reason, at=at)
            facts = {"reason": reason, "before": before, "now": dict(keys), "lead": lead}
            facts |= {filing.AFTER: filing.describe_place(session, row)}
            self._remember(
                session, actor=by, at=at, act="field.assigned", subject=public_id, facts=facts
            )

    def _matches(self, claim: ClaimedPlace, keys: Mapping[str, str]) -> bool:
        key = self._whose.key
        return (key(claim.order), key(claim.specimen)) == (
            key(keys.get("order", "")),
            key(keys.get("specimen", "")),
        )

    def claimed_elsewhere(self, public_id: str, number: str, specimen: str) -> list[str]:
        """Return the orders, or specimens of this order, that a micrograph is or was named for.

        Args:
            public_id: Of the micrograph.
            number: The order that it may belong to.
            specimen: Its specimen there.

        Returns:
            The others as "4711/01", none twice.
        """
        key = self._whose.key
        with reading(self._engine) as session:
            row = labels.micrograph_of(session, public_id)
            named = {(row.order, row.specimen)}
            for order_id, claimed in order_claims.claimed_orders(session, row.id or 0):
                order = session.get(OrderRow, order_id)
                named.add((order.number if order else "", claimed))
        return sorted(
            f"{order}/{claimed}"
            for order, claimed in named
            if order and (key(order), key(claimed or specimen)) != (key(number), key(specimen))
        )

    def supersede(
        self,
        public_id: str,
        *,
        by: str,
        reason: str,
        defect: str,
        lead: bool,
        at: datetime,
        picture: str = "",
    ) -> None:
        """Exclude a field from the assessment; it stays visible.

        Args:
            public_id: Of the micrograph.
            by: Who.
            reason: Why.
            defect: The preparation or image defect behind it, or "".
            lead: `by` is a lead.
            at: Now.
            picture: SHA-256 of a picture of the defect in the archive, or "".
        """
        _require_reason(by, reason)
        with writing(self._engine) as session:
            row = labels.micrograph_of(session, public_id)
            superseded = _build_superseded(by, reason, defect, lead=lead, at=at, picture=picture)
            row.superseded = superseded
            session.add(row)
            self._remember(
                session,
                actor=by,
                at=at,
                act="field.superseded",
                subject=public_id,
                facts=superseded,
            )

    def prepare_again(
        self,
        number: str,
        specimen: str,
        *,
        by: str,
        reason: str,
        defect: str,
        lead: bool,
        at: datetime,
        picture: str = "",
    ) -> str:
        """Begin the next preparation of a specimen: fields received from now on belong to it.

        Returns:
            The new preparation's name.

        Raises:
            WrongUse: No such order or specimen, or name or reason is missing.
        """
        _require_reason(by, reason)
        with writing(self._engine) as session:
            order = self._get_known(session, number)
            query = select(SpecimenRow).where(
                SpecimenRow.order_id == order.id, SpecimenRow.name == specimen
            )
            row = session.exec(query).first()
            if row is None:
                raise WrongUse(f"order {number} has no specimen {specimen!r} yet.")
            known = specimens.preparations(session, row.id or 0)
            name = str(
                max([specimens.number_of(prepared.name) for prepared in known], default=0) + 1
            )
            superseded = _build_superseded(by, reason, defect, lead=lead, at=at, picture=picture)
            for prepared in known[-1:]:
                prepared.facts = {**prepared.facts, "superseded": superseded}
                session.add(prepared)
            specimens.preparation_row(session, row, name, etchant="", at=at)
            subject = f"{number}/{specimen}"
            self._remember(
                session,
                actor=by,
                at=at,
                act="specimen.prepared_again",
                subject=subject,
                facts={"preparation": name, **superseded},
            )
            return name

    # --- requirements ---

    def note_specifications(
        self, entries: Sequence[tuple[str, date, str, str, dict[str, Any]]], *, at: datetime
    ) -> dict[str, int]:
        """Record the active specifications; a changed entry is a new version.

        Args:
            entries: (name, valid from, approved by, sha256, the entry itself).
            at: Now.

        Returns:
            sha256 → version.
        """
        state = [sha256 for _, _, _, sha256, _ in entries]
        with reading(self._engine) as session:
            known = _versions(session)
            last = quality_records.newest(
                session, self._whose.site_id, quality_records.SPECIFICATIONS
            )
        is_same = last is not None and last.facts["entries"] == state
        if is_same and all(sha256 in known for sha256 in state):
            return known
        with writing(self._engine) as session:
            last = quality_records.newest(
                session, self._whose.site_id, quality_records.SPECIFICATIONS
            )
            if last is None or last.facts["entries"] != state:
                quality_records.append(
                    session,
                    self._whose.site_id,
                    quality_records.SPECIFICATIONS,
                    "",
                    by="agent",
                    at=at,
                    facts={"entries": state},
                )
            for name, valid_from, approved_by, sha256, entry in entries:
                if sha256 in _versions(session):
                    continue
                newest = select(func.max(SpecificationRow.version)).where(
                    SpecificationRow.name == name
                )
                version = (session.exec(newest).one() or 0) + 1
                session.add(
                    SpecificationRow(
                        name=name,
                        version=version,
                        valid_from=valid_from,
                        approved_by=approved_by,
                        sha256=sha256,
                        entry=entry,
                        seen_at=at,
                    )
                )
                session.flush()
                self._remember(
                    session,
                    actor=approved_by,
                    at=at,
                    act="specification.seen",
                    subject=name,
                    facts={"version": version, "sha256": sha256, "entry": entry},
                )
            return _versions(session)

    def specification_entries(self) -> dict[str, dict[str, Any]]:
        """Return every entry that was ever noted, by its sha256."""
        wanted = select(SpecificationRow.sha256, SpecificationRow.entry)
        with reading(self._engine) as session:
            return {sha256: dict(entry) for sha256, entry in session.exec(wanted)}

    def versions(self) -> dict[str, int]:
        """Return sha256 of an entry → its version."""
        with reading(self._engine) as session:
            return _versions(session)

    # --- helpers ---

    def _row(self, session: Session, number: str) -> OrderRow | None:
        return specimens.find_order(session, self._whose, number)

    def _get_known(self, session: Session, number: str) -> OrderRow:
        row = self._row(session, number)
        if row is None:
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        return row

    def _remember(self, session: Session, **said: Any) -> None:
        audit_log.append(session, self._whose.site_id, **said)


def _has_fields(session: Session, order: OrderRow) -> bool:
    """Return whether any micrograph belongs to an order, or was ever named for it."""
    own = (
        select(MicrographRow.id)
        .join(SpecimenRow, col(SpecimenRow.id) == col(MicrographRow.specimen_id))
        .where(SpecimenRow.order_id == order.id)
        .limit(1)
    )
    claimed = select(OrderClaimRow.id).where(OrderClaimRow.order_id == order.id).limit(1)
    return any(session.exec(wanted).first() is not None for wanted in (own, claimed))


def _require_reason(by: str, reason: str) -> None:
    if not by.strip():
        raise WrongUse("say who with --by NAME.")
    if not reason.strip():
        raise WrongUse("say why with --reason TEXT: it is kept with the field.")


def _build_superseded(
    by: str, reason: str, defect: str, *, lead: bool, at: datetime, picture: str
) -> dict[str, Any]:
    own = {"by": by, "reason": reason, "defect": defect, "lead": lead, "at": at.isoformat()}
    return own | ({"picture": picture} if picture else {})


def _list_values(row: OrderRow) -> dict[str, Any]:
    own = {key: getattr(row, key) for key in ("customer", "product", "material", "urgent")}
    return own | {key: value for key, value in row.facts.items() if key != "list"}


def _bundle(session: Session, row: MicrographRow) -> str:
    query = select(ResultRow.bundle).where(
        ResultRow.micrograph_id == row.id, col(ResultRow.current).is_(True)
    )
    return session.exec(query).first() or ""


def _versions(session: Session) -> dict[str, int]:
    return dict(session.exec(select(SpecificationRow.sha256, SpecificationRow.version)).all())


def _hasten(session: Session, order: OrderRow) -> None:
    """Move micrographs of an order to the front of the review queue, or back."""
    query = (
        select(ResultRow)
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .where(
            MicrographRow.site_id == order.site_id,
            MicrographRow.order == order.number,
            col(ResultRow.review_rank).is_not(None),
        )
    )
    for row in session.exec(query):
        row.review_rank = with_urgency(row.review_rank or 0, urgent=order.urgent)
        session.add(row)
