"""Acts of operators and leads that correct an order, its specimens and its fields.

Each act is one transaction and is in the audit log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import and_
from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.settings import PROCESS_COLUMNS
from agent.store.engine import reading, writing
from agent.store.evidence import audit_log, quality_records, seals
from agent.store.evidence.audit_log import TrailEntry
from agent.store.evidence.declaration import CHANGEABLE
from agent.store.orders import order_naming, orders, specimens
from agent.store.orders.specimens import OrderRepository, hasten
from agent.store.people import labels
from agent.store.tables import MicrographRow, ResultRow, SpecimenRow, TrailRow
from reports import gettext as _

ASSIGNED = "field.assigned"
PLACE, BEFORE = "place", "was"
"""Keys of that act's facts: where the field belonged, and what it was before."""


DISMISSED = "file_dismissed"
"""Kind of the record that a file shows nothing of an order, or was assigned to another one."""


class OrderCorrections(OrderRepository):
    """Repository of corrections to orders."""

    def amend(
        self,
        number: str,
        *,
        accept: bool,
        by: str,
        reason: str,
        at: datetime,
        breaks: Sequence[str] = (),
    ) -> list[str]:
        """Accept or dismiss the pending changes of an order list; a lead's act.

        Args:
            number: Of the order.
            accept: The list's values apply from now on; else they are dismissed.
            by: The lead.
            reason: Why.
            at: Now.
            breaks: Fields that the lead labelled as breaking the limit and that keep it then.

        Returns:
            The values decided about, such as "material".

        Raises:
            UsageError: The order is unknown, no list changes it, or the reason is missing.
        """
        _require_reason(by, reason)
        with writing(self._engine) as session:
            row = self._get_known(session, number)
            pending = orders.pending(row.facts)
            if not pending:
                text = _("No list changes anything of order {number}.")
                raise UsageError(text.format(number=row.number))
            orders.amend(row, accept=accept, by=by, reason=reason, at=at, breaks=breaks)
            session.add(row)
            self._remember(
                session,
                actor=by,
                at=at,
                act="order.amended",
                subject=row.number,
                facts={"accepted": accept, "reason": reason, "changes": pending}
                | ({"breaks": list(breaks)} if breaks else {}),
            )
            return sorted(pending)

    def set_urgent(self, number: str, *, urgent: bool, by: str, at: datetime) -> None:
        """Mark an order as urgent, or no longer. Raises `UsageError` if it is unknown."""
        with writing(self._engine) as session:
            row = self._get_known(session, number)
            if row.urgent == urgent:
                return
            row.urgent = urgent
            session.add(row)
            session.flush()
            hasten(session, row)
            self._remember(
                session,
                actor=by,
                at=at,
                act="order.urgent",
                subject=number,
                facts={"urgent": urgent},
            )

    def assign(
        self,
        public_id: str,
        keys: Mapping[str, str],
        *,
        by: str,
        reason: str,
        at: datetime,
        lead: bool = False,
        left: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Assign a field to a specimen by hand; see `assign_all`."""
        self.assign_all([public_id], keys, by=by, reason=reason, at=at, lead=lead, left=left)

    def assign_all(
        self,
        public_ids: Sequence[str],
        keys: Mapping[str, str],
        *,
        by: str,
        reason: str,
        at: datetime,
        lead: bool,
        left: Mapping[str, Sequence[str]],
    ) -> None:
        """Assign fields to a specimen by hand, all or none; the reason is stored.

        The order that a field leaves remains undecided, and so does each other order that it was
        named for, until a lead assigns it. An order that a field of no specimen might be of records
        where it went: it is undecided once a reviewer labels the field as breaking its limit.

        Args:
            public_ids: Of the micrographs.
            keys: `order` and `specimen`; `preparation` and `field` where known.
            by: Who.
            reason: Why.
            at: Now.
            lead: `by` is a lead.
            left: Public id → other orders that a field of no specimen might be of.

        Raises:
            UsageError: No such micrograph, keys or a reason are missing, or the model's answer on
                one is another bundle's than that of the specimen.
        """
        _require_reason(by, reason)
        if not (keys.get("order") and keys.get("specimen")):
            raise UsageError(_("An assignment needs an order number and a specimen."))
        if wrong := next((word for word in keys.values() if not word.isprintable()), ""):
            text = _("{word} has letters that cannot be shown; type it again.")
            raise UsageError(text.format(word=repr(wrong)))
        with writing(self._engine) as session:
            for public_id in sorted(public_ids):  # as `Labels.decide_all`
                row = labels.micrograph_of(session, public_id, alone=True)
                self._assign(session, row, keys, by=by, reason=reason, at=at, lead=lead)
                for number in left.get(public_id, ()):
                    facts = {"assigned": public_id, "file": Path(row.relative).name}
                    facts |= {"order": keys["order"], "reason": reason}
                    quality_records.append(
                        session, self._whose.site_id, DISMISSED, number, by=by, at=at, facts=facts
                    )

    def _assign(
        self,
        session: Session,
        row: MicrographRow,
        keys: Mapping[str, str],
        *,
        by: str,
        reason: str,
        at: datetime,
        lead: bool,
    ) -> None:
        before = {name: getattr(row, name) for name in PROCESS_COLUMNS}
        place = seals.describe_place(session, row).get(PLACE)
        facts: dict[str, Any] = {"reason": reason, "before": before, "now": dict(keys)}
        facts |= {"lead": lead, BEFORE: {PLACE: place, "unassigned": row.unassigned}}
        if row.specimen_id is not None:
            left = order_naming.ClaimedPlace(row.order, row.specimen, "moved", row.relative)
            if not self._matches(left, keys):
                order_naming.add(session, self._whose, row, [left], at=at)
        for name in ("order", "specimen", "preparation", "field"):
            setattr(row, name, keys.get(name) or ("" if name == "preparation" else before[name]))
        row.unassigned = ""
        decisions = labels.histories(session, [row.id])[0].get(row.id, ())
        decided = any(not label.undone for label in decisions)
        bundle = "" if decided else _bundle(session, row)
        try:
            specimens.attach(session, self._whose, row, bundle, at=at)
        except specimens.OtherBundleError as other:
            text = _(
                "{id}: {other}, this field by {bundle}; decide it at the review page, then assign "
                "it."
            )
            raise UsageError(
                text.format(id=row.public_id, other=other, bundle=bundle or "–")
            ) from other
        if lead:
            order_naming.settle(session, [row.id], by=by, reason=reason, at=at)
        facts |= {seals.AFTER: seals.describe_place(session, row)}
        self._remember(session, actor=by, at=at, act=ASSIGNED, subject=row.public_id, facts=facts)

    def list_assigned(self, *, by: str, at: datetime) -> list[str]:
        """Return the micrographs that a person's act assigned, as far as they are there still."""
        with reading(self._engine) as session:
            acts = _list_acts(session, by=by, at=at)
            rows = [labels.micrograph_of(session, act.subject) for act in acts]
            return [
                row.public_id
                for row, act in zip(rows, acts, strict=True)
                if _is_where(session, row, act)
            ]

    def find_assigned(
        self, public_ids: Sequence[str], keys: Mapping[str, str], *, by: str, reason: str
    ) -> datetime | None:
        """Return when one act of a person assigned all these fields so, and left them there.

        Args:
            public_ids: Of the micrographs.
            keys: As in `assign_all`.
            by: Who.
            reason: Why.
        """
        with reading(self._engine) as session:
            same = and_(col(TrailRow.subject).in_(public_ids), col(TrailRow.actor) == by)
            last = {e.subject: e for e in audit_log.entries(session, act=ASSIGNED, where=same)}
            acts = [act for act in last.values() if act.facts["reason"] == reason]
            is_whole = len(acts) == len(set(public_ids)) and len({act.at for act in acts}) == 1
            if not is_whole or any(act.facts["now"] != dict(keys) for act in acts):
                return None
            rows = [labels.micrograph_of(session, act.subject) for act in acts]
            stay = all(_is_where(session, row, act) for row, act in zip(rows, acts, strict=True))
            return acts[0].at if stay else None

    def undo_assigned(
        self, of: str, assigned_at: datetime, *, by: str, at: datetime, lead: bool
    ) -> int:
        """Return what an act assigned to where it was, all or none; return how many.

        An order that a field leaves remains undecided until a lead assigns it, as after each move.

        Args:
            of: Who assigned.
            assigned_at: When, which names the act.
            by: Who undoes it.
            at: Now.
            lead: `by` is a lead.

        Raises:
            UsageError: One was moved since, or a lead's assignment settled what else names it.
        """
        reason = "assignment taken back"
        with writing(self._engine) as session:
            acts = _list_acts(session, by=of, at=assigned_at)
            for act in sorted(acts, key=lambda act: act.subject):
                row = labels.micrograph_of(session, act.subject, alone=True)
                if not _is_where(session, row, act):
                    text = _("{id}: it was moved since; nothing was taken back.")
                    raise UsageError(text.format(id=act.subject))
                was = act.facts.get(BEFORE) or {}
                if place := was.get(PLACE):
                    keys = dict(zip(("order", "specimen", "preparation"), place, strict=True))
                    keys["field"] = act.facts["before"]["field"]
                    self._assign(session, row, keys, by=by, reason=reason, at=at, lead=lead)
                    continue
                if order_naming.is_settled_by(session, row, of, assigned_at):
                    text = _(
                        "{id}: the assignment settled what else names it, for good. Assign it to "
                        "where it belongs."
                    )
                    raise UsageError(text.format(id=act.subject))
                self._unassign(session, row, act, by=by, at=at)
            return len(acts)

    def _unassign(
        self, session: Session, row: MicrographRow, act: TrailEntry, *, by: str, at: datetime
    ) -> None:
        left = order_naming.ClaimedPlace(row.order, row.specimen, "moved", row.relative)
        order_naming.add(session, self._whose, row, [left], at=at)
        for name in CHANGEABLE:
            setattr(row, name, act.facts["before"][name])
        row.specimen_id = row.preparation_id = None
        row.unassigned = act.facts[BEFORE]["unassigned"]
        session.add(row)
        facts: dict[str, Any] = {"reason": row.unassigned, "undoes": act.id}
        facts[seals.AFTER] = seals.describe_place(session, row)
        self._remember(
            session, actor=by, at=at, act="field.unassigned", subject=row.public_id, facts=facts
        )

    def _matches(self, claim: order_naming.ClaimedPlace, keys: Mapping[str, str]) -> bool:
        key = self._whose.key
        return (key(claim.order), key(claim.specimen)) == (
            key(keys.get("order", "")),
            key(keys.get("specimen", "")),
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
            UsageError: No such order or specimen, no name or reason, or this PC's clock is set
                back.
        """
        _require_reason(by, reason)
        with writing(self._engine) as session:
            audit_log.require_clock(session, self._whose.site_id, at=at)
            order = self._get_known(session, number)
            query = select(SpecimenRow).where(
                SpecimenRow.order_id == order.id, SpecimenRow.name == specimen
            )
            row = session.exec(query).first()
            if row is None:
                text = _("Order {number} has no specimen {specimen} yet.")
                raise UsageError(text.format(number=number, specimen=specimen))
            known = specimens.preparations(session, row.id)
            name = str(
                max([specimens.number_of(prepared.name) for prepared in known], default=0) + 1
            )
            superseded = _build_superseded(by, reason, defect, lead=lead, at=at, picture=picture)
            replaced = {}
            for prepared in known[-1:]:
                prepared.facts = {**prepared.facts, "superseded": superseded}
                session.add(prepared)
                replaced = {"replaces": prepared.name}
            specimens.preparation_row(session, row, name, etchant="", at=at)
            subject = f"{order.number}/{specimen}"
            self._remember(
                session,
                actor=by,
                at=at,
                act="specimen.prepared_again",
                subject=subject,
                facts={"preparation": name, **replaced, **superseded},
            )
            return name


def _list_acts(session: Session, *, by: str, at: datetime) -> list[TrailEntry]:
    same = and_(col(TrailRow.at) == at, col(TrailRow.actor) == by)
    return list(audit_log.entries(session, act=ASSIGNED, where=same))


def _is_where(session: Session, row: MicrographRow, act: TrailEntry) -> bool:
    """Return whether a field is still where an act assigned it."""
    place = seals.describe_place(session, row).get(PLACE)
    return bool(place == act.facts[seals.AFTER].get(PLACE))


def _require_reason(by: str, reason: str) -> None:
    if not by.strip():
        raise UsageError(_("Name who does it (in the shell: --by NAME)."))
    if not reason.strip():
        raise UsageError(
            _("Add a reason (in the shell: --reason TEXT). It is kept with the field.")
        )


def _build_superseded(
    by: str, reason: str, defect: str, *, lead: bool, at: datetime, picture: str
) -> dict[str, Any]:
    own = {"by": by, "reason": reason, "defect": defect, "lead": lead, "at": at.isoformat()}
    return own | ({"picture": picture} if picture else {})


def _bundle(session: Session, row: MicrographRow) -> str:
    query = select(ResultRow.bundle).where(
        ResultRow.micrograph_id == row.id, col(ResultRow.current).is_(True)
    )
    return session.exec(query).first() or ""
