"""Answer what is asked of orders, and write down what people do to them.

In:  order numbers, people's acts with their reasons. Out: `OrderView`s: an order, its specimens,
their fields. Next: `agent.orders`, which decides. `Store.orders` is this room's own door; each act
is one transaction and stands in the trail.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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
    results,
    specimens,
)
from agent.store.engine import reading, writing
from agent.store.file_states import Lane, chunks
from agent.store.order_claims import ClaimedPlace
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    OrderClaimRow,
    OrderRow,
    PreparationRow,
    ResultRow,
    SpecificationRow,
    SpecimenRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import date, datetime

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.audit_log import TrailEntry
    from agent.store.order_claims import OrderClaim
    from agent.store.results import MicrographView
    from agent.store.sources import Whose
    from agent.store.specimens import Ordered

COPY = "copy_named"
"""Kind of the record of what a copy names whose first file is still being read; by its hash."""


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field of a specimen.

    Args:
        view: The micrograph with its current result.
        superseded: Why and by whom it no longer counts; empty where it does.
        area_mm2: Of steel in the crop, or None without a scale.
    """

    view: MicrographView
    superseded: dict[str, Any]
    area_mm2: float | None


@dataclass(frozen=True, slots=True)
class PreparationView:
    """One preparation; `facts["superseded"]` says why there is a later one."""

    name: str
    etchant: str
    facts: dict[str, Any]
    fields: tuple[FieldView, ...]


@dataclass(frozen=True, slots=True)
class SpecimenView:
    """One specimen; the last of its preparations counts. `bundle` judges it, None: none has."""

    name: str
    heat: str
    batch: str
    material: str
    bundle: str | None
    preparations: tuple[PreparationView, ...]


@dataclass(frozen=True, slots=True)
class OrderView:
    """One order.

    Args:
        number: Of the order. customer, product, material: "" where unknown.
        urgent: It goes first. first_seen_at: when it was first heard of, aware UTC.
        facts: What the order list says beside: heat, batch, etchant, subtype, specimens, count.
        specimens: By name.
        claims: Micrographs that were named for the order and do not belong to it, or did not.
    """

    number: str
    customer: str
    product: str
    material: str
    urgent: bool
    first_seen_at: datetime | None
    facts: dict[str, Any]
    specimens: tuple[SpecimenView, ...]
    claims: tuple[OrderClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order in a list: how many specimens and fields of it have come, how many wait."""

    number: str
    customer: str
    product: str
    material: str
    urgent: bool
    first_seen_at: datetime | None
    specimens: int
    fields: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Unassigned:
    """A field that belongs to no specimen, and why."""

    view: MicrographView
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one bundle said of one micrograph, as it was written down.

    Args:
        bundle, recipe: Which bundle, and which recipe cut the crop. role: "live", "shadow" or
            "reprocess". current: it is the one that counts. at: when, aware UTC.
        structure_code, probability, prediction_set: The answer. handling, reasons: what followed.
        engine, precision: What computed it.
    """

    bundle: str
    recipe: str
    role: str
    current: bool
    at: datetime
    structure_code: str | None
    probability: float | None
    prediction_set: tuple[str, ...]
    handling: str
    reasons: tuple[str, ...]
    engine: str
    precision: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What an order list says of one order; what is "" or empty is not said."""

    number: str
    customer: str = ""
    product: str = ""
    material: str = ""
    urgent: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class Orders:
    """Every question and act about orders; each method is one transaction.

    Args:
        engine: At this program's schema.
        whose: The site and the agent that ask.
    """

    def __init__(self, engine: Engine, whose: Whose) -> None:
        self._engine, self._whose = engine, whose

    # --- what a worker asks ---

    def expect(self, number: str, specimen: str) -> Ordered:
        """Say what an order says of one of its specimens."""
        with reading(self._engine) as session:
            return specimens.expect(session, self._whose, number, specimen)

    def reserve(self, number: str, specimen: str, bundle: str, *, at: datetime) -> str:
        """Say which bundle judges a specimen; one that nothing judges yet is given to `bundle`."""
        with writing(self._engine) as session:
            return specimens.reserve(session, self._whose, number, specimen, bundle, at=at)

    def claim_again(
        self, content_id: int, claims: Sequence[ClaimedPlace], name: str, *, at: datetime
    ) -> list[str]:
        """Write that a known content came again, under the name of another specimen.

        It belongs to no specimen from now on, and every order that it was named for stays in
        doubt until a lead has decided.

        Args:
            content_id: The content that was there first.
            claims: Orders and specimens that the newcomer names.
            name: Of the newcomer's file.
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
        """Write what a copy names, in the transaction that knows it as one; as `claim_again`.

        The first of two that came together may still be read: then what the copy names is kept
        until its micrographs are written.
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
                self._tear(session, row, others[0], name, at=at)
            order_claims.add(session, self._whose, row, others, at=at)
        return torn

    def _is_there(self, row: MicrographRow, claim: ClaimedPlace) -> bool:
        key = self._whose.key
        if row.origin == "import" or key(row.order) != key(claim.order):
            return False
        return not claim.specimen or key(row.specimen) == key(claim.specimen)

    def _tear(
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

    # --- what people ask ---

    def order(self, number: str) -> OrderView | None:
        """Say all about one order, or None if nobody has heard of it."""
        with reading(self._engine) as session:
            row = self._row(session, number)
            return _order(session, row) if row else None

    def all(self) -> list[OrderLine]:
        """Say every order of this site: urgent ones first, then the newest."""
        with reading(self._engine) as session:
            return _lines(session, self._whose)

    def unassigned(self) -> list[Unassigned]:
        """Say every field that belongs to no specimen, oldest first."""
        asked = select(MicrographRow.id, MicrographRow.unassigned).where(
            MicrographRow.site_id == self._whose.site_id, col(MicrographRow.unassigned) != ""
        )
        with reading(self._engine) as session:
            reasons = {number: reason for number, reason in session.exec(asked) if number}
            found = results.of_micrographs(session, list(reasons))
            return [Unassigned(view, reasons[row.m_id]) for row, view in found]

    def by(self, column: str, value: str) -> list[str]:
        """Say the numbers of the orders of a heat or batch, as their fields or lists name it."""
        where = {"heat": SpecimenRow.heat, "batch": SpecimenRow.batch}[column]
        asked = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .where(OrderRow.site_id == self._whose.site_id, where == value)
            .distinct()
        )
        with reading(self._engine) as session:
            return sorted(session.exec(asked))

    def of_micrograph(self, public_id: str) -> str | None:
        """Say the order a micrograph belongs to, or None."""
        asked = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .join(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
            .where(MicrographRow.public_id == public_id)
        )
        with reading(self._engine) as session:
            return session.exec(asked).first()

    def answers(self, public_id: str) -> list[Answer]:
        """Say every bundle's answer on a micrograph, oldest first, also those that count no more.

        A result is never written over, so what was said first can always be read.
        """
        asked = (
            select(ResultRow)
            .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
            .where(MicrographRow.public_id == public_id)
            .order_by(col(ResultRow.id))
        )
        with reading(self._engine) as session:
            return [_answer(row) for row in session.exec(asked)]

    def acts(self, subjects: Collection[str]) -> list[TrailEntry]:
        """Say what people and agents did to orders, specimens or micrographs, oldest first.

        Args:
            subjects: As the trail names them: a number, "number/specimen", a public id.
        """
        with reading(self._engine) as session:
            known = [
                entry
                for some in chunks(sorted(subjects))
                for entry in audit_log.entries(session, subjects=some)
            ]
        return sorted(known, key=lambda entry: entry.id)

    def urgent_numbers(self) -> set[str]:
        """Say the numbers of the orders that go first."""
        asked = select(OrderRow.number).where(
            OrderRow.site_id == self._whose.site_id, col(OrderRow.urgent).is_(True)
        )
        with reading(self._engine) as session:
            return set(session.exec(asked))

    def put_first(self, content_ids: Sequence[int]) -> None:
        """Put queued files into the urgent lane."""
        with writing(self._engine) as session:
            for some in chunks(content_ids):
                session.execute(
                    update(ContentRow)
                    .where(
                        col(ContentRow.site_id) == self._whose.site_id,
                        col(ContentRow.id).in_(some),
                    )
                    .values(lane=int(Lane.URGENT))
                )

    # --- what was ordered ---

    def take_list(self, entries: Iterable[Entry], name: str, *, by: str, at: datetime) -> list[str]:
        """Write down what an order list says; what it does not say stays as it is.

        Args:
            entries: One per order.
            name: Of the list.
            by: Who handed it in.
            at: Now.

        Returns:
            Numbers of the orders that are new or say something else now.
        """
        with writing(self._engine) as session:
            return [
                entry.number for entry in entries if self._take(session, entry, name, by=by, at=at)
            ]

    def _take(self, session: Session, entry: Entry, name: str, *, by: str, at: datetime) -> bool:
        is_new = self._row(session, entry.number) is None
        row = specimens.order_row(session, self._whose, entry.number, at=at)
        before = _said(row)
        has_fields = _has_fields(session, row)
        order_lists.merge(row, entry, name, key=self._whose.key, has_fields=has_fields)
        after = _said(row)
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
        """Decide about what an order list changes; a lead's act.

        Args:
            number: Of the order.
            accept: What the list says holds from now on; else it is dismissed.
            by: The lead.
            reason: Why.
            at: Now.

        Returns:
            What was decided about, such as "material".

        Raises:
            WrongUse: The order is unknown, no list changes it, or no reason is given.
        """
        _refuse_unreasoned(by, reason)
        with writing(self._engine) as session:
            row = self._known(session, number)
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
        """Let an order go first, or no longer. Raises `WrongUse` if nobody has heard of it."""
        with writing(self._engine) as session:
            row = self._known(session, number)
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

    # --- what people do to fields ---

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
        """Give a field its place by hand; the reason is kept.

        The order that it leaves stays in doubt, and so does every other that it was named for,
        until a lead assigns it.

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
        _refuse_unreasoned(by, reason)
        if not (keys.get("order") and keys.get("specimen")):
            raise WrongUse("an assignment needs an order number and a specimen.")
        with writing(self._engine) as session:
            row = labels.micrograph_of(session, public_id)
            before = {name: getattr(row, name) for name in PROCESS_COLUMNS}
            if row.specimen_id is not None:
                left = order_claims.ClaimedPlace(row.order, row.specimen, "moved", row.relative)
                if not self._goes_to(left, keys):
                    order_claims.add(session, self._whose, row, [left], at=at)
            for name in ("order", "specimen", "preparation", "field"):
                setattr(
                    row, name, keys.get(name) or ("" if name == "preparation" else before[name])
                )
            row.unassigned = ""
            said = labels.histories(session, [row.id or 0]).get(row.id or 0, ())
            decided = any(not label.undone for label in said)
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

    def _goes_to(self, claim: ClaimedPlace, keys: Mapping[str, str]) -> bool:
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
        """Let a field count no longer; it stays visible.

        Args:
            public_id: Of the micrograph.
            by: Who.
            reason: Why.
            defect: The preparation or image defect behind it, or "".
            lead: `by` is a lead.
            at: Now.
            picture: SHA-256 of a picture of the defect in the archive, or "".
        """
        _refuse_unreasoned(by, reason)
        with writing(self._engine) as session:
            row = labels.micrograph_of(session, public_id)
            said = _superseding(by, reason, defect, lead=lead, at=at, picture=picture)
            row.superseded = said
            session.add(row)
            self._remember(
                session, actor=by, at=at, act="field.superseded", subject=public_id, facts=said
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
        """Begin the next preparation of a specimen: what comes from now on belongs to it.

        Returns:
            The new preparation's name.

        Raises:
            WrongUse: No such order or specimen, or who and why are not said.
        """
        _refuse_unreasoned(by, reason)
        with writing(self._engine) as session:
            order = self._known(session, number)
            asked = select(SpecimenRow).where(
                SpecimenRow.order_id == order.id, SpecimenRow.name == specimen
            )
            row = session.exec(asked).first()
            if row is None:
                raise WrongUse(f"order {number} has no specimen {specimen!r} yet.")
            known = specimens.preparations(session, row.id or 0)
            name = str(max([specimens.number_of(one.name) for one in known], default=0) + 1)
            said = _superseding(by, reason, defect, lead=lead, at=at, picture=picture)
            for one in known[-1:]:
                one.facts = {**one.facts, "superseded": said}
                session.add(one)
            specimens.preparation_row(session, row, name, etchant="", at=at)
            subject = f"{number}/{specimen}"
            self._remember(
                session,
                actor=by,
                at=at,
                act="specimen.prepared_again",
                subject=subject,
                facts={"preparation": name, **said},
            )
            return name

    # --- what is demanded ---

    def note_specifications(
        self, entries: Sequence[tuple[str, date, str, str, dict[str, Any]]], *, at: datetime
    ) -> dict[str, int]:
        """Write down which specifications are in force; a changed entry is a new version.

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
        """Say sha256 of an entry → which version of it that is."""
        with reading(self._engine) as session:
            return _versions(session)

    # --- inside ---

    def _row(self, session: Session, number: str) -> OrderRow | None:
        return specimens.find_order(session, self._whose, number)

    def _known(self, session: Session, number: str) -> OrderRow:
        row = self._row(session, number)
        if row is None:
            raise WrongUse(f"nobody has heard of an order {number!r}; see: agent orders list")
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


def _refuse_unreasoned(by: str, reason: str) -> None:
    if not by.strip():
        raise WrongUse("say who with --by NAME.")
    if not reason.strip():
        raise WrongUse("say why with --reason TEXT: it is kept with the field.")


def _superseding(
    by: str, reason: str, defect: str, *, lead: bool, at: datetime, picture: str
) -> dict[str, Any]:
    own = {"by": by, "reason": reason, "defect": defect, "lead": lead, "at": at.isoformat()}
    return own | ({"picture": picture} if picture else {})


def _said(row: OrderRow) -> dict[str, Any]:
    own = {key: getattr(row, key) for key in ("customer", "product", "material", "urgent")}
    return own | {key: value for key, value in row.facts.items() if key != "list"}


def _answer(row: ResultRow) -> Answer:
    return Answer(
        bundle=row.bundle,
        recipe=row.recipe,
        role=row.role,
        current=row.current,
        at=row.done_at,
        structure_code=row.structure_code,
        probability=row.probability,
        prediction_set=tuple(row.prediction_set),
        handling=row.handling,
        reasons=tuple(row.reasons),
        engine=row.engine,
        precision=row.precision,
    )


def _bundle(session: Session, row: MicrographRow) -> str:
    asked = select(ResultRow.bundle).where(
        ResultRow.micrograph_id == row.id, col(ResultRow.current).is_(True)
    )
    return session.exec(asked).first() or ""


def _versions(session: Session) -> dict[str, int]:
    return dict(session.exec(select(SpecificationRow.sha256, SpecificationRow.version)).all())


def _hasten(session: Session, order: OrderRow) -> None:
    """Put what waits for a person of an order first, or back in its place."""
    asked = (
        select(ResultRow)
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .where(
            MicrographRow.site_id == order.site_id,
            MicrographRow.order == order.number,
            col(ResultRow.review_rank).is_not(None),
        )
    )
    for row in session.exec(asked):
        row.review_rank = results.hastened(row.review_rank or 0, urgent=order.urgent)
        session.add(row)


def _order(session: Session, row: OrderRow) -> OrderView:
    asked = (
        select(SpecimenRow).where(SpecimenRow.order_id == row.id).order_by(col(SpecimenRow.name))
    )
    rows = session.exec(asked).all()
    fields = _fields(session, [one.id or 0 for one in rows])
    return OrderView(
        number=row.number,
        customer=row.customer,
        product=row.product,
        material=row.material,
        urgent=row.urgent,
        first_seen_at=row.first_seen_at,
        facts=row.facts,
        specimens=tuple(
            SpecimenView(
                name=one.name,
                heat=one.heat,
                batch=one.batch,
                material=one.material,
                bundle=one.bundle,
                preparations=tuple(
                    _preparation(prepared, fields)
                    for prepared in specimens.preparations(session, one.id or 0)
                ),
            )
            for one in rows
        ),
        claims=order_claims.list_claims(session, row),
    )


def _preparation(row: PreparationRow, fields: Mapping[int, list[FieldView]]) -> PreparationView:
    return PreparationView(row.name, row.etchant, row.facts, tuple(fields.get(row.id or 0, ())))


def _fields(session: Session, specimen_ids: Sequence[int]) -> dict[int, list[FieldView]]:
    """Say preparation number → its fields, by name and then as they came."""
    asked = select(MicrographRow.id).where(col(MicrographRow.specimen_id).in_(specimen_ids))
    found: dict[int, list[FieldView]] = {}
    ids = [number for number in session.exec(asked) if number]
    for row, view in results.of_micrographs(session, ids):
        one = FieldView(view, row.m_superseded, row.m_area_mm2)
        found.setdefault(row.m_preparation_id, []).append(one)
    by_name: Callable[[FieldView], tuple[str, datetime]] = lambda one: (  # noqa: E731 - typed
        one.view.process_data.get("field", "").zfill(8),
        one.view.done_at,
    )
    return {number: sorted(some, key=by_name) for number, some in found.items()}


def _lines(session: Session, whose: Whose) -> list[OrderLine]:
    counts = (  # apart from the order's columns: a view has no primary key to group them by
        select(
            col(OrderRow.id).label("order_id"),
            func.count(func.distinct(SpecimenRow.id)).label("specimens"),
            func.count(func.distinct(MicrographRow.id)).label("fields"),
            func.count(col(ResultRow.review_rank)).label("waiting"),
        )
        .outerjoin(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
        .outerjoin(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
        .outerjoin(
            ResultRow,
            (col(ResultRow.micrograph_id) == col(MicrographRow.id))
            & col(ResultRow.current).is_(True),
        )
        .where(OrderRow.site_id == whose.site_id)
        .group_by(col(OrderRow.id))
        .subquery()
    )
    asked = (
        select(OrderRow, counts.c.specimens, counts.c.fields, counts.c.waiting)
        .join(counts, counts.c.order_id == col(OrderRow.id))
        .where(OrderRow.site_id == whose.site_id)
        .order_by(col(OrderRow.urgent).desc(), col(OrderRow.id).desc())
    )
    return [
        OrderLine(
            number=row.number,
            customer=row.customer,
            product=row.product,
            material=row.material,
            urgent=row.urgent,
            first_seen_at=row.first_seen_at,
            specimens=pieces,
            fields=fields,
            waiting=waiting,
        )
        for row, pieces, fields, waiting in session.exec(asked)
    ]
