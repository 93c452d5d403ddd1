"""Write down what people say about micrographs: appended, never changed, each with who and when.

In:  a `Decision`. Out: `LabelView`s, and the `LabelledMicrograph`s that training learns from.
An undo is a row that takes the one before back; what holds is read off the rows, oldest first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy
from sqlalchemy import and_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from agent.errors import AgentError, WrongUse
from agent.settings import PROCESS_COLUMNS
from agent.store import audit_log, given_scales, label_resolution, quality_records
from agent.store.tables import LabelRow, MicrographRow, ResultRow, TrailRow
from agent.triage import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.sources import Whose

KINDS = ("code", "strange", "unusable", "cannot_tell")
UNDO = "undo"
DOUBT = "doubt"
"""A row that takes nothing back: the label holds, and somebody should look again."""
NO_DECISION = (UNDO, DOUBT)
GIVEN = "label.given"
"""Act of the audit log: a decision was appended."""
DECISION_ID = "decision_id"
"""Key of that act's facts: the id under which the decision was sent."""
_SAME = ("kind", "by", "code", "strange_kind", "why")
CRITERIA = ("mean", "max", "unrecorded")


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person says about one micrograph.

    Args:
        kind: "code", "strange", "unusable" or "cannot_tell".
        by: Who.
        code: The structure code, with kind "code".
        strange_kind: What kind of strange, with kind "strange".
        why: Why it is unusable, with kind "unusable".
        criterion: "mean", "max" or "unrecorded": which needle-length criterion was used.
        unsure: The person says that they are not sure.
        comment: Free text.
        viewing_s: How long the person looked, in seconds, or None.
        blind: The model's answer was hidden until the decision.
        bulk: One act for many micrographs.
        result_seen: Number of the result the person saw, or None: the current one.
        origin: "review", "import" or "api".
        id: Under which it is sent, the same at each attempt, so that it counts once; "" for none.
    """

    kind: str
    by: str
    code: str | None = None
    strange_kind: str | None = None
    why: str | None = None
    criterion: str = "unrecorded"
    unsure: bool = False
    comment: str = ""
    viewing_s: float | None = None
    blind: bool = False
    bulk: bool = False
    result_seen: int | None = None
    origin: str = "review"
    id: str = ""


@dataclass(frozen=True, slots=True)
class LabelView:
    """One decision as it stands; `Decision` says what the values mean.

    Args:
        id: Its number. at: when, aware UTC. supersedes: number of the one that held before.
        undone: It was taken back. undone_by, undone_at: by whom and when, "" and None where not.
        after_record: As in `LabelRow`.
    """

    id: int
    kind: str
    code: str | None
    strange_kind: str | None
    why: str | None
    criterion: str
    unsure: bool
    comment: str
    by: str
    at: datetime
    viewing_s: float | None
    blind: bool
    bulk: bool
    origin: str
    result_seen: int | None
    supersedes: int | None
    undone: bool
    undone_by: str = ""
    undone_at: datetime | None = None
    after_record: int | None = None


@dataclass(frozen=True, slots=True)
class LabelledMicrograph:
    """One micrograph and the label that holds for it.

    Args:
        id: Public id. sha256, page: which pixels. label_id: number of the label.
        kind: As in `Decision`. code: the structure code, or None.
        strange_kind: What kind of strange, or None. criterion: the rater's. rater: who.
        group: What must stay on one side of a split: order and specimen where known, else the hash.
        process_data: Of the micrograph. process_extra: what has no column of its own.
        origin: "watch", "import" or "api", of the micrograph.
        um_per_px: Its scale, µm per pixel, or None. recipe: that cut it. labelled_at: when.
        model_code: What the current result says, or None. blind: the rater had not seen it.
        label_origin: "review", "import" or "api", of the label.
        seen_code: What the model said when the label was given, or None where it said nothing.
        is_confirmed: Two people say this. is_contested: an import says otherwise than somebody did.
        is_doubted: Somebody should look again. was_checked: it was given after such a doubt.
        is_control: Picked by its hash, to measure how often the model is right; before there is a
            model there is nothing to measure.
    """

    id: str
    sha256: str
    page: int
    label_id: int
    kind: str
    code: str | None
    strange_kind: str | None
    criterion: str
    rater: str
    group: str
    process_data: dict[str, str]
    origin: str
    um_per_px: float | None
    recipe: str
    labelled_at: datetime
    model_code: str | None
    blind: bool = False
    process_extra: Mapping[str, Any] = field(default_factory=dict)
    label_origin: str = "review"
    seen_code: str | None = None
    is_confirmed: bool = False
    is_contested: bool = False
    is_doubted: bool = False
    was_checked: bool = False
    is_control: bool = False


class Overtaken(AgentError):  # noqa: N818 - it is a finding, not a fault
    """Somebody else decided meanwhile; nothing was written."""


def decide(
    session: Session,
    whose: Whose,
    public_id: str,
    decision: Decision,
    *,
    at: datetime,
    expected: int | Literal["any"] | None = "any",
) -> int:
    """Append what somebody says; the micrograph leaves the queue.

    A decision that is sent again under its id is not appended again.

    Returns:
        The label's number.

    Raises:
        Overtaken: Another label holds than the expected one.
        WrongUse: No such micrograph, or the decision is incomplete, or a correction without a why.
    """
    _refuse_incomplete(decision)
    micrograph = micrograph_of(session, public_id, alone=True)
    if (number := find_decision(session, public_id, decision)) is not None:
        return number
    result = _current_result(session, micrograph)
    two = _asks_two(micrograph, result)
    standing = _standing(_rows(session, [micrograph.id or 0]))
    before = label_resolution.holding(standing, two=two)
    if decision.result_seen and not _is_result_of(session, decision.result_seen, micrograph):
        raise WrongUse(f"{public_id}: it has no result of the number {decision.result_seen}.")
    if expected not in ("any", before.id if before else None):
        raise Overtaken(f"{public_id}: {before.by if before else 'somebody'} decided meanwhile.")
    if before and _needs_a_reason(session, decision, before):
        raise WrongUse(
            f"{public_id}: {before.by} decided this already; whoever decides otherwise says why, "
            "in the comment (in the shell: --comment)."
        )
    row = LabelRow(
        micrograph_id=micrograph.id or 0,
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
    settled = label_resolution.holding([*standing, row], two=two) is not None
    if settled and result and result.review_rank is not None:
        result.review_rank = None
        session.add(result)
    session.flush()
    _remember(session, whose, GIVEN, row, micrograph, decision_id=decision.id)
    return row.id or 0


def find_decision(session: Session, public_id: str, decision: Decision) -> int | None:
    """Return the number of the label that was appended for a decision of this id, or None.

    The audit log holds the id next to the label: both have the same instant.

    Raises:
        WrongUse: Another decision was sent under this id.
    """
    if not decision.id:
        return None
    wanted = (
        select(LabelRow, TrailRow.facts)
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
        .join(TrailRow, col(TrailRow.at) == col(LabelRow.decided_at))
        .where(
            MicrographRow.public_id == public_id,
            TrailRow.subject == public_id,
            TrailRow.act == GIVEN,
        )
    )
    for row, text in session.exec(wanted):
        facts = json.loads(text)
        if facts.get("label") != row.id or facts.get(DECISION_ID) != decision.id:
            continue
        if any(getattr(row, name) != getattr(decision, name) for name in _SAME):
            raise WrongUse(
                f"{public_id}: the decision id {decision.id!r} was used for another decision. "
                "Send each decision under an id that is used once."
            )
        return row.id
    return None


def _needs_a_reason(session: Session, decision: Decision, before: LabelRow) -> bool:
    """Say whether a decision corrects another one without saying why.

    A doubted label is decided again by somebody who has not seen it, so nothing is corrected.
    """
    same = all(
        getattr(decision, said) == getattr(before, said)
        for said in ("kind", "code", "strange_kind", "why", "criterion")
    )
    if same or decision.comment.strip() or decision.origin == "import":
        return False
    return before.micrograph_id not in open_doubts(session, [before.micrograph_id])


def undo(session: Session, whose: Whose, public_id: str, *, by: str, at: datetime) -> int:
    """Take the decision that holds back; the one before holds again, or the queue has it again.

    Where none holds yet, since two people are asked, each takes back their own.

    Raises:
        WrongUse: No such micrograph, nothing to take back, or nobody is named.
    """
    if not by.strip():
        raise WrongUse("say who takes the decision back.")
    micrograph = micrograph_of(session, public_id, alone=True)
    two = _asks_two(micrograph, _current_result(session, micrograph))
    standing = _standing(_rows(session, [micrograph.id or 0]))
    own = [one for one in standing if one.by == by]
    holds = label_resolution.holding(standing, two=two) or (own[-1] if own else None)
    if holds is None:
        raise WrongUse(f"{public_id}: there is no decision to take back.")
    row = LabelRow(
        micrograph_id=micrograph.id or 0,
        result_id=holds.result_id,
        kind=UNDO,
        by=by,
        decided_at=at,
        supersedes=holds.id,
    )
    session.add(row)
    session.flush()
    left = [one for one in standing if one is not holds]
    if label_resolution.holding(left, two=two) is None:
        _queue_again(session, micrograph)
    _remember(session, whose, "label.undone", row, micrograph)
    return row.id or 0


def doubt(
    session: Session,
    whose: Whose,
    public_id: str,
    *,
    label_id: int,
    sentence: str,
    by: str,
    at: datetime,
) -> bool:
    """Send a labelled micrograph back to review; its label holds until somebody decides again.

    Args:
        session: Open for writing.
        whose: The site and the agent.
        public_id: The micrograph.
        label_id: The label that is doubted.
        sentence: Why.
        by: Who doubts it.
        at: Now.

    Returns:
        False where somebody decided meanwhile, or it waits for a person already.
    """
    from agent.store.results import DOUBTED_RANK, hastened  # noqa: PLC0415 - it stands above labels
    from agent.store.specimens import is_urgent  # noqa: PLC0415

    micrograph = micrograph_of(session, public_id, alone=True)
    result = _current_result(session, micrograph)
    rows = _rows(session, [micrograph.id or 0])
    holds = label_resolution.holding(_standing(rows), two=_asks_two(micrograph, result))
    if result is None or holds is None or holds.id != label_id or rows[-1].kind == DOUBT:
        return False
    row = LabelRow(
        micrograph_id=micrograph.id or 0,
        result_id=result.id,
        kind=DOUBT,
        comment=sentence,
        by=by,
        decided_at=at,
    )
    session.add(row)
    urgent = is_urgent(session, micrograph.site_id, micrograph.order)
    result.review_rank = hastened(DOUBTED_RANK, urgent=urgent)
    session.add(result)
    session.flush()
    _remember(session, whose, "label.doubted", row, micrograph)
    return True


def open_doubts(session: Session, micrograph_ids: Sequence[int]) -> dict[int, str]:
    """Say why somebody should look again at a labelled micrograph, where nobody has since."""
    asked = select(LabelRow.micrograph_id, LabelRow.comment).where(
        col(LabelRow.micrograph_id).in_(micrograph_ids), _is_open_doubt()
    )
    return dict(session.exec(asked).all())


def doubted() -> Any:
    """Select the micrographs whose label is doubted."""
    return select(LabelRow.micrograph_id).where(_is_open_doubt())


def _is_open_doubt() -> Any:
    later = aliased(LabelRow)
    since = (
        select(later.id)
        .where(later.micrograph_id == LabelRow.micrograph_id, col(later.id) > col(LabelRow.id))
        .exists()
    )
    return and_(col(LabelRow.kind) == DOUBT, ~since)


def _refuse_incomplete(decision: Decision) -> None:
    if decision.kind not in KINDS:
        raise WrongUse(f"a decision is one of {', '.join(KINDS)}, found {decision.kind!r}.")
    if decision.criterion not in CRITERIA:
        raise WrongUse(
            f"a criterion is one of {', '.join(CRITERIA)}, found {decision.criterion!r}."
        )
    if not decision.by.strip():
        raise WrongUse("a decision needs the name of who takes it.")
    needed = {"code": decision.code, "strange": decision.strange_kind, "unusable": decision.why}
    if decision.kind in needed and not needed[decision.kind]:
        raise WrongUse(f"a decision of kind {decision.kind!r} has to say which or why.")


def micrograph_of(session: Session, public_id: str, *, alone: bool = False) -> MicrographRow:
    """Find a micrograph; `alone`: others that want to decide on it wait until we have.

    Raises:
        WrongUse: There is none of this id.
    """
    asked = select(MicrographRow).where(MicrographRow.public_id == public_id)
    row = session.exec(asked.with_for_update() if alone else asked).first()
    if row is None:
        raise WrongUse(f"no micrograph has the id {public_id!r}.")
    return row


def _current_result(session: Session, micrograph: MicrographRow) -> ResultRow | None:
    asked = select(ResultRow).where(
        ResultRow.micrograph_id == micrograph.id, col(ResultRow.current).is_(True)
    )
    return session.exec(asked).first()


def _is_result_of(session: Session, number: int, micrograph: MicrographRow) -> bool:
    asked = select(ResultRow.id).where(
        ResultRow.id == number, ResultRow.micrograph_id == micrograph.id
    )
    return session.exec(asked).first() is not None


def _queue_again(session: Session, micrograph: MicrographRow) -> None:
    from agent.store.results import rank_of  # noqa: PLC0415 - results stands above labels
    from agent.store.specimens import is_urgent  # noqa: PLC0415

    result = _current_result(session, micrograph)
    if result:
        urgent = is_urgent(session, micrograph.site_id, micrograph.order)
        result.review_rank = rank_of(result, urgent=urgent)
        session.add(result)


def _remember(
    session: Session,
    whose: Whose,
    act: str,
    row: LabelRow,
    micrograph: MicrographRow,
    *,
    decision_id: str = "",
) -> None:
    facts = {
        "label": row.id,
        DECISION_ID: decision_id,
        "kind": row.kind,
        "code": row.code,
        "strange_kind": row.strange_kind,
        "why": row.why,
        "criterion": row.criterion,
        "unsure": row.unsure or None,
        "comment": row.comment,
        "supersedes": row.supersedes,
        "result": row.result_id,
        "origin": row.origin,
        "viewing_s": row.viewing_s,
        "blind": row.blind,
        "bulk": row.bulk,
        "after_record": row.after_record,
    }
    audit_log.append(
        session,
        whose.site_id,
        at=row.decided_at,
        actor=row.by,
        act=act,
        subject=micrograph.public_id,
        facts={key: value for key, value in facts.items() if value not in (None, "")},
    )


def _rows(session: Session, micrograph_ids: Sequence[int]) -> list[LabelRow]:
    asked = (
        select(LabelRow)
        .where(col(LabelRow.micrograph_id).in_(micrograph_ids))
        .order_by(col(LabelRow.id))
    )
    return list(session.exec(asked))


def _asks_two(micrograph: MicrographRow, result: ResultRow | None) -> bool:
    if result is None:
        return False
    return label_resolution.asks_two(micrograph.sha256, result.thresholds, result.handling)


def _standing(rows: Iterable[LabelRow]) -> list[LabelRow]:
    """Say which of one micrograph's rows were not taken back, oldest first."""
    standing: list[LabelRow] = []
    for row in rows:
        if row.kind == UNDO:
            standing = [one for one in standing if one.id != row.supersedes]
        elif row.kind != DOUBT:
            standing.append(row)
    return standing


def histories(session: Session, micrograph_ids: Sequence[int]) -> dict[int, list[LabelView]]:
    """Say every decision on these micrographs, oldest first, undone ones marked."""
    rows = _rows(session, micrograph_ids)
    undone = {row.supersedes: row for row in rows if row.kind == UNDO}
    found: dict[int, list[LabelView]] = {}
    for row in rows:
        if row.kind not in NO_DECISION:
            found.setdefault(row.micrograph_id, []).append(_view(row, undone.get(row.id)))
    return found


def _view(row: LabelRow, undo: LabelRow | None) -> LabelView:
    return LabelView(
        id=row.id or 0,
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


def blind_tally(session: Session, whose: Whose) -> tuple[int, int]:
    """Count codes of control samples given before the answer was seen, and how many equal it.

    Other blind decisions are left out: what is flagged, or chosen by a reviewer, is no sample of
    all micrographs.
    """
    taken_back = select(LabelRow.supersedes).where(LabelRow.kind == UNDO)
    asked = (
        select(LabelRow.code, ResultRow.structure_code, ResultRow.reasons)
        .join(ResultRow, col(ResultRow.id) == col(LabelRow.result_id))
        .where(
            ResultRow.site_id == whose.site_id,
            col(ResultRow.structure_code).is_not(None),
            col(LabelRow.blind).is_(True),
            LabelRow.kind == "code",
            col(LabelRow.id).not_in(taken_back.where(col(LabelRow.supersedes).is_not(None))),
        )
    )
    pairs = [
        (code, answer)
        for code, answer, reasons in session.exec(asked)
        if Reason.CONTROL_SAMPLE in reasons
    ]
    return len(pairs), sum(code == answer for code, answer in pairs)


def pairs(session: Session, whose: Whose) -> list[tuple[str, str, datetime]]:
    """Say what the first two people said of each micrograph that two judged unseen, and when."""
    taken_back = select(LabelRow.supersedes).where(col(LabelRow.supersedes).is_not(None))
    asked = (
        select(LabelRow)
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
        .where(
            MicrographRow.site_id == whose.site_id,
            col(LabelRow.blind).is_(True),
            LabelRow.kind == "code",
            col(LabelRow.id).not_in(taken_back.where(LabelRow.kind == UNDO)),
        )
        .order_by(col(LabelRow.micrograph_id), col(LabelRow.id))
    )
    said = groupby(session.exec(asked), key=lambda row: row.micrograph_id)
    both = [label_resolution.votes_of(list(rows))[: label_resolution.TWO] for _, rows in said]
    return [
        (two[0].code or "", two[1].code or "", two[1].decided_at)
        for two in both
        if len(two) == label_resolution.TWO
    ]


def labelled(
    session: Session,
    whose: Whose,
    *,
    kinds: Sequence[str],
    origin: str | None,
    public_id: str | None = None,
) -> Iterator[LabelledMicrograph]:
    """Yield every micrograph of this site that has a label, with the one that holds.

    Args:
        session: Open.
        whose: The site and the agent.
        kinds: Of the labels, as in `Decision`.
        origin: Of the micrographs; None for any.
        public_id: Of the only micrograph that is wanted; None for all.
    """
    asked = (
        select(LabelRow, MicrographRow)
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
        .where(MicrographRow.site_id == whose.site_id)
        .order_by(col(LabelRow.micrograph_id), col(LabelRow.id))
    )
    if origin:
        asked = asked.where(MicrographRow.origin == origin)
    if public_id is not None:
        asked = asked.where(MicrographRow.public_id == public_id)
    rows: dict[int, list[LabelRow]] = {}
    micrographs: dict[int, MicrographRow] = {}
    for label, micrograph in session.exec(asked):
        rows.setdefault(label.micrograph_id, []).append(label)
        micrographs[label.micrograph_id] = micrograph
    alone = None if public_id is None else list(micrographs)
    answers, seen = _answers(session, whose, alone), _seen(session, whose, alone)
    for number, micrograph in micrographs.items():
        answer = answers.get(number, _NO_ANSWER)
        two = label_resolution.asks_two(micrograph.sha256, answer.thresholds, answer.handling)
        label_ = label_resolution.holding(_standing(rows[number]), two=two)
        if label_ and label_.kind in kinds:
            said = seen.get(label_.result_id or 0)
            yield _labelled(label_, rows[number], micrograph, answer, said)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is asked of a current result."""

    code: str | None
    thresholds: Mapping[str, Any]
    handling: str
    reasons: Sequence[str]


_NO_ANSWER = _Answer(None, {}, "", ())


def _answers(
    session: Session, whose: Whose, alone: Sequence[int] | None = None
) -> dict[int, _Answer]:
    asked = (
        sqlalchemy.select(
            col(ResultRow.micrograph_id),
            col(ResultRow.structure_code),
            col(ResultRow.thresholds),
            col(ResultRow.handling),
            col(ResultRow.reasons),
        )
        .join(LabelRow, col(LabelRow.micrograph_id) == col(ResultRow.micrograph_id))
        .where(col(ResultRow.site_id) == whose.site_id, col(ResultRow.current).is_(True))
    )
    if alone is not None:
        asked = asked.where(col(ResultRow.micrograph_id).in_(alone))
    return {number: _Answer(*told) for number, *told in session.execute(asked)}


def _seen(
    session: Session, whose: Whose, alone: Sequence[int] | None = None
) -> dict[int, str | None]:
    """Say what the results said that people saw when they decided."""
    asked = (
        select(ResultRow.id, ResultRow.structure_code)
        .join(LabelRow, col(LabelRow.result_id) == col(ResultRow.id))
        .where(ResultRow.site_id == whose.site_id)
    )
    if alone is not None:
        asked = asked.where(col(ResultRow.micrograph_id).in_(alone))
    return {number or 0: code for number, code in session.exec(asked)}


def _labelled(
    label: LabelRow,
    rows: Sequence[LabelRow],
    micrograph: MicrographRow,
    answer: _Answer,
    seen_code: str | None,
) -> LabelledMicrograph:
    newest = [
        vote for vote in label_resolution.votes_of(_standing(rows)) if vote.kind == label.kind
    ]
    agree = sum(vote.code == label.code for vote in newest)
    doubts = [row.id or 0 for row in rows if row.kind == DOUBT]
    return LabelledMicrograph(
        id=micrograph.public_id,
        sha256=micrograph.sha256,
        page=micrograph.page,
        label_id=label.id or 0,
        kind=label.kind,
        code=label.code,
        strange_kind=label.strange_kind,
        criterion=label.criterion,
        rater=label.by,
        group=group_of(micrograph),
        process_data=process_data_of(micrograph),
        process_extra=micrograph.process_extra,
        origin=micrograph.origin,
        um_per_px=given_scales.resolve_scale(answer.thresholds, micrograph.um_per_px),
        recipe=micrograph.recipe,
        labelled_at=label.decided_at,
        model_code=answer.code,
        blind=label.blind,
        label_origin=label.origin,
        seen_code=seen_code,
        is_confirmed=agree >= label_resolution.TWO,
        is_contested=label.origin == "import" and label_resolution.TWO > agree != len(newest),
        is_doubted=rows[-1].kind == DOUBT,
        was_checked=any(number < (label.id or 0) for number in doubts),
        is_control=Reason.CONTROL_SAMPLE in answer.reasons and answer.code is not None,
    )


def group_of(micrograph: MicrographRow) -> str:
    """Say what must stay together in a split: one specimen of one order, else one content."""
    if micrograph.specimen:
        return f"{micrograph.order}/{micrograph.specimen}"
    return micrograph.sha256


def process_data_of(micrograph: MicrographRow) -> dict[str, str]:
    """Say the process data that is known, column → value."""
    return {name: value for name in PROCESS_COLUMNS if (value := getattr(micrograph, name))}
