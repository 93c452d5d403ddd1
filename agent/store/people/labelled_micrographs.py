"""Labelled micrographs: each with its valid label, for training and evaluation."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy
from sqlmodel import Session, col, func, select

from agent.settings import PROCESS_COLUMNS
from agent.store.engine import AgentIdentity, Repository, reading
from agent.store.people import label_decisions
from agent.store.people.label_decisions import KINDS, LabelView
from agent.store.people.labels import DOUBT, list_standing, to_view
from agent.store.results import stored_facts
from agent.store.results.stored_facts import MicrographFacts
from agent.store.sites.site_scope import unindexed
from agent.store.tables import LabelRow, MicrographRow, ResultRow, SourceRow
from agent.store.work.file_states import chunks
from agent.triage import Reason


@dataclass(frozen=True, slots=True)
class LabelledMicrograph(MicrographFacts):
    """A micrograph and its valid label.

    Args:
        label: The valid one.
        group: Stays on one side of a split: order and specimen where known, else the hash.
        process_data: Of the micrograph.
        process_extra: Process data without a column.
        origin: "watch", "import" or "api", of the micrograph.
        model_code: Structure code of the current result, or None.
        seen_code: Structure code of the model when the label was entered, or None.
        is_confirmed: Two reviewers agree.
        is_doubted: The label is suspect and has to be reviewed again.
        was_checked: The label was entered after such a suspicion.
        is_control: Control sample, selected by hash to measure how often the model is right; before
            there is a model there is nothing to measure.
        area_mm2: Area of its steel, or None without a scale.
        file: Its file, below the folder of its source.
        source: Name of its source.
    """

    label: LabelView
    group: str
    process_data: dict[str, str]
    origin: str
    model_code: str | None
    process_extra: Mapping[str, Any] = field(default_factory=dict)
    seen_code: str | None = None
    is_confirmed: bool = False
    is_doubted: bool = False
    was_checked: bool = False
    is_control: bool = False
    area_mm2: float | None = None
    file: str = ""
    source: str = ""


def _iter_labelled(
    session: Session,
    whose: AgentIdentity,
    *,
    kinds: Sequence[str],
    origin: str | None,
    alone: Any = None,
) -> Iterator[LabelledMicrograph]:
    """Yield the labelled micrographs of this site, each with its valid label.

    Args:
        session: Open.
        whose: The site and the agent.
        kinds: Of the labels, as in `Decision`.
        origin: Of the micrographs; None for any.
        alone: Numbers of the only micrographs that are wanted, or their selection; None: all.
    """
    query = (
        select(LabelRow, MicrographRow)
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
        .where(unindexed(col(MicrographRow.site_id)) == whose.site_id)
        .order_by(col(LabelRow.micrograph_id), col(LabelRow.id))
    )
    if origin:
        query = query.where(MicrographRow.origin == origin)
    if alone is not None:
        query = query.where(col(LabelRow.micrograph_id).in_(alone))
    rows: dict[int, list[LabelRow]] = {}
    micrographs: dict[int, MicrographRow] = {}
    for label, micrograph in session.exec(query):
        rows.setdefault(label.micrograph_id, []).append(label)
        micrographs[label.micrograph_id] = micrograph
    answers = _load_answers(session, whose, alone)
    seen_codes = _load_seen_codes(session, whose, alone)
    ids = {micrograph.source_id for micrograph in micrographs.values()}
    named = select(SourceRow.id, SourceRow.name).where(col(SourceRow.id).in_(ids))
    sources = dict(session.exec(named).all()) if ids else {}
    for number, micrograph in micrographs.items():
        answer = answers.get(number, _NO_ANSWER)
        two = label_decisions.asks_two(micrograph.sha256, answer.thresholds, answer.handling)
        label_ = label_decisions.holding(list_standing(rows[number]), two=two)
        if label_ and label_.kind in kinds:
            seen_code = seen_codes.get(label_.result_id or 0)
            labelled = _build_labelled(label_, rows[number], micrograph, answer, seen_code)
            yield replace(labelled, source=sources.get(micrograph.source_id, ""))


def _select_blind(since: datetime) -> Any:
    blind = select(LabelRow.micrograph_id).where(
        LabelRow.decided_at > since, col(LabelRow.blind).is_(True)
    )
    return blind.correlate(None)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The columns of a current result that a label needs."""

    code: str | None
    thresholds: Mapping[str, Any]
    handling: str
    reasons: Sequence[str]


_NO_ANSWER = _Answer(None, {}, "", ())


def _load_answers(session: Session, whose: AgentIdentity, alone: Any = None) -> dict[int, _Answer]:
    query = sqlalchemy.select(
        col(ResultRow.micrograph_id),
        col(ResultRow.structure_code),
        col(ResultRow.thresholds),
        col(ResultRow.handling),
        col(ResultRow.reasons),
    ).where(
        col(ResultRow.site_id) == whose.site_id,
        col(ResultRow.current).is_(True),
        # Not a join: without labels the planner would walk through every result.
        col(ResultRow.micrograph_id).in_(
            select(LabelRow.micrograph_id) if alone is None else alone
        ),
    )
    return {number: _Answer(*values) for number, *values in session.execute(query)}


def _load_seen_codes(session: Session, whose: AgentIdentity, alone: Any) -> dict[int, str | None]:
    """Return result → structure code, of the results that reviewers saw when they decided."""
    query = (
        select(ResultRow.id, ResultRow.structure_code)
        .join(LabelRow, col(LabelRow.result_id) == col(ResultRow.id))
        .where(ResultRow.site_id == whose.site_id)
    )
    if alone is not None:
        query = query.where(col(LabelRow.micrograph_id).in_(alone))
    return {number or 0: code for number, code in session.exec(query)}


def _select_uses() -> Any:
    """Return the selection of each row of a label, with all that decides what it is used for.

    Documents stay text: few of them differ, and to parse each takes most of the time.
    """
    seen = sqlalchemy.orm.aliased(ResultRow)
    is_current = sqlalchemy.and_(
        col(ResultRow.micrograph_id) == col(MicrographRow.id), col(ResultRow.current).is_(True)
    )
    return (
        sqlalchemy.select(
            col(MicrographRow.public_id),
            col(MicrographRow.sha256),
            col(MicrographRow.page),
            col(MicrographRow.order),
            col(MicrographRow.specimen),
            sqlalchemy.cast(col(ResultRow.thresholds), sqlalchemy.Text),
            col(ResultRow.handling),
            sqlalchemy.cast(col(ResultRow.reasons), sqlalchemy.Text),
            col(ResultRow.structure_code).is_(None),
            col(MicrographRow.recipe),
            col(MicrographRow.origin),
            col(LabelRow.kind),
            col(LabelRow.code),
            col(LabelRow.strange_kind),
            col(LabelRow.why),
            col(LabelRow.by),
            col(LabelRow.origin),
            col(LabelRow.blind),
            col(LabelRow.supersedes) - col(LabelRow.id),
            col(seen.structure_code).is_(None),
        )
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id))
        .outerjoin(ResultRow, is_current)
        .outerjoin(seen, col(seen.id) == col(LabelRow.result_id))
        .order_by(col(LabelRow.micrograph_id), col(LabelRow.id))
    )


def _group_alike(session: Session) -> dict[str, list[tuple[str, int, str]]]:
    """Return public id → hash, page and group of the micrographs whose labels are used alike."""
    parse = cache(json.loads)
    groups: dict[Hashable, tuple[str, list[tuple[str, int, str]]]] = {}
    for public_id, grouped in groupby(session.execute(_select_uses()), key=itemgetter(0)):
        rows = list(grouped)
        _, sha256, page, order, specimen, thresholds, handling, *_ = rows[0]
        two = label_decisions.asks_two(sha256, parse(thresholds or "{}"), handling or "")
        key = (two, *(row[7:] for row in rows))
        group = name_group(sha256, order, specimen)
        groups.setdefault(key, (public_id, []))[1].append((sha256, page, group))
    return dict(groups.values())


def _build_labelled(
    label: LabelRow,
    rows: Sequence[LabelRow],
    micrograph: MicrographRow,
    answer: _Answer,
    seen_code: str | None,
) -> LabelledMicrograph:
    newest = [
        vote for vote in label_decisions.votes_of(list_standing(rows)) if vote.kind == label.kind
    ]
    agree = sum(vote.code == label.code for vote in newest)
    doubts = [row.id for row in rows if row.kind == DOUBT]
    return LabelledMicrograph(
        id=micrograph.public_id,
        sha256=micrograph.sha256,
        page=micrograph.page,
        label=to_view(label),
        group=group_of(micrograph),
        process_data=process_data_of(micrograph),
        process_extra=micrograph.process_extra,
        origin=micrograph.origin,
        um_per_px=stored_facts.resolve_scale(answer.thresholds, micrograph.um_per_px),
        recipe=micrograph.recipe,
        model_code=answer.code,
        seen_code=seen_code,
        is_confirmed=agree >= label_decisions.TWO,
        is_doubted=rows[-1].kind == DOUBT,
        was_checked=any(number < label.id for number in doubts),
        is_control=Reason.CONTROL_SAMPLE in answer.reasons and answer.code is not None,
        area_mm2=micrograph.area_mm2,
        file=micrograph.relative,
    )


def group_of(micrograph: MicrographRow) -> str:
    """Return what must stay together in a split: one specimen of one order, else one content."""
    return name_group(micrograph.sha256, micrograph.order, micrograph.specimen)


def name_group(sha256: str, order: str, specimen: str) -> str:
    """Return the name of what must stay together, as `group_of`."""
    return f"{order}/{specimen}" if specimen else sha256


def process_data_of(micrograph: MicrographRow) -> dict[str, str]:
    """Return the process data that is known, column → value."""
    return {name: value for name in PROCESS_COLUMNS if (value := getattr(micrograph, name))}


class LabelledMicrographs(Repository):
    """Repository of micrographs with a valid label."""

    def list_all(
        self, *, kinds: Sequence[str] = ("code",), origin: str | None = None
    ) -> list[LabelledMicrograph]:
        """Return the labelled micrographs of this site, each with its valid label.

        Args:
            kinds: Kinds of decisions.
            origin: "watch", "import" or "api"; None: all.
        """
        with reading(self._engine) as session:
            return list(_iter_labelled(session, self._whose, kinds=kinds, origin=origin))

    def list_alike(self) -> list[tuple[LabelledMicrograph, list[tuple[str, int, str]]]]:
        """Return the micrographs with a valid code, those together whose labels are used alike.

        Returns:
            A micrograph of each, and hash, page and group (as in a split) of all that are alike.
        """
        with reading(self._engine) as session:
            groups = _group_alike(session)
            wanted = select(MicrographRow.id)
            return [
                (labelled, groups[labelled.id])
                for batch in chunks(list(groups))
                for labelled in _iter_labelled(
                    session,
                    self._whose,
                    kinds=("code",),
                    origin=None,
                    alone=wanted.where(col(MicrographRow.public_id).in_(batch)),
                )
            ]

    def list_blind_since(self, since: datetime) -> list[LabelledMicrograph]:
        """Return the micrographs with a valid code that were decided blind after an instant."""
        with reading(self._engine) as session:
            rows = _iter_labelled(
                session, self._whose, kinds=("code",), origin=None, alone=_select_blind(since)
            )
            return list(rows)

    def list_examples(self, most: int) -> list[LabelledMicrograph]:
        """Return the first micrographs with a valid code that each code was ever entered for.

        Args:
            most: How many of a code are looked at.
        """
        with reading(self._engine) as session:
            own = col(LabelRow.site_id) == self._whose.site_id
            codes = session.exec(select(LabelRow.code).where(own).distinct()).all()
            numbers = [
                number
                for code in codes
                if code
                for number in session.exec(
                    select(LabelRow.micrograph_id)
                    .where(own, LabelRow.code == code)
                    .order_by(col(LabelRow.id))
                    .limit(most)
                )
            ]
            return list(
                _iter_labelled(session, self._whose, kinds=("code",), origin=None, alone=numbers)
            )

    def list_imported(self, source: str) -> list[LabelledMicrograph]:
        """Return the labelled micrographs that were imported as a source of this name."""
        with reading(self._engine) as session:
            imported = (
                select(MicrographRow.id)
                .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
                .where(MicrographRow.origin == "import", SourceRow.name == source)
            )
            rows = _iter_labelled(
                session, self._whose, kinds=("code",), origin=None, alone=imported
            )
            return list(rows)

    def list_imported_sources(self) -> list[str]:
        """Return the names of the sources of imported micrographs, the first import first."""
        with reading(self._engine) as session:
            query = (
                select(SourceRow.name)
                .join(MicrographRow, col(MicrographRow.source_id) == col(SourceRow.id))
                .where(
                    MicrographRow.site_id == self._whose.site_id, MicrographRow.origin == "import"
                )
                .group_by(col(SourceRow.name))
                .order_by(func.min(MicrographRow.id))
            )
            return list(session.exec(query))

    def find(self, public_id: str) -> LabelledMicrograph | None:
        """Return a micrograph with its valid label, whatever its kind; None without one."""
        with reading(self._engine) as session:
            named = select(MicrographRow.id).where(MicrographRow.public_id == public_id)
            rows = _iter_labelled(session, self._whose, kinds=KINDS, origin=None, alone=named)
            return next(rows, None)
