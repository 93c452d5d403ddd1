"""Decisions of reviewers on micrographs: appended, never changed, each with reviewer and time.

An undo is a row that revokes the one before; the valid label is computed from the rows, oldest
first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, cast

from sqlalchemy import and_, func
from sqlalchemy import select as select_columns
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import quality_records
from agent.store.evidence.acts import append_act
from agent.store.orders.specimens import is_urgent
from agent.store.people import label_decisions
from agent.store.people.label_decisions import (
    DOUBTED_RANK,
    Decision,
    DecisionConflictError,
    DoubleReview,
    Expected,
    LabelView,
    rank_of,
    refuse_incomplete,
    with_urgency,
)
from agent.store.tables import LabelRow, MicrographRow, ResultRow, TrailRow
from agent.triage import Reason
from reports import gettext as _

UNDO = "undo"
DOUBT = "doubt"
"""Kind of a row that marks the valid label as suspect; the label remains valid."""
NO_DECISION = (UNDO, DOUBT)
LEADS_DOUBT, RATERS_DOUBT = "requested", "raters"
"""Reasons of a doubt that people gave: a lead, and the raters of a round robin. Any other is a
program's, which is a question and changes no order."""
GIVEN = "label.given"
"""Act of the audit log: a decision was appended."""
DECISION_ID = "decision_id"
"""Key of that act's facts: the id under which the decision was sent."""
_SAME = ("kind", "by", "code", "strange_kind", "why")


def _decide(
    session: Session,
    whose: AgentIdentity,
    public_id: str,
    decision: Decision,
    *,
    at: datetime,
    expected: Expected = "any",
) -> int:
    """Append a decision; the micrograph leaves the queue.

    A decision that is sent again under its id is not appended again.

    Returns:
        The label's number.

    Raises:
        DecisionConflictError: The valid label is another one than expected.
        UsageError: No such micrograph, or the decision is incomplete, or a correction has no
            reason.
    """
    refuse_incomplete(decision)
    micrograph = micrograph_of(session, public_id, alone=True)
    if (number := _find_decision(session, public_id, decision)) is not None:
        return number
    result = _current_result(session, micrograph)
    two = _asks_two(micrograph, result)
    standing = list_standing(_load_rows(session, [micrograph.id]))
    before = label_decisions.holding(standing, two=two)
    if label_decisions.is_imported(decision) and (
        sentence := _refuse_imported(micrograph, standing, decision)
    ):
        raise UsageError(f"{public_id}: {sentence}")
    if decision.result_seen and not _is_result_of(session, decision.result_seen, micrograph):
        raise UsageError(f"{public_id}: it has no result of the number {decision.result_seen}.")
    if expected not in ("any", before.id if before else None):
        who = before.by if before else _("another reviewer")
        raise DecisionConflictError(
            _("{id}: {who} decided in between.").format(id=public_id, who=who)
        )
    if before and _lacks_reason(session, decision, before):
        text = _(
            "{id}: already decided by {who}. Add a comment to change it (in the shell: --comment)."
        )
        raise UsageError(text.format(id=public_id, who=before.by))
    row = LabelRow(
        micrograph_id=micrograph.id,
        result_id=decision.result_seen or (result.id if result else None),
        kind=decision.kind,
        code=decision.code,
        strange_kind=decision.strange_kind,
        why=decision.why,
        criterion=decision.criterion,
        unsure=decision.unsure,
        comment=decision.comment,
        by=decision.by,
        decided_at=at,
        viewing_s=decision.viewing_s,
        blind=decision.blind,
        bulk=decision.bulk,
        origin=decision.origin,
        supersedes=before.id if before else None,
        after_record=quality_records.find_newest_id(session, whose.site_id),
    )
    session.add(row)
    settled = label_decisions.holding([*standing, row], two=two) is not None
    if settled and result and result.review_rank is not None:
        result.review_rank = None
        session.add(result)
    more = {DECISION_ID: decision.decision_id} if decision.decision_id else {}
    append_act(session, GIVEN, row, names={"micrograph_id": public_id}, more=more)
    return row.id


def _undo(session: Session, public_id: str, *, by: str, at: datetime) -> int:
    micrograph = micrograph_of(session, public_id, alone=True)
    two = _asks_two(micrograph, _current_result(session, micrograph))
    standing = list_standing(_load_rows(session, [micrograph.id]))
    own = [earlier for earlier in standing if earlier.by == by]
    holds = label_decisions.holding(standing, two=two) or (own[-1] if own else None)
    if holds is None:
        raise UsageError(_("{id}: there is no decision to take back.").format(id=public_id))
    row = LabelRow(
        micrograph_id=micrograph.id,
        result_id=holds.result_id,
        kind=UNDO,
        by=by,
        decided_at=at,
        supersedes=holds.id,
    )
    session.add(row)
    session.flush()
    left = [earlier for earlier in standing if earlier is not holds]
    if label_decisions.holding(left, two=two) is None:
        _queue_again(session, micrograph)
    append_act(session, "label.undone", row, names={"micrograph_id": public_id})
    return row.id


def _find_decision(session: Session, public_id: str, decision: Decision) -> int | None:
    """Return the number of the label that was appended for a decision of this id, or None.

    The audit log holds the id next to the label: both have the same instant.

    Raises:
        UsageError: Another decision was sent under this id.
    """
    if not decision.decision_id:
        return None
    query = (
        select(LabelRow, TrailRow.facts)
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
        .join(TrailRow, col(TrailRow.at) == col(LabelRow.decided_at))
        .where(
            MicrographRow.public_id == public_id,
            TrailRow.subject == public_id,
            TrailRow.act == GIVEN,
        )
    )
    for row, text in session.exec(query):
        facts = json.loads(text)
        if facts.get("label") != row.id or facts.get(DECISION_ID) != decision.decision_id:
            continue
        if any(getattr(row, name) != getattr(decision, name) for name in _SAME):
            raise UsageError(
                f"{public_id}: the decision id {decision.decision_id!r} was used for another "
                "decision. Send each decision under an id that is used once."
            )
        return row.id
    return None


def _lacks_reason(session: Session, decision: Decision, before: LabelRow) -> bool:
    """Return whether a decision corrects another one without a reason.

    A suspect label is decided again by a reviewer who has not seen it, so nothing is corrected.
    """
    same = all(
        getattr(decision, name) == getattr(before, name)
        for name in ("kind", "code", "strange_kind", "why", "criterion")
    )
    if same or decision.comment.strip() or label_decisions.is_imported(decision):
        return False
    return before.micrograph_id not in histories(session, [before.micrograph_id])[1]


def _refuse_imported(
    micrograph: MicrographRow, standing: Sequence[LabelRow], decision: Decision
) -> str:
    """Return why an imported label is refused, "" where it is not."""
    own = [label for label in standing if not label_decisions.is_imported(label)]
    if own:
        return (
            f"{own[-1].by} decided on it, and an imported label never replaces a reviewer's; "
            "correct it on its review page."
        )
    names_order = micrograph.origin != "import" and bool(micrograph.order)
    is_of_order = micrograph.specimen_id is not None or names_order
    if is_of_order and decision.origin != label_decisions.FOR_ORDERS:
        return (
            f"it is a field of order {micrograph.order or '?'}, for which an imported label does "
            "not count; review it, or let a lead import it with --for-orders."
        )
    return ""


def doubted() -> Any:
    """Select the micrographs whose label is suspect."""
    return select(LabelRow.micrograph_id).where(_is_open_doubt())


def _is_open_doubt() -> Any:
    later = aliased(LabelRow)
    since = (
        select(later.id)
        .where(later.micrograph_id == LabelRow.micrograph_id, col(later.id) > col(LabelRow.id))
        .exists()
    )
    return and_(col(LabelRow.kind) == DOUBT, ~since)


def micrograph_of(session: Session, public_id: str, *, alone: bool = False) -> MicrographRow:
    """Return a micrograph; `alone`: lock it against other decisions until the transaction ends.

    Raises:
        UsageError: There is no micrograph of this id.
    """
    query = select(MicrographRow).where(MicrographRow.public_id == public_id)
    row = session.exec(query.with_for_update() if alone else query).first()
    if row is None:
        raise UsageError(f"no micrograph has the id {public_id!r}.")
    return row


def _current_result(session: Session, micrograph: MicrographRow) -> ResultRow | None:
    query = select(ResultRow).where(
        ResultRow.micrograph_id == micrograph.id, col(ResultRow.current).is_(True)
    )
    return session.exec(query).first()


def _is_result_of(session: Session, number: int, micrograph: MicrographRow) -> bool:
    query = select(ResultRow.id).where(
        ResultRow.id == number, ResultRow.micrograph_id == micrograph.id
    )
    return session.exec(query).first() is not None


def _queue_again(session: Session, micrograph: MicrographRow) -> None:
    result = _current_result(session, micrograph)
    if result:
        urgent = is_urgent(session, micrograph.site_id, micrograph.order)
        result.review_rank = rank_of(result, urgent=urgent)
        session.add(result)


def _load_rows(session: Session, micrograph_ids: Sequence[int]) -> list[LabelRow]:
    # Columns, not objects: tables of thousands are read, and nothing is changed.
    query = (
        select_columns(*(getattr(LabelRow, name) for name in LabelRow.model_fields))
        .where(col(LabelRow.micrograph_id).in_(micrograph_ids))
        .order_by(col(LabelRow.id))
    )
    return cast("list[LabelRow]", session.execute(query).all())


def _asks_two(micrograph: MicrographRow, result: ResultRow | None) -> bool:
    if result is None:
        return False
    return label_decisions.asks_two(micrograph.sha256, result.thresholds, result.handling)


def list_standing(rows: Iterable[LabelRow]) -> list[LabelRow]:
    """Return the rows of a micrograph that were not undone, oldest first."""
    standing: list[LabelRow] = []
    for row in rows:
        if row.kind == UNDO:
            standing = [earlier for earlier in standing if earlier.id != row.supersedes]
        elif row.kind != DOUBT:
            standing.append(row)
    return standing


def histories(
    session: Session, micrograph_ids: Sequence[int]
) -> tuple[dict[int, list[LabelView]], dict[int, str]]:
    """Return all decisions on these micrographs, and the doubts that no decision followed.

    Returns:
        Micrograph → its decisions, oldest first, undone ones marked.
        Micrograph → why its label has to be reviewed again.
    """
    rows = _load_rows(session, micrograph_ids)
    undone = {row.supersedes: row for row in rows if row.kind == UNDO}
    newest = {row.micrograph_id: row for row in rows}
    decisions: dict[int, list[LabelView]] = {}
    for row in rows:
        if row.kind not in NO_DECISION:
            decisions.setdefault(row.micrograph_id, []).append(to_view(row, undone.get(row.id)))
    return decisions, {of: row.comment for of, row in newest.items() if row.kind == DOUBT}


def to_view(row: LabelRow, undo: LabelRow | None = None) -> LabelView:
    """Return the decision of a row, and who revoked it by another one."""
    return LabelView(
        id=row.id,
        kind=row.kind,
        code=row.code,
        strange_kind=row.strange_kind,
        why=row.why,
        criterion=row.criterion,
        unsure=row.unsure,
        comment=row.comment,
        by=row.by,
        at=row.decided_at,
        viewing_s=row.viewing_s,
        blind=row.blind,
        bulk=row.bulk,
        origin=row.origin,
        result_seen=row.result_id,
        supersedes=row.supersedes,
        undone=undo is not None,
        undone_by=undo.by if undo else "",
        undone_at=undo.decided_at if undo else None,
        after_record=row.after_record,
    )


class Labels(Repository):
    """Repository of decisions and valid labels."""

    def find_decision(self, public_id: str, decision: Decision) -> int | None:
        """Return the number of the label that a decision of this id has already, or None.

        Raises:
            UsageError: Another decision was sent under this id.
        """
        with reading(self._engine) as session:
            return _find_decision(session, public_id, decision)

    def decide(
        self,
        public_id: str,
        decision: Decision,
        *,
        at: datetime,
        expected: Expected = "any",
    ) -> int:
        """Append a decision; the micrograph leaves the queue.

        Args:
            public_id: Of the micrograph.
            decision: The decision.
            at: Now.
            expected: Number of the valid label that the reviewer saw, None for none, "any" where
                the decision counts whatever label is valid.

        Returns:
            The label's number.

        Raises:
            DecisionConflictError: The valid label is another one than expected; nothing was
                written.
            UsageError: No such micrograph, or the decision is incomplete, or a correction has no
                reason.
        """
        with writing(self._engine) as session:
            return _decide(session, self._whose, public_id, decision, at=at, expected=expected)

    def refuse_imported(self, public_id: str, decision: Decision) -> str:
        """Return why an imported label of a micrograph would be refused, "" where it would not.

        Raises:
            UsageError: No such micrograph.
        """
        with reading(self._engine) as session:
            micrograph = micrograph_of(session, public_id)
            standing = list_standing(_load_rows(session, [micrograph.id]))
            return _refuse_imported(micrograph, standing, decision)

    def decide_all(
        self,
        decisions: Sequence[tuple[str, Decision, Expected]],
        *,
        at: datetime,
        or_skip: Sequence[tuple[str, Decision, Expected]] = (),
    ) -> tuple[int | UsageError | DecisionConflictError, ...]:
        """Append decisions on several micrographs in one transaction.

        Args:
            decisions: Each with the public id of its micrograph and the label expected to be valid
                (see `decide`); if one is refused, nothing is written.
            at: Now.
            or_skip: Decisions of which a refused one is left out.

        Returns:
            The number of the label, or why there is none, of each of `or_skip`.

        Raises:
            DecisionConflictError: As `decide`.
            UsageError: As `decide`.
        """
        given = [*decisions, *or_skip]
        outcomes: dict[int, int | UsageError | DecisionConflictError] = {}
        with writing(self._engine) as session:
            # By id, so that two acts on the same micrographs never wait for each other.
            for index in sorted(range(len(given)), key=lambda n: given[n][0]):
                public_id, decision, expected = given[index]
                try:  # it refuses before it writes
                    outcomes[index] = _decide(
                        session, self._whose, public_id, decision, at=at, expected=expected
                    )
                except (UsageError, DecisionConflictError) as refused:
                    if index < len(decisions):
                        raise
                    outcomes[index] = refused
        return tuple(outcomes[index] for index in range(len(decisions), len(given)))

    def count_codes(self) -> dict[str, int]:
        """Return structure code → number of micrographs whose newest decision gives it."""
        undone = select(LabelRow.supersedes).where(
            LabelRow.kind == UNDO, col(LabelRow.supersedes).is_not(None)
        )
        newest = (
            select(func.max(LabelRow.id))
            .where(col(LabelRow.kind).not_in(NO_DECISION), col(LabelRow.id).not_in(undone))
            .group_by(col(LabelRow.micrograph_id))
        )
        query = (
            select(LabelRow.code, func.count(col(LabelRow.id)))
            .where(col(LabelRow.id).in_(newest), col(LabelRow.code).is_not(None))
            .group_by(col(LabelRow.code))
        )
        with reading(self._engine) as session:
            return {code: count for code, count in session.exec(query) if code}

    def undo(self, public_id: str, *, by: str, at: datetime) -> int:
        """Revoke the valid decision; the one before is valid again, else the micrograph is queued.

        Where none is valid yet, since two reviewers decide, each revokes their own.

        Raises:
            UsageError: No such micrograph, nothing to revoke, or no reviewer is named.
        """
        return self.undo_all([public_id], by=by, at=at)[0]

    def undo_all(self, public_ids: Sequence[str], *, by: str, at: datetime) -> list[int]:
        """Revoke the valid decisions of several micrographs in one transaction, all or none.

        Raises:
            UsageError: As `undo`.
        """
        if not by.strip():
            raise UsageError("say who takes the decision back.")
        with writing(self._engine) as session:
            rows = {entry: _undo(session, entry, by=by, at=at) for entry in sorted(public_ids)}
        return [rows[entry] for entry in public_ids]

    def list_given(self, *, by: str, at: datetime) -> list[str]:
        """Return the micrographs that a reviewer decided by one act, at one instant."""
        query = (
            select(MicrographRow.public_id)
            .join(LabelRow, col(LabelRow.micrograph_id) == col(MicrographRow.id))
            .where(
                LabelRow.decided_at == at,
                LabelRow.by == by,
                col(LabelRow.kind).not_in(NO_DECISION),
            )
        )
        with reading(self._engine) as session:
            return list(session.exec(query))

    def count_newest_given(self, *, by: str, at: datetime) -> int:
        """Return how many labels of one act are the newest of their micrographs."""
        undone = select(LabelRow.supersedes).where(
            LabelRow.kind == UNDO, col(LabelRow.supersedes).is_not(None)
        )
        valid = (col(LabelRow.kind).not_in(NO_DECISION), col(LabelRow.id).not_in(undone))
        given = select(LabelRow.micrograph_id).where(
            LabelRow.decided_at == at, LabelRow.by == by, *valid
        )
        newest = (
            select(func.max(LabelRow.id))
            .where(col(LabelRow.micrograph_id).in_(given), *valid)
            .group_by(col(LabelRow.micrograph_id))
        )
        query = select(func.count(col(LabelRow.id))).where(
            col(LabelRow.id).in_(newest), LabelRow.decided_at == at, LabelRow.by == by
        )
        with reading(self._engine) as session:
            return session.exec(query).one()

    def mark_suspect(
        self, public_id: str, *, label_id: int, sentence: str, by: str, at: datetime
    ) -> bool:
        """Send a labelled micrograph back to review; its label is valid until the next decision.

        Args:
            public_id: The micrograph.
            label_id: The suspect label.
            sentence: Why.
            by: Who suspects it.
            at: Now.

        Returns:
            False where a reviewer decided in between, or it already waits for review.
        """
        with writing(self._engine) as session:
            micrograph = micrograph_of(session, public_id, alone=True)
            result = _current_result(session, micrograph)
            rows = _load_rows(session, [micrograph.id])
            holds = label_decisions.holding(list_standing(rows), two=_asks_two(micrograph, result))
            if result is None or holds is None or holds.id != label_id or rows[-1].kind == DOUBT:
                return False
            row = LabelRow(
                micrograph_id=micrograph.id,
                result_id=result.id,
                kind=DOUBT,
                comment=sentence,
                by=by,
                decided_at=at,
            )
            session.add(row)
            urgent = is_urgent(session, micrograph.site_id, micrograph.order)
            result.review_rank = with_urgency(DOUBTED_RANK, urgent=urgent)
            session.add(result)
            append_act(session, "label.doubted", row, names={"micrograph_id": public_id})
            return True

    def count_blind(self) -> tuple[int, int]:
        """Count codes of control samples entered before the answer was shown, and how many agree.

        Other blind decisions are left out: what is flagged, or chosen by a reviewer, is no sample
        of all micrographs.
        """
        with reading(self._engine) as session:
            taken_back = select(LabelRow.supersedes).where(LabelRow.kind == UNDO)
            query = (
                select(LabelRow.code, ResultRow.structure_code, ResultRow.reasons)
                .join(ResultRow, col(ResultRow.id) == col(LabelRow.result_id))
                .where(
                    ResultRow.site_id == self._whose.site_id,
                    col(ResultRow.structure_code).is_not(None),
                    col(LabelRow.blind).is_(True),
                    LabelRow.kind == "code",
                    col(LabelRow.id).not_in(
                        taken_back.where(col(LabelRow.supersedes).is_not(None))
                    ),
                )
            )
            pairs = [
                (code, answer)
                for code, answer, reasons in session.exec(query)
                if Reason.CONTROL_SAMPLE in reasons
            ]
            return len(pairs), sum(code == answer for code, answer in pairs)

    def list_double_reviews(self) -> list[DoubleReview]:
        """Return the first two codes of micrographs that two reviewers judged blind."""
        with reading(self._engine) as session:
            taken_back = select(LabelRow.supersedes).where(col(LabelRow.supersedes).is_not(None))
            query = (
                select(LabelRow, MicrographRow, ResultRow)
                .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
                .join(ResultRow, col(ResultRow.id) == col(LabelRow.result_id), isouter=True)
                .where(
                    MicrographRow.site_id == self._whose.site_id,
                    col(LabelRow.blind).is_(True),
                    LabelRow.kind == "code",
                    col(LabelRow.id).not_in(taken_back.where(LabelRow.kind == UNDO)),
                )
                .order_by(col(LabelRow.micrograph_id), col(LabelRow.id))
            )
            reviews = []
            for _key, rows in groupby(session.exec(query), key=lambda row: row[0].micrograph_id):
                given = list(rows)
                two = label_decisions.votes_of([label for label, *_ in given])
                if len(two) >= label_decisions.TWO:
                    _label, micrograph, result = given[0]
                    reviews.append(_build_double_review(two[0], two[1], micrograph, result))
            return reviews


def _build_double_review(
    one: LabelRow, other: LabelRow, micrograph: MicrographRow, result: ResultRow | None
) -> DoubleReview:
    answers = (result.structure_code, *result.prediction_set) if result else ()
    return DoubleReview(
        codes=(one.code or "", other.code or ""),
        at=other.decided_at,
        specimen=f"{micrograph.order}/{micrograph.specimen}" if micrograph.specimen else "",
        material=micrograph.material,
        answers=tuple(dict.fromkeys(code for code in answers if code)),
    )
