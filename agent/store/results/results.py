"""Micrographs and their results: written once, and read as views for pages, queue and reports.

A result is never overwritten: another bundle's answer is an additional row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, literal_column, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.needles import NeedleField
from agent.settings import PROCESS_COLUMNS
from agent.store.engine import AgentIdentity, Repository, reading, write_retrying, writing
from agent.store.evidence import audit_log, quality_records, seals
from agent.store.evidence.declaration import CHANGEABLE
from agent.store.orders import order_naming, specimens
from agent.store.people import labels
from agent.store.people.label_decisions import rank_of
from agent.store.results import micrograph_views, places, stored_facts
from agent.store.results.micrograph_views import (
    CHUNK,
    CurrentAnswer,
    MicrographView,
    of_micrographs,
    select_results,
    to_views,
)
from agent.store.tables import ContentRow, MicrographRow, NeedleFieldRow, ResultRow
from agent.store.work import file_status
from agent.triage import TriageVerdict
from model import Prediction
from reports import compose_ood_message

ACT = "micrograph.described"


def describe(
    session: Session,
    whose: AgentIdentity,
    public_id: str,
    process_data: Mapping[str, str],
    *,
    by: str,
    at: datetime,
) -> None:
    """Replace some process data of an imported micrograph; what was before is in the audit log.

    Args:
        session: Open for writing.
        whose: Site and agent.
        public_id: Of the micrograph.
        process_data: Column → new value, of `CHANGEABLE`; columns that are not named stay.
        by: Who.
        at: Now.

    Raises:
        UsageError: No such micrograph, or it was not imported, or it belongs to an order's
            specimen, or a column never changes.
    """
    row = labels.micrograph_of(session, public_id)
    if row.origin != "import" or row.specimen_id is not None:
        raise UsageError(
            f"{public_id} belongs to an order or was not imported; a lead changes its place: "
            "agent orders assign."
        )
    if fixed := sorted(process_data.keys() - {*CHANGEABLE}):
        raise UsageError(
            f"{public_id}: {', '.join(fixed)} never changes once an image is filed; what may be "
            f"replaced is {', '.join(CHANGEABLE)}."
        )
    before = {name: getattr(row, name) for name in process_data}
    for name, text in process_data.items():
        setattr(row, name, text)
    session.add(row)
    audit_log.append(
        session,
        whose.site_id,
        at=at,
        actor=by,
        act=ACT,
        subject=public_id,
        facts={"before": before, "after": dict(process_data)},
    )


LIVE = "live"


@dataclass(frozen=True, slots=True)
class MicrographResult:
    """A processed micrograph with its result, ready to be written.

    Args:
        crop_facts: As `agent look --json` prints them.
        process_data: The columns of the settings' list.
        process_extra: Process data without a column.
        prediction: The bundle's prediction, or None where there is none yet.
        verdict: Automatic, or review with its reasons.
        thresholds: The settings used for the verdict.
        origin: "watch", "import" or "api".
        artefacts: Archived files: kind → True or a name.
        area_mm2: Area of steel in the crop, mm², or None without a scale.
        unassigned: Why it can belong to no specimen, "" where its keys name one.
        expected: What was ordered, and the size inside that subtype, where another one was seen.
        landmarks: Landmarks of its place, or None.
        claims: Other orders and specimens that its path, note or sender name.
        needles: Its needles, None where they were not to be measured.
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
    claims: Sequence[order_naming.ClaimedPlace] = ()
    needles: NeedleField | None = None


# --- writing --------------------------------------------------------------------------------------


def write(
    session: Session,
    whose: AgentIdentity,
    content: ContentRow,
    relative: str,
    finding: MicrographResult,
    *,
    at: datetime,
) -> str:
    """Write a micrograph and its result; existing rows are left unchanged.

    Returns:
        The micrograph's public id.

    Raises:
        OtherBundleError: Its specimen is judged by another bundle; the transaction must be rolled
            back.
    """
    if finding.claims:
        audit_log.lock(session)  # before the specimen's row, as two agents may write crosswise
    micrograph = _micrograph(session, content, relative, finding, at=at)
    places.add(session, micrograph, finding.landmarks)
    if finding.origin != "import" and micrograph.specimen_id is None and not micrograph.unassigned:
        bundle = finding.prediction.bundle if finding.prediction else ""
        micrograph.unassigned = finding.unassigned
        specimens.attach(session, whose, micrograph, bundle, at=at, content=content)
        order_naming.add(session, whose, micrograph, finding.claims, at=at)
    if not _has_result(session, micrograph, finding):
        _write_result(session, whose, micrograph, finding, role=LIVE, at=at)
    return micrograph.public_id


def add_answer(
    session: Session,
    whose: AgentIdentity,
    public_id: str,
    finding: MicrographResult,
    *,
    role: str,
    at: datetime,
) -> bool:
    """Write another answer about a known micrograph; False if it is there already."""
    micrograph = labels.micrograph_of(session, public_id)
    if _has_result(session, micrograph, finding):
        return False
    _write_result(session, whose, micrograph, finding, role=role, at=at)
    return True


def _has_result(session: Session, micrograph: MicrographRow, finding: MicrographResult) -> bool:
    query = select(ResultRow.id).where(
        ResultRow.micrograph_id == micrograph.id,
        ResultRow.bundle == (finding.prediction.bundle if finding.prediction else ""),
        ResultRow.recipe == stored_facts.resolve_recipe(finding.thresholds, micrograph.recipe),
    )
    return session.exec(query).first() is not None


def _micrograph(
    session: Session, content: ContentRow, relative: str, finding: MicrographResult, *, at: datetime
) -> MicrographRow:
    facts = dict(finding.crop_facts)
    query = select(MicrographRow).where(
        MicrographRow.sha256 == facts["sha256"], MicrographRow.page == facts["page"]
    )
    if row := session.exec(query).first():
        return row
    columns: dict[str, Any] = {
        name: str(finding.process_data.get(name) or "") for name in PROCESS_COLUMNS
    }
    row = MicrographRow(
        public_id=facts["id"],
        content_id=content.id,
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
    whose: AgentIdentity,
    micrograph: MicrographRow,
    finding: MicrographResult,
    *,
    role: str,
    at: datetime,
) -> None:
    replaced = _withdraw_current(session, micrograph) if role == LIVE else None
    row = ResultRow(
        micrograph_id=micrograph.id,
        site_id=whose.site_id,
        agent_id=whose.agent_id,
        recipe=stored_facts.resolve_recipe(finding.thresholds, micrograph.recipe),
        role=role,
        current=role == LIVE,
        origin=finding.origin,
        done_at=at,
        handling=finding.verdict.handling.value,
        reasons=[reason.value for reason in finding.verdict.reasons],
        thresholds=dict(finding.thresholds),
        after_record=quality_records.find_newest_id(session, whose.site_id),
        expected=dict(finding.expected),
        **(_prediction_columns(finding.prediction) if finding.prediction else {}),
    )
    if role == LIVE and not labels.histories(session, [micrograph.id])[0]:
        urgent = specimens.is_urgent(session, whose.site_id, micrograph.order)
        row.review_rank = rank_of(row, urgent=urgent)
    needles = _build_needles(finding.needles, whose)
    row.filed = seals.describe(session, row, micrograph, needles)
    session.add(row)
    session.flush()
    if needles is not None:
        needles.result_id = row.id
        session.add(needles)
        session.flush()
    if replaced is not None:
        audit_log.append(
            session,
            whose.site_id,
            at=at,
            actor="agent",
            act=seals.REPLACED,
            subject=micrograph.public_id,
            facts={"result": row.id, "before": replaced},
        )


def _withdraw_current(session: Session, micrograph: MicrographRow) -> int | None:
    """Withdraw the current result of a field; return its number, None where there is none."""
    current = select(ResultRow.id).where(
        ResultRow.micrograph_id == micrograph.id, col(ResultRow.current).is_(True)
    )
    number = session.exec(current).first()
    if number is not None:
        audit_log.lock(session)  # before the row, as two agents may write crosswise
        session.execute(
            update(ResultRow)
            .where(col(ResultRow.micrograph_id) == micrograph.id, col(ResultRow.current).is_(True))
            .values(current=False, review_rank=None)
        )
    return number


def _build_needles(needles: NeedleField | None, whose: AgentIdentity) -> NeedleFieldRow | None:
    if needles is None:
        return None
    return NeedleFieldRow(site_id=whose.site_id, result_id=0, facts=needles.to_document())


def _prediction_columns(prediction: Prediction) -> dict[str, Any]:
    strange = prediction.strangeness
    message = compose_ood_message(
        float(strange.p_value),
        strange.references,
        look=strange.look if strange.flagged else "",
        area_um2=strange.area_um2,
        size_ratio=strange.size_ratio,
        is_resolvable=strange.is_resolvable,
    )
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
            "sentence": message.in_english(),
            "message": message.to_json(),
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


# --- queries --------------------------------------------------------------------------------------


def _search(
    session: Session,
    whose: AgentIdentity,
    *,
    sha256: str | None,
    path: str | None,
    order: str | None,
    specimen: str | None,
    limit: int,
) -> list[MicrographView]:
    """Return the micrographs that match all conditions, newest first."""
    query = select(MicrographRow.id).where(MicrographRow.site_id == whose.site_id)
    if sha256:
        query = query.where(MicrographRow.sha256 == sha256)
    if path:
        query = query.where(col(MicrographRow.content_id).in_(file_status.named(path)))
    if order:
        query = query.where(MicrographRow.order == order)
    if specimen:
        query = query.where(MicrographRow.specimen == specimen)
    numbers = session.exec(query.order_by(col(MicrographRow.id).desc()).limit(limit)).all()
    views = [view for _, view in of_micrographs(session, [number for number in numbers if number])]
    return views[::-1]


def _by_bundle(
    session: Session, whose: AgentIdentity, bundle: str, since: datetime | None
) -> Iterator[MicrographView]:
    """Yield the micrographs since a time, each with the result of one bundle."""
    query = (
        select_results(col(ResultRow.bundle) == bundle)
        .where(ResultRow.site_id == whose.site_id)
        .order_by(col(ResultRow.id))
        .limit(CHUNK)
    )
    if since is not None:
        query = query.where(col(MicrographRow.taken_at) >= since)
    last = 0
    while rows := session.execute(query.where(col(ResultRow.id) > last)).all():
        yield from to_views(session, rows)
        last = rows[-1].r_id


class Results(Repository):
    """Repository of micrographs and their results."""

    def find(self, public_id: str) -> MicrographView | None:
        """Return a micrograph, or None if there is none of this id."""
        with reading(self._engine) as session:
            rows = session.execute(
                select_results().where(MicrographRow.public_id == public_id)
            ).all()
            return next(to_views(session, rows), None)

    def add(self, public_id: str, finding: MicrographResult, *, role: str, at: datetime) -> bool:
        """Write an additional result on a known micrograph.

        Args:
            public_id: Of the micrograph.
            finding: The result; its crop facts, process data and artefacts are not used.
            role: "live" becomes the current one; "shadow" and "reprocess" are only stored.
            at: Now.

        Returns:
            False if there is a result of this bundle and recipe already.

        Raises:
            UsageError: No such micrograph.
        """
        return write_retrying(
            self._engine,
            lambda session: add_answer(session, self._whose, public_id, finding, role=role, at=at),
        )

    def add_all(
        self, findings: Sequence[tuple[str, MicrographResult]], *, role: str, at: datetime
    ) -> list[bool]:
        """Write further results on known micrographs in one transaction.

        Args:
            findings: Id of each micrograph, with its result as in `add`.
            role: "shadow" or "reprocess".
            at: Now.

        Returns:
            Of each whether it is new; False if there is one of this bundle and recipe already.
        """
        return write_retrying(
            self._engine,
            lambda session: [
                add_answer(session, self._whose, public_id, finding, role=role, at=at)
                for public_id, finding in findings
            ],
        )

    def list_unanswered(
        self, bundle: str, *, since: datetime | None = None
    ) -> tuple[list[int], int]:
        """Return the numbers of the micrographs whose current result is of another bundle.

        Args:
            bundle: Name of the bundle.
            since: Only watched micrographs that were done after it; None: all.

        Returns:
            Those that it has not answered, newest first, and how many others it has.
        """
        answer = aliased(ResultRow)
        is_answered = exists().where(
            col(answer.site_id) == self._whose.site_id,
            col(answer.micrograph_id) == col(MicrographRow.id),
            col(answer.bundle) == bundle,
        )
        query = (
            select(MicrographRow.id, is_answered)
            .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
            .where(
                MicrographRow.site_id == self._whose.site_id,
                ResultRow.site_id == self._whose.site_id,
                col(ResultRow.current).is_(True),
                col(ResultRow.bundle) != bundle,
            )
            .order_by(col(MicrographRow.id).desc())
        )
        if since is not None:
            query = query.where(col(ResultRow.done_at) > since, ResultRow.origin == "watch")
        with reading(self._engine) as session:
            rows = session.execute(query).all()
        left = [number for number, is_known in rows if not is_known]
        return left, len(rows) - len(left)

    def list_views(self, numbers: Sequence[int]) -> list[MicrographView]:
        """Return micrographs by their numbers, in this sequence."""
        with reading(self._engine) as session:
            views = {view.number: view for _, view in of_micrographs(session, numbers)}
        return [views[number] for number in numbers if number in views]

    def search(
        self,
        *,
        sha256: str | None = None,
        path: str | None = None,
        order: str | None = None,
        specimen: str | None = None,
        limit: int = 100,
    ) -> list[MicrographView]:
        """Return the micrographs that match all conditions, newest first.

        Args:
            sha256: Hash of the content.
            path: Any path that the content ever had, whole or below its source.
            order: Number of the order.
            specimen: Name of the specimen.
            limit: Maximum number.
        """
        with reading(self._engine) as session:
            return _search(
                session,
                self._whose,
                sha256=sha256,
                path=path,
                order=order,
                specimen=specimen,
                limit=limit,
            )

    def list_between(self, after: datetime, until: datetime) -> list[MicrographView]:
        """Return micrographs done in (after, until], oldest first, without imported ones."""
        return self._list_watched(col(ResultRow.done_at) > after, col(ResultRow.done_at) <= until)

    def list_late(self, until: datetime, *, after_id: int) -> list[MicrographView]:
        """Return what the watch brought with a done-at up to an instant, written after a result.

        Args:
            until: Aware UTC.
            after_id: Number of that result.
        """
        return self._list_watched(col(ResultRow.id) > after_id, col(ResultRow.done_at) <= until)

    def count_dated_after(self, at: datetime, *, after_id: int) -> tuple[int, datetime] | None:
        """Return how many watched results written after a result are dated after an instant.

        Args:
            at: Aware UTC.
            after_id: Number of that result.

        Returns:
            Their number and the latest date, None where there is none.
        """
        query = select(func.count(), func.max(col(ResultRow.done_at))).where(
            ResultRow.site_id == self._whose.site_id,
            ResultRow.origin == "watch",
            col(ResultRow.id) > after_id,
            col(ResultRow.done_at) > at,
        )
        with reading(self._engine) as session:
            n, latest = session.execute(query).one()
        return (n, latest) if n else None

    def _list_watched(self, *conditions: ColumnElement[bool]) -> list[MicrographView]:
        query = (
            select_results()
            .where(
                ResultRow.site_id == self._whose.site_id,
                literal_column("result.origin") == literal_column("'watch'"),
                *conditions,
            )
            .order_by(col(ResultRow.done_at), col(ResultRow.id))
        )
        with reading(self._engine) as session:
            return list(to_views(session, session.execute(query).all()))

    def iter_all(self) -> Iterator[MicrographView]:
        """Yield the micrographs of this site, oldest first, in batches."""
        with reading(self._engine) as session:
            query = (
                select_results()
                .where(ResultRow.site_id == self._whose.site_id)
                .order_by(col(ResultRow.id))
                .limit(CHUNK)
            )
            last = 0
            while rows := session.execute(query.where(col(ResultRow.id) > last)).all():
                yield from to_views(session, rows)
                last = rows[-1].r_id

    def iter_newest_answers(self) -> Iterator[CurrentAnswer]:
        """Yield the current answers of this site without labels, newest first, in batches."""
        with reading(self._engine) as session:
            yield from micrograph_views.iter_newest(session, self._whose.site_id)

    def list_answers(self, public_ids: Sequence[str]) -> list[CurrentAnswer]:
        """Return the current answers about micrographs of this site, in no order."""
        with reading(self._engine) as session:
            return micrograph_views.list_of(session, self._whose.site_id, public_ids)

    def iter_by_bundle(
        self, bundle: str, *, since: datetime | None = None
    ) -> Iterator[MicrographView]:
        """Yield the micrographs since a time, or all, each with the result of one bundle."""
        with reading(self._engine) as session:
            yield from _by_bundle(session, self._whose, bundle, since)

    def describe(
        self, public_id: str, process_data: Mapping[str, str], *, by: str, at: datetime
    ) -> None:
        """Replace process data of an imported micrograph. See `descriptions.describe`."""
        with writing(self._engine) as session:
            describe(session, self._whose, public_id, process_data, by=by, at=at)

    def seal(self, *, at: datetime) -> int:
        """Seal results without a seal in the audit log; return their number."""
        with writing(self._engine) as session:
            return seals.seal(session, self._whose.site_id, at=at)
