"""Record the scale that a reviewer enters where the file has none or contradicts itself.

A scale comes from an objective of the source's table, or from a line drawn over the scale bar and
the length printed at it. Where two reviewers judge the micrograph, both have to enter it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import WrongUse
from agent.orders.facts.scale_tracing import TOLERANCE
from agent.store import GIVEN, find_given, is_by_program, voter_of
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from agent.store import MicrographView, Record, Store
    from agent.watch import Calibration

SHORTEST_LINE_PX = 20.0
"""A line is drawn to half a pixel at each end; below it the scale is off by more than 5 %."""


@dataclass(frozen=True, slots=True)
class ScaleProposal:
    """A scale that a reviewer gives, and how.

    Args:
        um_per_px: µm per pixel of the file.
        facts: How it was given, as JSON has it.
    """

    um_per_px: float
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GivenScale:
    """A scale that holds, since as many reviewers gave it as are asked.

    Args:
        um_per_px: µm per pixel of the file.
        by: Who gave it.
        record: Number of the record that settled it.
    """

    um_per_px: float
    by: tuple[str, ...]
    record: int

    def to_json(self) -> dict[str, Any]:
        """Return it as a result's thresholds hold it."""
        return {"um_per_px": self.um_per_px, "by": list(self.by), "record": self.record}


def propose_from_objective(
    objectives: Sequence[Calibration], name: str, size: tuple[int, int]
) -> ScaleProposal:
    """Return the scale of an objective in the source's table.

    Args:
        objectives: Those of the table that can hold for the micrograph, the newest first.
        name: Which.
        size: Width and height of the micrograph, px.

    Raises:
        WrongUse: The table has no such objective for this size.
    """
    for entry in objectives:
        fits = entry.width in (None, size[0]) and entry.height in (None, size[1])
        if entry.name == name and fits:
            return ScaleProposal(entry.um_per_px, {"how": "objective", "objective": name})
    raise WrongUse(
        _(
            "The table of objectives has no {name!r} for {width} × {height} px. Choose another, or "
            "draw a line over the scale bar."
        ).format(name=name, width=size[0], height=size[1])
    )


def propose_from_line(
    start: tuple[float, float], end: tuple[float, float], length_um: float, size: tuple[int, int]
) -> ScaleProposal:
    """Compute the scale from a line over the scale bar and the length printed at it.

    Args:
        start: Of the line, x and y in pixels of the file.
        end: Of the line.
        length_um: The printed length, µm.
        size: Width and height of the micrograph, px.

    Raises:
        WrongUse: The line is too short or leaves the micrograph, or the length is none.
    """
    if not all(map(math.isfinite, (*start, *end))) or not all(
        0 <= x <= size[0] and 0 <= y <= size[1] for x, y in (start, end)
    ):
        raise WrongUse(_("The line leaves the micrograph. Draw it over the scale bar."))
    length_px = math.dist(start, end)
    if length_px < SHORTEST_LINE_PX:
        raise WrongUse(
            _("The line is {px} px long. Draw at least {least} px, from tick to tick.").format(
                px=decimal(length_px, ".3g"), least=f"{SHORTEST_LINE_PX:g}"
            )
        )
    if not (math.isfinite(length_um) and length_um > 0):
        raise WrongUse(_("Type the length that is printed at the scale bar, such as 50, in µm."))
    return ScaleProposal(
        length_um / length_px,
        {
            "how": "line",
            "length_um": length_um,
            "line": [[round(x, 1), round(y, 1)] for x, y in (start, end)],
        },
    )


def propose_from_number(um_per_px: float) -> ScaleProposal:
    """Return a scale that is typed as µm per pixel."""
    return ScaleProposal(um_per_px, {"how": "number"})


def give_scale(
    store: Store,
    view: MicrographView,
    proposal: ScaleProposal,
    *,
    plausible: tuple[float, float],
    by: str,
    at: datetime,
) -> GivenScale | None:
    """Record the scale that a reviewer gives.

    Args:
        store: Open.
        view: The micrograph.
        proposal: The scale.
        plausible: Smallest and largest µm per pixel, as `[imaging] um_per_px_range`.
        by: Who gives it.
        at: Now, aware UTC.

    Returns:
        The scale that holds now; None where a second reviewer has to give it too.

    Raises:
        WrongUse: The scale is implausible, or no one is named.
    """
    low, high = plausible
    if not by.strip():
        raise WrongUse(_("A scale needs the name of who gives it."))
    if not low <= proposal.um_per_px <= high:
        raise WrongUse(
            _(
                "{um} µm per pixel is implausible: it has to be between {low} and {high}. Check "
                "the length and its unit."
            ).format(
                um=decimal(proposal.um_per_px, ".4g"),
                low=decimal(low, "g"),
                high=decimal(high, "g"),
            )
        )
    facts = {
        "um_per_px": proposal.um_per_px,
        **proposal.facts,
        "sha256": view.sha256,
        "page": view.page,
        "result": view.result.id,
    }
    store.records.add(GIVEN, view.id, by=by.strip(), at=at, facts=facts)
    return find_settled(store, view)


def find_settled(store: Store, view: MicrographView) -> GivenScale | None:
    """Return the scale that reviewers gave a micrograph, or None."""
    return settle(store.records.all(GIVEN, view.id), two=view.asks_two)


def settle(records: Iterable[Record], *, two: bool) -> GivenScale | None:
    """Return the scale that holds.

    Args:
        records: Of the kind `GIVEN` about one micrograph, oldest first.
        two: Two reviewers have to give it, to within 2 %; no program is one.
    """
    settled: GivenScale | None = None
    newest: dict[str, Record] = {}
    for record in records:
        if two and is_by_program(record.by):
            continue
        um_per_px = float(record.facts["um_per_px"])
        newest[voter_of(record.by)] = record
        same = [
            scale.by
            for scale in newest.values()
            if abs(float(scale.facts["um_per_px"]) / um_per_px - 1) <= TOLERANCE
        ]
        if not two:
            settled = GivenScale(um_per_px, (record.by,), record.id)
        elif len(same) > 1:
            settled = GivenScale(um_per_px, tuple(same), record.id)
    return settled


def describe_state(store: Store, view: MicrographView) -> str:
    """Return what is recorded of a scale and not yet judged with, in a sentence; "" for nothing."""
    records = store.records.all(GIVEN, view.id)
    if not records:
        return ""
    settled = settle(records, two=view.asks_two)
    if settled is None:
        return _("{who} gave a scale. A second reviewer has to give it too, to within 2 %.").format(
            who=_(" and ").join(dict.fromkeys(record.by for record in records))
        )
    if find_given(view.result.thresholds).get("record") == settled.record:
        return ""
    return _(
        "{who} gave the scale {um} µm per pixel. The agent judges the micrograph again with it."
    ).format(who=_(" and ").join(settled.by), um=decimal(settled.um_per_px, ".4g"))


def describe_givers(thresholds: dict[str, Any]) -> str:
    """Return who gave the scale that a result was judged with, "" where the file did."""
    return _(" and ").join(find_given(thresholds).get("by", ()))
