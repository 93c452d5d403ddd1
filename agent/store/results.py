"""Write down what each micrograph shows and what a bundle said of it, and give it back for a page.

In:  `Finding`s of the pipeline. Out: `MicrographView`s for the night, the queue and the pages.
A result is never written over: another bundle's answer is a row beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Text, cast, func, literal_column, or_, update
from sqlmodel import col, select

from agent.settings import PROCESS_COLUMNS
from agent.store import (
    audit_log,
    file_status,
    filing,
    given_scales,
    label_resolution,
    labels,
    order_claims,
    places,
    quality_records,
    specimens,
)
from agent.store.file_states import chunks
from agent.store.tables import ContentRow, MicrographRow, ResultRow, Row, SourceRow
from agent.triage import Handling, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.labels import LabelView
    from agent.store.sources import Whose
    from agent.triage import TriageVerdict
    from model import Prediction

CHUNK = 400
RANKS_PER_REASON = 1_000_000
URGENT = 1_000_000_000  # more than all reasons together
DOUBTED_RANK = list(Reason).index(Reason.DOUBTED_LABEL) * RANKS_PER_REASON
DRAWN = (Reason.CONTROL_SAMPLE, Reason.UNLIKE_TAUGHT)
"""Reasons that say nothing is wrong: what they pick would wait as long as anything else comes."""
ONE_IN = 10
LIVE = "live"
RESULT, MICROGRAPH = "r_", "m_"
"""How columns of the two tables are told apart in one row."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All that is known of one micrograph when it is done.

    Args:
        crop_facts: As `agent inspect --json` says it.
        process_data: The columns of the settings' list. process_extra: everything else.
        prediction: What the bundle says, or None where there is none yet.
        verdict: Automatic, or review with its reasons.
        thresholds: The settings the verdict was reached with.
        origin: "watch", "import" or "api".
        artefacts: What was archived: kind → True or a name.
        area_mm2: Of steel in the crop, mm², or None without a scale.
        unassigned: Why it can belong to no specimen, "" where its keys say where it belongs.
        expected: What was ordered, and the size inside that subtype, where another one was seen.
        landmarks: What its place is recognised by, None where there is nothing.
        claims: Other orders and specimens that its path, note or sender name.
    """

    crop_facts: Mapping[str, Any]
    process_data: Mapping[str, str]
    process_extra: Mapping[str, Any]
    prediction: Prediction | None
    verdict: TriageVerdict
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "watch"
    artefacts: Mapping[str, Any] = field(default_factory=dict)
    area_mm2: float | None = None
    unassigned: str = ""
    expected: Mapping[str, Any] = field(default_factory=dict)
    landmarks: bytes | None = None
    claims: Sequence[order_claims.ClaimedPlace] = ()


@dataclass(frozen=True, slots=True)
class MicrographView:
    """One micrograph with its current result, ready for a page.

    Args:
        id: Public id. sha256, page: which pixels. path: where it came from. source: its name.
        done_at: When its result was stored, aware UTC. taken_at: when it was taken in.
        width, height: Of the page, in pixels.
        um_per_px: Scale, µm per pixel, or None. um_per_px_source: who said it.
        crop: Box (x0, y0, x1, y1) that was kept. recipe: that cut it. warnings: stable words.
        crop_facts: As `agent inspect --json` says it.
        process_data: Column → value. process_extra: everything else.
        subtype … prediction_set: As in `model.Prediction`; None or empty without a bundle.
        strangeness: p_value, flagged, whole, local, where, sentence, nearest; empty without one.
        handling: "automatic" or "review". reasons: why, the weightiest first.
        bundle: "" where there was none. engine, precision: what computed it.
        result_id: Number of the result. origin: "watch", "import" or "api".
        label: The decision that holds, or None. labels: every decision, oldest first.
        asks_two: Two people are asked, and a third where they disagree. votes: what they said.
        doubt: Why somebody should look at its label again, "" where nobody says so.
        awaits: It is in the review queue.
        number: Of the micrograph's row; one that was taken in later has a larger one.
        artefacts: What was archived. pruned_at: when its pixels were deleted, or None.
        expected: What was ordered, and the size inside that subtype, where another one was seen.
    """

    id: str
    sha256: str
    page: int
    path: str
    source: str
    done_at: datetime
    width: int
    height: int
    um_per_px: float | None
    um_per_px_source: str | None
    crop: tuple[int, int, int, int] | None
    recipe: str
    warnings: tuple[str, ...]
    crop_facts: dict[str, Any]
    process_data: dict[str, str]
    process_extra: dict[str, Any]
    subtype: str | None
    subtype_probabilities: dict[str, float]
    size: str | None
    size_min: int | None
    size_max: int | None
    size_probabilities: dict[str, float]
    structure_code: str | None
    probability: float | None
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    coarser_share: dict[str, float]
    strangeness: dict[str, Any]
    handling: str
    reasons: tuple[str, ...]
    thresholds: dict[str, Any]
    bundle: str
    engine: str
    precision: str
    result_id: int
    origin: str
    label: LabelView | None
    labels: tuple[LabelView, ...]
    awaits: bool
    artefacts: dict[str, Any]
    pruned_at: datetime | None
    expected: dict[str, Any] = field(default_factory=dict)
    votes: tuple[LabelView, ...] = ()
    asks_two: bool = False
    doubt: str = ""
    taken_at: datetime | None = None
    after_record: int | None = None
    number: int = 0

    @property
    def disagreed(self) -> bool:
        """Two people have said different things, and a third has to settle it."""
        return self.label is None and len(self.votes) >= label_resolution.TWO


# --- writing ------------------------------------------------------------------------------------


def write(
    session: Session,
    whose: Whose,
    content: ContentRow,
    relative: str,
    finding: Finding,
    *,
    at: datetime,
) -> str:
    """Write one micrograph and its result; what is already there is kept as it is.

    Returns:
        The micrograph's public id.

    Raises:
        OtherBundle: Its specimen is judged by another bundle; the transaction must be given up.
    """
    if finding.claims:
        audit_log.lock(session)  # before the specimen's row, as two agents may write crosswise
    micrograph = _micrograph(session, content, relative, finding, at=at)
    places.add(session, micrograph, finding.landmarks)
    if finding.origin != "import" and micrograph.specimen_id is None and not micrograph.unassigned:
        bundle = finding.prediction.bundle if finding.prediction else ""
        micrograph.unassigned = finding.unassigned
        specimens.attach(session, whose, micrograph, bundle, at=at)
        order_claims.add(session, whose, micrograph, finding.claims, at=at)
    if not _was_said(session, micrograph, finding):
        _write_result(session, whose, micrograph, finding, role=LIVE, at=at)
    return micrograph.public_id


def add(
    session: Session, whose: Whose, public_id: str, finding: Finding, *, role: str, at: datetime
) -> bool:
    """Write another answer about a known micrograph; False if it is there already."""
    micrograph = labels.micrograph_of(session, public_id)
    if _was_said(session, micrograph, finding):
        return False
    _write_result(session, whose, micrograph, finding, role=role, at=at)
    return True


def _was_said(session: Session, micrograph: MicrographRow, finding: Finding) -> bool:
    asked = select(ResultRow.id).where(
        ResultRow.micrograph_id == micrograph.id,
        ResultRow.bundle == (finding.prediction.bundle if finding.prediction else ""),
        ResultRow.recipe == given_scales.resolve_recipe(finding.thresholds, micrograph.recipe),
    )
    return session.exec(asked).first() is not None


def _micrograph(
    session: Session, content: ContentRow, relative: str, finding: Finding, *, at: datetime
) -> MicrographRow:
    facts = dict(finding.crop_facts)
    asked = select(MicrographRow).where(
        MicrographRow.sha256 == facts["sha256"], MicrographRow.page == facts["page"]
    )
    if row := session.exec(asked).first():
        return row
    columns: dict[str, Any] = {
        name: str(finding.process_data.get(name) or "") for name in PROCESS_COLUMNS
    }
    row = MicrographRow(
        public_id=facts["id"],
        content_id=content.id or 0,
        site_id=content.site_id,
        source_id=content.source_id,
        sha256=facts["sha256"],
        page=facts["page"],
        relative=relative,
        origin=finding.origin,
        taken_at=at,
        width=facts["width"],
        height=facts["height"],
        format=facts.get("format") or "",
        um_per_px=facts.get("um_per_px"),
        um_per_px_source=facts.get("um_per_px_source"),
        recipe=facts.get("recipe") or "",
        crop_facts=facts,
        warnings=list(facts.get("warnings") or ()),
        artefacts=dict(finding.artefacts),
        process_extra=dict(finding.process_extra),
        area_mm2=finding.area_mm2,
        **columns,
    )
    session.add(row)
    session.flush()
    return row


def _write_result(
    session: Session,
    whose: Whose,
    micrograph: MicrographRow,
    finding: Finding,
    *,
    role: str,
    at: datetime,
) -> None:
    if role == LIVE:
        session.execute(
            update(ResultRow)
            .where(col(ResultRow.micrograph_id) == micrograph.id, col(ResultRow.current).is_(True))
            .values(current=False, review_rank=None)
        )
    row = ResultRow(
        micrograph_id=micrograph.id or 0,
        site_id=whose.site_id,
        agent_id=whose.agent_id,
        recipe=given_scales.resolve_recipe(finding.thresholds, micrograph.recipe),
        role=role,
        current=role == LIVE,
        origin=finding.origin,
        done_at=at,
        handling=finding.verdict.handling.value,
        reasons=[reason.value for reason in finding.verdict.reasons],
        thresholds=dict(finding.thresholds),
        after_record=quality_records.find_newest_id(session, whose.site_id),
        expected=dict(finding.expected),
        **(_said(finding.prediction) if finding.prediction else {}),
    )
    if role == LIVE and not labels.histories(session, [micrograph.id or 0]):
        urgent = specimens.is_urgent(session, whose.site_id, micrograph.order)
        row.review_rank = rank_of(row, urgent=urgent)
    row.filed = filing.describe(session, row, micrograph)
    session.add(row)
    session.flush()


def _said(prediction: Prediction) -> dict[str, Any]:
    strange = prediction.strangeness
    return {
        "bundle": prediction.bundle,
        "subtype": prediction.subtype,
        "subtype_probabilities": _numbers(prediction.subtype_probabilities),
        "size": prediction.size,
        "size_min": prediction.size_min,
        "size_max": prediction.size_max,
        "size_probabilities": _numbers(prediction.size_probabilities),
        "structure_code": prediction.structure_code,
        "probability": float(prediction.probability),
        "probabilities": _numbers(prediction.probabilities),
        "prediction_set": list(prediction.prediction_set),
        "coarser_share": _numbers(prediction.coarser_share),
        "p_value": float(strange.p_value),
        "strangeness": {
            "p_value": float(strange.p_value),
            "flagged": bool(strange.flagged),
            "whole": float(strange.whole),
            "local": float(strange.local),
            "where": [int(edge) for edge in strange.where] if strange.where else None,
            "sentence": strange.sentence,
            "nearest": {code: list(keys) for code, keys in strange.nearest.items()},
            "look": strange.look,
            "area_um2": None if strange.area_um2 is None else float(strange.area_um2),
            "defects": list(prediction.defects),
            "companions": _numbers(strange.companions),
        },
        "engine": prediction.engine,
        "precision": prediction.precision,
    }


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def rank_of(row: ResultRow, *, urgent: bool = False) -> int | None:
    """Say a result's place in the review queue: the weightiest reason, then the least probable.

    Args:
        row: The result.
        urgent: Its order goes before every other.

    Returns:
        Smaller comes first; None where nobody needs to look.
    """
    if row.handling != Handling.REVIEW or row.origin == "import" or not row.reasons:
        return None
    reason = row.reasons[0]
    weight = list(Reason).index(Reason(reason))
    doubt = row.p_value if reason == Reason.STRANGE else row.probability
    if reason == Reason.CONTROL_SAMPLE:
        doubt = 0.0  # in order of arrival: the doubtful ones first would not be a random sample
    inside = min(max(doubt or 0.0, 0.0), 1.0)
    rank = weight * RANKS_PER_REASON + round(inside * (RANKS_PER_REASON - 1))
    return hastened(rank, urgent=urgent)


def hastened(rank: int, *, urgent: bool) -> int:
    """Put a place in the queue before all that are not urgent, or back among them."""
    place = rank % URGENT
    return place - URGENT if urgent else place


def ask_again(session: Session, whose: Whose, public_ids: Sequence[str], reason: Reason) -> None:
    """Put micrographs into the review queue for one more reason, also where a label holds."""
    for public_id in public_ids:
        micrograph = labels.micrograph_of(session, public_id, alone=True)
        row = session.exec(
            select(ResultRow).where(ResultRow.micrograph_id == micrograph.id, _is_current())
        ).first()
        if row is None:
            continue
        asked = {*row.reasons, reason.value}
        row.reasons = [one.value for one in Reason if one.value in asked]
        row.handling = Handling.REVIEW.value
        urgent = specimens.is_urgent(session, whose.site_id, micrograph.order)
        row.review_rank = rank_of(row, urgent=urgent)
        session.add(row)


# --- asking -------------------------------------------------------------------------------------


def _columns(table: type[Row], prefix: str) -> list[Any]:
    columns = Row.metadata.tables[str(table.__tablename__)].columns
    return [column.label(prefix + column.name) for column in columns]


def _asked(which: Any = None) -> Any:
    return _every_answer().where(_is_current() if which is None else which)


@cache
def _every_answer() -> Any:
    """Return the statement that others narrow down; it costs more to build than to run."""
    # Columns, not objects: a night of hundreds is read for a page, and nothing is changed.
    return (
        sqlalchemy.select(
            *_columns(ResultRow, RESULT),
            *_columns(MicrographRow, MICROGRAPH),
            col(SourceRow.name).label("source"),
            col(SourceRow.folder).label("folder"),
        )
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
    )


def _is_current() -> Any:
    # Spelt as in the partial indexes: only then does a planner see that it may use them.
    return col(ResultRow.current).is_(True)


def one(session: Session, public_id: str) -> MicrographView | None:
    """Say all about one micrograph, or None if there is none of this id."""
    rows = session.execute(_asked().where(MicrographRow.public_id == public_id)).all()
    return next(_views(session, rows), None)


def of_micrographs(
    session: Session, numbers: Sequence[int]
) -> Iterator[tuple[Any, MicrographView]]:
    """Say all about micrographs by their row numbers, oldest first, each beside its row."""
    for some in chunks(numbers):
        asked = _asked().where(col(ResultRow.micrograph_id).in_(some))
        rows = session.execute(asked.order_by(col(ResultRow.id))).all()
        yield from zip(rows, _views(session, rows), strict=True)


def found(
    session: Session,
    whose: Whose,
    *,
    sha256: str | None,
    path: str | None,
    order: str | None,
    specimen: str | None,
    limit: int,
) -> list[MicrographView]:
    """Say all about the micrographs that fit every question asked, the newest first."""
    asked = select(MicrographRow.id).where(MicrographRow.site_id == whose.site_id)
    if sha256:
        asked = asked.where(MicrographRow.sha256 == sha256)
    if path:
        asked = asked.where(col(MicrographRow.content_id).in_(file_status.named(path)))
    if order:
        asked = asked.where(MicrographRow.order == order)
    if specimen:
        asked = asked.where(MicrographRow.specimen == specimen)
    numbers = session.exec(asked.order_by(col(MicrographRow.id).desc()).limit(limit)).all()
    views = [view for _, view in of_micrographs(session, [one for one in numbers if one])]
    return views[::-1]


def queue(
    session: Session,
    whose: Whose,
    *,
    reason: str | None,
    source: str | None,
    order: str | None,
    limit: int | None,
) -> list[MicrographView]:
    """Say which micrographs wait for a person, the weightiest reason first.

    One place in ten goes to what was drawn (`DRAWN`), whatever else waits.
    """
    asked = _asked().where(ResultRow.site_id == whose.site_id)
    if reason == Reason.DOUBTED_LABEL:
        asked = asked.where(col(ResultRow.micrograph_id).in_(labels.doubted()))
    elif reason:
        asked = asked.where(cast(col(ResultRow.reasons), Text).contains(f'"{reason}"'))
    if source:
        asked = asked.where(SourceRow.name == source)
    if order:
        return list(_views(session, _of_order(session, whose, asked, order)[:limit]))
    asked = asked.where(col(ResultRow.review_rank).is_not(None)).order_by(
        col(ResultRow.review_rank), col(ResultRow.done_at), col(ResultRow.id)
    )
    rows = session.execute(asked.limit(limit)).all()
    if reason is None:
        drawn = session.execute(asked.where(_is_drawn()).limit(limit and limit // ONE_IN)).all()
        rows = mixed(rows, drawn)[: len(rows)]
    return list(_views(session, rows))


def _is_drawn() -> Any:
    starts = [list(Reason).index(reason) * RANKS_PER_REASON for reason in DRAWN]
    rank = col(ResultRow.review_rank)
    return or_(*(rank.between(start, start + RANKS_PER_REASON - 1) for start in starts))


def mixed(rows: Sequence[Any], drawn: Sequence[Any]) -> list[Any]:
    """Give every tenth place behind what is urgent to what was drawn.

    Args:
        rows: The weightiest that wait, in order; some of the drawn may be among them.
        drawn: Those that were drawn and are not urgent, in order.
    """
    taken = {row.r_id for row in drawn}
    urgent = [row for row in rows if row.r_review_rank < 0]
    weighty = [row for row in rows[len(urgent) :] if row.r_id not in taken]
    left, found = list(drawn), list(urgent)
    for start in range(0, len(weighty), ONE_IN - 1):
        found += [*weighty[start : start + ONE_IN - 1], *left[:1]]
        left = left[1:]
    return found + left


def _of_order(session: Session, whose: Whose, asked: Any, order: str) -> list[Any]:
    # From the order's side, sorted here: a planner would walk through the whole queue.
    its_own = (
        select(MicrographRow.id)
        .where(MicrographRow.site_id == whose.site_id, MicrographRow.order == order)
        .correlate(None)
    )
    rows = session.execute(asked.where(col(ResultRow.micrograph_id).in_(its_own))).all()
    waiting = [row for row in rows if row.r_review_rank is not None]
    return sorted(waiting, key=lambda row: (row.r_review_rank, row.r_done_at, row.r_id))


def queue_length(session: Session, whose: Whose) -> int:
    """Say how many micrographs wait for a person."""
    asked = select(func.count()).where(
        ResultRow.site_id == whose.site_id, col(ResultRow.review_rank).is_not(None)
    )
    return session.exec(asked).one()


def waiting(
    session: Session, whose: Whose, *, until: datetime | None = None
) -> tuple[int, datetime | None]:
    """Say how many, or of those done up to an instant, wait for a person, and since when."""
    asked = select(func.count(), func.min(col(ResultRow.done_at))).where(
        ResultRow.site_id == whose.site_id, col(ResultRow.review_rank).is_not(None)
    )
    if until is not None:
        asked = asked.where(col(ResultRow.done_at) <= until)
    return session.exec(asked).one()


def between(
    session: Session, whose: Whose, after: datetime, until: datetime
) -> list[MicrographView]:
    """Say what was done in (after, until], oldest first; imported micrographs are no night's."""
    asked = (
        _asked()
        .where(
            ResultRow.site_id == whose.site_id,
            literal_column("result.origin") == literal_column("'watch'"),
            col(ResultRow.done_at) > after,
            col(ResultRow.done_at) <= until,
        )
        .order_by(col(ResultRow.done_at), col(ResultRow.id))
    )
    return list(_views(session, session.execute(asked).all()))


def late(session: Session, whose: Whose, *, until: datetime, after_id: int) -> list[MicrographView]:
    """Return what the watch brought with a done-at up to an instant, written after a result.

    Args:
        session: Open.
        whose: The site.
        until: Aware UTC.
        after_id: Number of that result.
    """
    asked = (
        _asked()
        .where(
            ResultRow.site_id == whose.site_id,
            literal_column("result.origin") == literal_column("'watch'"),
            col(ResultRow.id) > after_id,
            col(ResultRow.done_at) <= until,
        )
        .order_by(col(ResultRow.done_at), col(ResultRow.id))
    )
    return list(_views(session, session.execute(asked).all()))


def every(session: Session, whose: Whose) -> Iterator[MicrographView]:
    """Say every micrograph of this site, oldest first, a few at a time."""
    asked = (
        _asked().where(ResultRow.site_id == whose.site_id).order_by(col(ResultRow.id)).limit(CHUNK)
    )
    last = 0
    while rows := session.execute(asked.where(col(ResultRow.id) > last)).all():
        yield from _views(session, rows)
        last = rows[-1].r_id


def by_bundle(
    session: Session, whose: Whose, bundle: str, since: datetime | None
) -> Iterator[MicrographView]:
    """Say every micrograph that came since, with what one bundle said of it."""
    asked = (
        _asked(col(ResultRow.bundle) == bundle)
        .where(ResultRow.site_id == whose.site_id)
        .order_by(col(ResultRow.id))
        .limit(CHUNK)
    )
    if since is not None:
        asked = asked.where(col(MicrographRow.taken_at) >= since)
    last = 0
    while rows := session.execute(asked.where(col(ResultRow.id) > last)).all():
        yield from _views(session, rows)
        last = rows[-1].r_id


def _views(session: Session, rows: Sequence[Any]) -> Iterator[MicrographView]:
    for some in chunks(rows):
        said = labels.histories(session, [row.m_id for row in some])
        doubts = labels.open_doubts(session, list(said)) if said else {}
        for row in some:
            yield _view(row, tuple(said.get(row.m_id, ())), doubts.get(row.m_id, ""))


def _place(folder: str, relative: str) -> str:
    return folder + os.sep + relative.replace("/", os.sep)  # a Path each costs a tenth of a night


def _view(row: Any, said: tuple[LabelView, ...], doubt: str) -> MicrographView:
    box = row.m_crop_facts.get("crop")
    standing = [label for label in said if not label.undone]
    two = label_resolution.asks_two(row.m_sha256, row.r_thresholds, row.r_handling)
    told = {name: getattr(row, MICROGRAPH + name) for name in PROCESS_COLUMNS}
    return MicrographView(
        id=row.m_public_id,
        sha256=row.m_sha256,
        page=row.m_page,
        path=_place(row.folder, row.m_relative),
        source=row.source,
        done_at=row.r_done_at,
        width=row.m_width,
        height=row.m_height,
        um_per_px=given_scales.resolve_scale(row.r_thresholds, row.m_um_per_px),
        um_per_px_source=given_scales.BY_REVIEWER
        if given_scales.find_given(row.r_thresholds)
        else row.m_um_per_px_source,
        crop=(box[0], box[1], box[2], box[3]) if box else None,
        recipe=row.m_recipe,
        warnings=given_scales.keep_warnings(row.r_thresholds, row.m_warnings),
        crop_facts=row.m_crop_facts,
        process_data={name: value for name, value in told.items() if value},
        process_extra=row.m_process_extra,
        subtype=row.r_subtype,
        subtype_probabilities=row.r_subtype_probabilities,
        size=row.r_size,
        size_min=row.r_size_min,
        size_max=row.r_size_max,
        size_probabilities=row.r_size_probabilities,
        structure_code=row.r_structure_code,
        probability=row.r_probability,
        probabilities=row.r_probabilities,
        prediction_set=tuple(row.r_prediction_set),
        coarser_share=row.r_coarser_share,
        strangeness=row.r_strangeness,
        handling=row.r_handling,
        reasons=(*((Reason.DOUBTED_LABEL.value,) if doubt else ()), *row.r_reasons),
        thresholds=row.r_thresholds,
        bundle=row.r_bundle,
        engine=row.r_engine,
        precision=row.r_precision,
        result_id=row.r_id,
        origin=row.r_origin,
        label=label_resolution.holding(standing, two=two),
        votes=tuple(label_resolution.votes_of(standing)) if two else (),
        asks_two=two,
        labels=said,
        awaits=row.r_review_rank is not None,
        artefacts=row.m_artefacts,
        pruned_at=row.m_pruned_at,
        expected=row.r_expected,
        doubt=doubt,
        taken_at=row.m_taken_at,
        after_record=row.r_after_record,
        number=row.m_id,
    )
