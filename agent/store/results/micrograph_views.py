"""Micrographs with their current result, as pages, queue and reports read them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Annotated, Any

import sqlalchemy
from sqlmodel import Session, col

from agent.needles import NeedleField
from agent.settings import PROCESS_COLUMNS
from agent.store.people import label_decisions, labels
from agent.store.people.label_decisions import LabelView
from agent.store.results import stored_facts
from agent.store.results.stored_facts import (
    NOT_FROZEN,
    MicrographFacts,
    StoredCrop,
    StoredStrangeness,
    resolve_scale,
)
from agent.store.sites.site_scope import unindexed
from agent.store.tables import MicrographRow, ResultRow, Row, SourceRow
from agent.store.work.file_states import chunks
from agent.triage import Handling, Reason
from model import AnswerFacts
from reports import Message, read_message

CHUNK = 400
NEEDLES_MESSAGE = "needles_message"
"""Key, next to what was ordered, of how size number and needle lengths disagree."""

RESULT, MICROGRAPH = "r_", "m_"
"""Prefixes of the columns of the two tables in one row."""


@dataclass(frozen=True, slots=True)
class Result(AnswerFacts):
    """A bundle's result on a micrograph, cut by one recipe.

    Args:
        id: Its number.
        recipe: Recipe of the crop.
        role: "live", "shadow" or "reprocess".
        current: It is the one that counts.
        origin: "watch", "import" or "api".
        done_at: Time when it was stored, aware UTC.
        subtype, size, structure_code, probability: As in `model.Prediction`, None without a bundle;
            what else it answered is then empty.
        strangeness: The out-of-distribution result, false without one.
        handling: "automatic" or "review".
        reasons: For the review, the most important first.
        expected: What was ordered, and the size inside that subtype, where another one was seen.
        after_record: As in `ResultRow`.
    """

    id: int
    recipe: str
    role: str
    current: bool
    origin: str
    done_at: datetime
    subtype: str | None
    size: str | None
    structure_code: str | None
    probability: float | None
    strangeness: StoredStrangeness
    handling: str
    reasons: tuple[str, ...]
    thresholds: dict[str, Any]
    expected: dict[str, Any] = field(default_factory=dict)
    after_record: int | None = None

    @property
    def ordered(self) -> tuple[str, ...]:
        """Subtypes that were ordered; () where they are not known or were found."""
        return tuple(self.expected.get("subtypes") or ())

    @property
    def outside(self) -> Message:
        """Why it is outside of what its bundle was validated for, empty where it is not."""
        stored = self.expected
        return read_message(stored.get("outside_message"), str(stored.get("outside") or ""))

    @property
    def needles_conflict(self) -> Message:
        """How its size number and its needle lengths disagree, empty where they do not."""
        return read_message(self.expected.get(NEEDLES_MESSAGE), "")

    @classmethod
    def from_row(cls, row: Any) -> Result:
        """Build it from a row of `select_results`."""
        values = list(_read_result(row))
        for place in _OF_EMPTY:
            values[place] = values[place] or {}
        document = values[_STRANGENESS_PLACE]
        values[_STRANGENESS_PLACE] = (
            StoredStrangeness(row.r_p_value, bool(row.flagged), defects=tuple(row.defects or ()))
            if document is None
            else StoredStrangeness.from_json(document)
        )
        for place in _OF_TUPLES:
            values[place] = tuple(values[place])
        return cls(*values)


OF_EMPTY = (
    *("subtype_probabilities", "size_probabilities", "probabilities", "coarser_share"),
    "expected",
)
"""Columns of a result that are {} where a table of micrographs leaves them out."""
LEFT_OUT = frozenset(
    {*OF_EMPTY, *("strangeness", "filed", "crop_facts", "artefacts", "process_extra")}
    | {"superseded", "taken_at"}
)
"""Columns that a table of micrographs shows nothing of, but for `_STRANGENESS`."""
_STRANGENESS = (
    col(ResultRow.strangeness)["flagged"].as_boolean().label("flagged"),
    col(ResultRow.strangeness)["defects"].label("defects"),
)
"""The two values of the out-of-distribution result that it shows, next to its p-value."""
_OF_RESULT = tuple(Row.metadata.tables["result"].columns)
_OF_MICROGRAPH = tuple(Row.metadata.tables["micrograph"].columns)
_RESULT_FIELDS = tuple(each.name for each in fields(Result))
_OF_EMPTY = tuple(map(_RESULT_FIELDS.index, OF_EMPTY))
_OF_TUPLES = tuple(map(_RESULT_FIELDS.index, ("prediction_set", "reasons")))
_STRANGENESS_PLACE = _RESULT_FIELDS.index("strangeness")
_POSITIONS = {column: n for n, column in enumerate((*_OF_RESULT, *_OF_MICROGRAPH))}
"""Column → place in a row of `select_results`: a name of a row costs more than its value."""
_read_result = itemgetter(
    *(_POSITIONS[Row.metadata.tables["result"].c[name]] for name in _RESULT_FIELDS)
)
_read_process_data = itemgetter(
    *(_POSITIONS[Row.metadata.tables["micrograph"].c[name]] for name in PROCESS_COLUMNS)
)


@dataclass(frozen=True, slots=True)
class MicrographView(MicrographFacts):
    """A micrograph with its current result, ready for a page.

    Args:
        path: Path of the file.
        source: Name of the source.
        width: Of the page, in pixels.
        height: Of the page, in pixels.
        um_per_px_source: Origin of the scale.
        crop: Box (x0, y0, x1, y1) of the crop.
        warnings: Stable codes.
        crop_facts: The crop as it was stored.
        process_data: Column → value.
        process_extra: Process data without a column.
        result: The current result; its reasons include a suspect label.
        label: The valid decision, or None.
        awaits: It is in the review queue.
        pruned_at: Time when its pixels were deleted, aware UTC, or None.
        labels: All decisions, oldest first.
        artefacts: Archived files.
        votes: The decisions of two reviewers.
        asks_two: Two reviewers decide, and a third where they disagree.
        doubt: Why its label is suspect, "" where it is not.
        taken_at: Time when the file was recorded, aware UTC.
        number: Row number of the micrograph; later micrographs have larger ones.
        needles: Those measured with its result, where a page asks for them; None for none.
    """

    path: str
    source: str
    width: int
    height: int
    um_per_px_source: str | None
    crop: tuple[int, int, int, int] | None
    warnings: tuple[str, ...]
    crop_facts: StoredCrop
    process_data: dict[str, str]
    process_extra: dict[str, Any]
    result: Result
    label: LabelView | None
    awaits: bool
    pruned_at: Annotated[datetime | None, NOT_FROZEN] = None
    labels: Annotated[tuple[LabelView, ...], NOT_FROZEN] = ()
    artefacts: Annotated[dict[str, Any], NOT_FROZEN] = field(default_factory=dict)
    votes: Annotated[tuple[LabelView, ...], NOT_FROZEN] = ()
    asks_two: bool = False
    doubt: str = ""
    taken_at: datetime | None = None
    number: int = 0
    needles: NeedleField | None = None

    @property
    def name(self) -> str:
        """The file's name alone."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]

    @property
    def is_flagged(self) -> bool:
        """Whether it was sent to review; it may be decided since."""
        return self.result.handling == Handling.REVIEW

    @property
    def is_undecided(self) -> bool:
        """Whether it was sent to review and is not decided yet."""
        return self.is_flagged and self.label is None

    @property
    def order_label(self) -> LabelView | None:
        """The label that counts for its order: an imported one only by a lead's word."""
        is_plain_import = self.label and self.label.origin == label_decisions.IMPORTED
        return None if is_plain_import else self.label

    @property
    def awaits_decision(self) -> bool:
        """Whether its order awaits it: a label that a program suspects holds until it is changed.

        Where nothing but an imported label holds, it awaits a reviewer's.
        """
        if self.order_label is None:
            return self.awaits or self.result.handling == "review"
        is_suspected_by_program = self.doubt not in {"", labels.LEADS_DOUBT, labels.RATERS_DOUBT}
        return self.awaits and not is_suspected_by_program

    @property
    def disagreed(self) -> bool:
        """Whether two reviewers disagree, and a third has to settle it."""
        return self.label is None and len(self.votes) >= label_decisions.TWO


def _label(columns: Sequence[Any], prefix: str, *, is_lean: bool) -> list[Any]:
    return [
        (sqlalchemy.null() if is_lean and column.name in LEFT_OUT else column).label(
            prefix + column.name
        )
        for column in columns
    ]


def select_results(which: Any = None, *, is_lean: bool = False) -> Any:
    """Return the statement of results with micrographs and sources.

    Args:
        which: Condition; None: the current ones.
        is_lean: `LEFT_OUT` is not read: most of the cost of a thousand rows.
    """
    return _results_statement(is_lean=is_lean).where(is_current() if which is None else which)


@cache
def _results_statement(*, is_lean: bool) -> Any:
    """Return the statement that others narrow down; it costs more to build than to run."""
    # Columns, not objects: a night of hundreds is read for a page, and nothing is changed.
    return (
        sqlalchemy.select(
            *_label(_OF_RESULT, RESULT, is_lean=is_lean),
            *_label(_OF_MICROGRAPH, MICROGRAPH, is_lean=is_lean),
            *(_STRANGENESS if is_lean else ()),
            col(SourceRow.name).label("source"),
            col(SourceRow.folder).label("folder"),
        )
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
    )


def is_current() -> Any:
    """Return the condition that a result is the current one."""
    # Spelt as in the partial indexes: only then does a planner see that it may use them.
    return col(ResultRow.current).is_(True)


def is_unassigned(site_id: int) -> Any:
    """Return the condition that a micrograph of a site belongs to no specimen."""
    # Spelt as in the partial index, which a planner would not choose beside those of the site.
    text = sqlalchemy.literal_column("micrograph.unassigned") != sqlalchemy.literal_column("''")
    return sqlalchemy.and_(unindexed(col(MicrographRow.site_id)) == site_id, text)


def of_micrographs(
    session: Session, numbers: Sequence[int]
) -> Iterator[tuple[Any, MicrographView]]:
    """Yield micrographs by their row numbers, oldest first, each with its row."""
    for batch in chunks(numbers):
        query = select_results().where(col(ResultRow.micrograph_id).in_(batch))
        rows = session.execute(query.order_by(col(ResultRow.id))).all()
        yield from zip(rows, to_views(session, rows), strict=True)


def to_views(session: Session, rows: Sequence[Any]) -> Iterator[MicrographView]:
    """Yield the views of rows of `select_results`, with their labels."""
    for batch in chunks(rows):
        decisions, doubts = labels.histories(session, [row.m_id for row in batch])
        for row in batch:
            yield _view(row, tuple(decisions.get(row.m_id, ())), doubts.get(row.m_id, ""))


def _join_path(folder: str, relative: str) -> str:
    return folder + os.sep + relative.replace("/", os.sep)  # a Path each costs a tenth of a night


def _view(row: Any, decisions: tuple[LabelView, ...], doubt: str) -> MicrographView:
    cropped, result = StoredCrop.from_json(row.m_crop_facts or {}), Result.from_row(row)
    if doubt:
        result = replace(result, reasons=(Reason.DOUBTED_LABEL.value, *result.reasons))
    standing = [label for label in decisions if not label.undone]
    two = label_decisions.asks_two(row.m_sha256, result.thresholds, result.handling)
    process_data = zip(PROCESS_COLUMNS, _read_process_data(row), strict=True)
    return MicrographView(
        id=row.m_public_id,
        sha256=row.m_sha256,
        page=row.m_page,
        path=_join_path(row.folder, row.m_relative),
        source=row.source,
        width=row.m_width,
        height=row.m_height,
        um_per_px=stored_facts.resolve_scale(result.thresholds, row.m_um_per_px),
        um_per_px_source=stored_facts.BY_REVIEWER
        if stored_facts.find_given(result.thresholds)
        else row.m_um_per_px_source,
        crop=cropped.box,
        recipe=row.m_recipe,
        warnings=stored_facts.keep_warnings(result.thresholds, row.m_warnings),
        crop_facts=cropped,
        process_data={name: value for name, value in process_data if value},
        process_extra=row.m_process_extra or {},
        result=result,
        label=label_decisions.holding(standing, two=two),
        votes=tuple(label_decisions.votes_of(standing)) if two else (),
        asks_two=two,
        labels=decisions,
        awaits=row.r_review_rank is not None,
        artefacts=row.m_artefacts or {},
        pruned_at=row.m_pruned_at,
        doubt=doubt,
        taken_at=row.m_taken_at,
        number=row.m_id,
    )


ROWS = 2000


@dataclass(frozen=True, slots=True)
class CurrentAnswer(MicrographFacts):
    """The current answer about a micrograph.

    Args:
        structure_code: None without a bundle.
        bundle: "" without one.
        strangeness: The out-of-distribution result, false without one.
    """

    structure_code: str | None
    bundle: str
    strangeness: StoredStrangeness


def iter_newest(session: Session, site_id: int) -> Iterator[CurrentAnswer]:
    """Yield the current answers of a site, the newest first, in batches."""
    query = _statement().where(is_current(), col(ResultRow.site_id) == site_id)
    query = query.order_by(col(ResultRow.id).desc()).limit(ROWS)
    rows = session.execute(query).all()
    while rows:
        yield from map(_to_answer, rows)
        rows = session.execute(query.where(col(ResultRow.id) < rows[-1].result_id)).all()


def list_of(session: Session, site_id: int, public_ids: Sequence[str]) -> list[CurrentAnswer]:
    """Return the current answers about micrographs of a site, in no order."""
    found: list[CurrentAnswer] = []
    for batch in chunks(list(public_ids)):
        query = _statement().where(
            is_current(),
            col(ResultRow.site_id) == site_id,
            col(MicrographRow.public_id).in_(batch),
        )
        found += map(_to_answer, session.execute(query))
    return found


@cache
def _statement() -> Any:
    return sqlalchemy.select(
        col(ResultRow.id).label("result_id"),
        col(MicrographRow.public_id),
        col(MicrographRow.sha256),
        col(MicrographRow.page),
        col(MicrographRow.um_per_px),
        col(MicrographRow.recipe),
        col(ResultRow.structure_code),
        col(ResultRow.bundle),
        col(ResultRow.strangeness),
        col(ResultRow.thresholds),
    ).join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))


def _to_answer(row: Any) -> CurrentAnswer:
    return CurrentAnswer(
        row.public_id,
        row.sha256,
        row.page,
        resolve_scale(row.thresholds, row.um_per_px),
        row.recipe,
        row.structure_code,
        row.bundle,
        StoredStrangeness.from_json(row.strangeness),
    )
