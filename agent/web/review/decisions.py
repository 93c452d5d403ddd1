"""Record the decisions of reviewers, and undo them; the codes to choose from.

Forms, programs and key presses all pass through here, so the same rules hold: a name, a known code,
and no overwriting of a decision that the sender has not seen. A decision about a specimen is one
row per waiting field, marked as bulk, so that one can be changed later and all can be undone at
once. A correction needs a reason where `[review]` requires it. An answer that was hidden is not
corrected: a request for a reason would reveal it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import reports
from agent.errors import UsageError
from agent.orders.specifications.class_texts import choose_title, label_of
from agent.store import (
    Decision,
    DecisionConflictError,
    Expected,
    LabelView,
    MicrographView,
    voter_of,
)
from agent.web.context import LONGEST_NAME, WebContext, find
from agent.web.orders.order_fields import fields_of, given_together, waiting
from model import Size, Subtype, Taxonomy
from reports import Choice, SubtypeChoice, marked, number_keys, size_keys
from reports import gettext as _

LONGEST_WORD, LONGEST_CODE = 80, 90
"""Letters of a reason, and of a structure code: two names of 40 and what joins them fit."""
LONGEST_COMMENT = 500
DECISION_ID = re.compile(r"[0-9A-Za-z_-]{8,64}")
"""Id under which a decision is sent, the same at each attempt."""


class NotYoursError(Exception):
    """The decision is another reviewer's, and this one may not undo it."""


class DecidedMeanwhileError(Exception):
    """The micrograph has changed since it was opened; nothing was written.

    Args:
        view: The micrograph as it is now.
        answer: The model's answer changed, not a reviewer's decision.
    """

    def __init__(self, view: MicrographView, *, answer: bool = False) -> None:
        said = "the model has answered anew" if answer else "somebody else decided meanwhile"
        super().__init__(said)
        self.view, self.answer = view, answer


def read_decision(
    said: str,
    *,
    taxonomy: Callable[[], Taxonomy],
    by: str,
    criterion: str = "unrecorded",
    unsure: bool = False,
    comment: str = "",
    viewing_s: float | None = None,
    blind: bool = False,
    result_seen: int | None = None,
    origin: str = "review",
    decision_id: str = "",
) -> Decision:
    """Parse a decision as it is sent: "code:G8", "strange:pearlite", "unusable:…", "cannot_tell".

    Raises:
        UsageError: It is not a decision, a name or comment is too long, or its id is malformed.
        model.TaxonomyError: A code is not in the taxonomy; the message names the nearest.
    """
    kind, _colon, what = said.partition(":")
    name = by.strip()
    longest = LONGEST_CODE if kind == "code" else LONGEST_WORD
    if len(name) > LONGEST_NAME or len(what) > longest or len(comment) > LONGEST_COMMENT:
        raise UsageError(_("A name, a reason or a comment is too long."))
    if not (name.isprintable() and what.isprintable()):
        raise UsageError(_("A name or a reason has letters that cannot be shown."))
    if decision_id and not DECISION_ID.fullmatch(decision_id):
        raise UsageError("a decision id has 8 to 64 letters, digits, hyphens or underscores.")
    if kind == "code":
        known = taxonomy()
        what = known.code(*known.parse(what))
    return Decision(
        kind=kind,
        by=name,
        code=what if kind == "code" else None,
        strange_kind=what if kind == "strange" else None,
        why=what if kind == "unusable" else None,
        criterion=criterion,
        unsure=unsure,
        comment=shown(comment),
        viewing_s=viewing_s,
        blind=blind,
        result_seen=result_seen,
        origin=origin,
        decision_id=decision_id,
    )


def shown(comment: str) -> str:
    """Return a comment as it is stored: one line of printable letters."""
    # Line breaks become spaces; characters that a page or the database cannot show are dropped.
    return "".join(letter for letter in " ".join(comment.split()) if letter.isprintable())


def decide(
    web: WebContext,
    public_id: str,
    decision: Decision,
    *,
    label_seen: Expected = "any",
    at: datetime | None = None,
) -> int:
    """Append a decision and return the number of its label.

    A decision that is sent again under its id, because no answer arrived, is not appended again. An
    answer equal to the current one is not a conflict: another reviewer's confirms it, and the same
    reviewer's is not written twice.

    Args:
        web: What the pages work on.
        public_id: Id of the micrograph.
        decision: The decision.
        label_seen: Number of the label on the page, None for none, "any" to skip the check.
        at: When, aware UTC; None: now.

    Raises:
        UnknownMicrographError: There is no such micrograph.
        DecidedMeanwhileError: The current label is another one, or the model's result has changed.
        UsageError: The decision is incomplete.
    """
    number, expected = _check(web, public_id, decision, label_seen)
    if number is not None:
        return number
    try:
        return web.store.labels.decide(public_id, decision, at=at or web.now(), expected=expected)
    except DecisionConflictError:  # another decision was written after the check
        return decide(web, public_id, decision, label_seen=label_seen, at=at)


def decide_each(
    web: WebContext, given: Sequence[tuple[str, Decision, int | None]], *, at: datetime
) -> list[int | DecidedMeanwhileError | UsageError]:
    """Append the decisions of one act in one transaction, as `decide` does each of them.

    Args:
        web: What the pages work on.
        given: Each the id of a micrograph, the decision, and the number of the label on the page.
        at: When, aware UTC.

    Returns:
        For each the number of its label, or why it was refused; that stops no other.
    """
    outcomes: list[int | DecidedMeanwhileError | UsageError] = [0] * len(given)
    due: list[tuple[int, tuple[str, Decision, Expected]]] = []
    for index, (public_id, decision, label_seen) in enumerate(given):
        try:
            number, expected = _check(web, public_id, decision, label_seen)
        except DecidedMeanwhileError as meanwhile:
            outcomes[index] = meanwhile
            continue
        if number is None:
            due.append((index, (public_id, decision, expected)))
        else:
            outcomes[index] = number
    made = web.store.labels.decide_all((), or_skip=[entry for _index, entry in due], at=at)
    for (index, _given), outcome in zip(due, made, strict=True):
        outcomes[index] = (
            _decide_again(web, given[index], at)
            if isinstance(outcome, DecisionConflictError)
            else outcome
        )
    return outcomes


def decide_all(
    web: WebContext, given: Sequence[tuple[str, Decision, int | None]], *, at: datetime
) -> None:
    """Append the decisions of one act in one transaction, all or none; for `given` see above.

    Raises:
        DecidedMeanwhileError: The label or the answer of one has changed since it was shown.
        UsageError: A decision is incomplete.
    """
    due: list[tuple[str, Decision, Expected]] = []
    for public_id, decision, label_seen in given:
        number, expected = _check(web, public_id, decision, label_seen)
        if number is None:
            due.append((public_id, decision, expected))
    try:
        web.store.labels.decide_all(due, at=at)
    except DecisionConflictError:  # another decision was written after the check
        decide_all(web, given, at=at)


def _decide_again(
    web: WebContext, given: tuple[str, Decision, int | None], at: datetime
) -> int | DecidedMeanwhileError | UsageError:
    """Decide a micrograph that another decision reached after the check."""
    public_id, decision, label_seen = given
    try:
        return decide(web, public_id, decision, label_seen=label_seen, at=at)
    except (DecidedMeanwhileError, UsageError) as refused:
        return refused


def _check(
    web: WebContext, public_id: str, decision: Decision, label_seen: Expected
) -> tuple[int | None, Expected]:
    """Return the label that records a decision already, or None, and the label that it replaces.

    Raises:
        UnknownMicrographError: There is no such micrograph.
        DecidedMeanwhileError: The current label is another one, or the model's result has changed.
    """
    view = find(web, public_id)
    if (number := web.store.labels.find_decision(public_id, decision)) is not None:
        return number, "any"
    holds = view.label.id if view.label else None
    if label_seen not in ("any", holds):
        if view.label is None or not is_same_answer(view.label, decision):
            raise DecidedMeanwhileError(view)
        if voter_of(view.label.by) == voter_of(decision.by):
            return view.label.id, "any"
        label_seen = holds
    if decision.result_seen not in (None, view.result.id):
        raise DecidedMeanwhileError(view, answer=True)
    return None, label_seen


def is_same_answer(label: LabelView, decision: Decision) -> bool:
    """Return whether a decision gives the answer of a label, by the same criterion."""
    return all(
        getattr(label, name) == getattr(decision, name)
        for name in ("kind", "code", "strange_kind", "why", "criterion", "unsure")
    )


def undo(web: WebContext, public_id: str, *, by: str, any_ones: bool = True) -> int:
    """Undo the current decision by a row that reverts it; return that row's number.

    Args:
        web: What the pages work on.
        public_id: Id of the micrograph.
        by: Who undoes it.
        any_ones: Whether they may undo another reviewer's decision.

    Raises:
        UnknownMicrographError: There is no such micrograph.
        NotYoursError: The decision is another reviewer's, and `by` may not undo it.
        UsageError: There is nothing to undo, or no name was given.
    """
    return undo_each(web, [public_id], by=by, any_ones=any_ones)[0]


def undo_each(web: WebContext, public_ids: Sequence[str], *, by: str, any_ones: bool) -> list[int]:
    """Undo the current decisions on several micrographs as one act, all or none; see `undo`.

    Raises:
        UnknownMicrographError: There is no such micrograph.
        NotYoursError: As `undo`.
        UsageError: As `undo`.
    """
    for public_id in public_ids:
        label = find(web, public_id).label
        if label is not None and label.by != by and not any_ones:
            raise NotYoursError(
                _("{who} decided that; a lead may take it back").format(who=label.by)
            )
    return web.store.labels.undo_all(public_ids, by=by, at=web.now())


def decide_together(
    web: WebContext, view: MicrographView, decision: Decision, *, label_seen: int | None
) -> set[str]:
    """Record one decision for a field and for the other waiting fields of its specimen.

    Returns:
        Ids of the fields it was recorded for; a field decided by others since is left out.

    Raises:
        DecidedMeanwhileError: The label of the field on the page has changed; nothing was written.
    """
    at, others = web.now(), waiting(fields_of(web, view), view)
    given = replace(decision, bulk=bool(others))
    number, expected = _check(web, view.id, given, label_seen)
    own = [] if number is not None else [(view.id, given, expected)]
    rest = [
        (other.id, replace(given, result_seen=other.result.id, viewing_s=None), None)
        for other in others
    ]
    try:
        made = web.store.labels.decide_all(own, or_skip=rest, at=at)
    except DecisionConflictError:  # another decision was written after the check
        return decide_together(web, view, decision, label_seen=label_seen)
    recorded = {other for (other, _, _), n in zip(rest, made, strict=True) if isinstance(n, int)}
    return {view.id, *recorded}


def undo_together(web: WebContext, view: MicrographView, *, by: str, any_ones: bool) -> int:
    """Undo a decision and all others of the same act.

    Returns:
        Number of fields.

    Raises:
        NotYoursError: The decision is another reviewer's, and `by` may not undo it.
        UsageError: There is nothing to undo, or no name was given.
    """
    together = given_together(fields_of(web, view), view)
    undo_each(web, [decided.id for decided in together], by=by, any_ones=any_ones)
    return len(together)


COMMAND_LETTERS = frozenset("acfhjklnorstuvwz")
"""Keys of the pages that press no code; B and M are a subtype's where one has that letter."""


def list_subtypes(taxonomy: Taxonomy, suggested: str | None) -> Iterator[SubtypeChoice]:
    """Yield the subtypes with their sizes, coarse to fine.

    Args:
        taxonomy: The classes.
        suggested: The model's answer, None where it is hidden or there is none.
    """
    known = taxonomy.subtypes
    letters = _list_letters([entry.name for entry in known])
    for row, letter, subtype in zip(number_keys(len(known)), letters, known, strict=True):
        # A subtype with a single size is decided by its own key.
        keys = list_size_keys(subtype.sizes) if len(subtype.sizes) > 1 else ("",)
        sizes = tuple(
            Choice(
                value=f"code:{subtype.code(size.name)}",
                text=label_of(size) or choose_title(subtype),
                words=choose_title(size)
                + (
                    _(" (known, but not in the training data yet)")
                    if size.name in subtype.untrained
                    else ""
                ),
                key=key,
                taught=size.name not in subtype.untrained,
                suggested=subtype.code(size.name) == suggested,
            )
            for key, size in zip(keys, subtype.sizes, strict=True)
        )
        yield SubtypeChoice(subtype.name, _title(subtype), row, sizes, letter)


def list_size_keys(sizes: Sequence[Size]) -> tuple[str, ...]:
    """Return the keys of sizes: the digits of their lowest number where all have one."""
    return size_keys([size.numbers.lower if size.numbers else None for size in sizes])


def _list_letters(names: Sequence[str]) -> list[str]:
    """Return the first letter of each name as its key, "" where another key has it already."""
    first = [name[:1].casefold() for name in names]
    return [
        letter
        if letter.isascii()
        and letter.isalpha()
        and letter not in COMMAND_LETTERS
        and first.count(letter) == 1
        else ""
        for letter in first
    ]


def _title(subtype: Subtype) -> str:
    """Return the title of a subtype, "" where it only repeats the name."""
    title = choose_title(subtype)
    return title if title != subtype.name else ""


REASON_NEEDED = marked("{yours} instead of {model}: give the reason for this correction.")


def list_reasons(web: WebContext) -> tuple[str, ...]:
    """Return the reasons to choose from, in the reader's language; () where none is required."""
    if web.correction_reasons is None:
        return ()
    return web.correction_reasons or tuple(_(why) for why in reports.MODEL_CORRECTION_WHYS)


def find_uncorrected(web: WebContext, view: MicrographView, *, hides: bool) -> str:
    """Return the model's code where another one needs a reason, else "".

    Args:
        web: What the pages work on.
        view: The micrograph.
        hides: The answer is hidden from the reviewer.
    """
    if web.correction_reasons is None or hides or view.label is not None:
        return ""
    return view.result.structure_code or ""


def request_reason(
    web: WebContext, view: MicrographView, decision: Decision, *, hides: bool
) -> str:
    """Return a sentence that requests the missing reason of a correction, "" where none is missing.

    Args:
        web: What the pages work on.
        view: The micrograph.
        decision: The decision about it.
        hides: The answer is hidden from the reviewer.
    """
    model = find_uncorrected(web, view, hides=hides)
    if decision.kind != "code" or decision.comment or decision.code in (model, None) or not model:
        return ""
    return _(REASON_NEEDED).format(yours=decision.code, model=model)
