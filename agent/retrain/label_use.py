"""Decide what a label is used for when a model is trained, and why it is not.

`training_set` selects by it and the review page shows it, so that no reviewer is told otherwise
than the training does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.settings.root import RECIPE
from agent.store import FOR_ORDERS, IMPORTED
from model import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.store import LabelledMicrograph
    from model import Manifest, Taxonomy

LEARNS_FROM = ("blind", "imported", "confirmed")
"""Labels that are trained on by default; "seen" is the fourth kind."""
FEW_MICROGRAPHS = 10
"""With fewer, a code's accuracy is hardly known: 5 of 5 right is 57 to 100 % (Wilson, 95 %)."""
FEWEST_GROUPS = 3
"""One group each to train, validate and test."""

_WAYS = {
    "blind": "decided without the model's answer",
    "imported": "imported",
    "confirmed": "decided by two reviewers",
    "seen": "decided by one reviewer who saw the model's answer",
}
_OBSTACLES = {
    "not_in_taxonomy": "{code} is not in the taxonomy",
    "other_recipe": "cut by recipe {recipe}, not {current}: import it again",
    "no_crop": "its crop is no longer in the archive",
    "doubted": "suspect, and not reviewed again (agent review list --reason doubted_label)",
    "no_code": "no structure code",
}


class Use(StrEnum):
    """What a label is used for."""

    TRAINED = "trained"
    TESTED = "tested"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class LabelUse:
    """What a label is used for, and why.

    Args:
        use: "trained" labels can come into training or test, "tested" ones only into tests.
        why: A stable word: the way it came about ("blind", "imported", "confirmed", "seen"),
            "control_sample", "strange", or what stands against it.
        code, recipe: Of the label, for the sentence.
    """

    use: Use
    why: str
    code: str = ""
    recipe: str = ""

    @property
    def obstacle(self) -> str:
        """Why the label is left out, as `agent retrain --dry-run` writes it; "" where it is not."""
        if self.use is not Use.UNUSED:
            return ""
        if self.why in _WAYS:
            return f"{_WAYS[self.why]} (retrain.learns_from)"
        return _OBSTACLES[self.why].format(code=self.code, recipe=self.recipe, current=RECIPE)


def decide_use(
    labelled: LabelledMicrograph,
    *,
    has_crop: bool,
    taxonomy: Taxonomy,
    learns_from: Collection[str],
) -> LabelUse:
    """Decide what a label is used for.

    Args:
        labelled: The micrograph with its valid label.
        has_crop: The crop is in the archive.
        taxonomy: The active one.
        learns_from: Which labels count: a subset of "blind", "imported", "confirmed" and "seen".
    """
    obstacle = _find_obstacle(labelled, has_crop, taxonomy)
    if obstacle:
        return LabelUse(Use.UNUSED, obstacle, labelled.label.code or "", labelled.recipe)
    if labelled.label.kind == "strange":
        return LabelUse(Use.TESTED, "strange")
    ways = _list_ways(labelled)
    counting = ways & set(learns_from)
    if not counting:
        return LabelUse(Use.UNUSED, min(ways))
    if labelled.is_control and labelled.origin != "import":
        return LabelUse(Use.TESTED, "control_sample")
    return LabelUse(Use.TRAINED, min(counting))


def list_known(manifest: Manifest) -> frozenset[str]:
    """Return the keys of the images that a bundle was trained or tested on with reviewers' labels.

    An image whose label was its predecessor's answer alone counts as new once a reviewer labels it.
    """
    known = {key for keys in manifest.split.values() for key in keys}
    return frozenset(known.difference(manifest.facts.get("data_set", {}).get("counting_less", ())))


def _find_obstacle(labelled: LabelledMicrograph, has_crop: bool, taxonomy: Taxonomy) -> str:
    """Return what stands against a label whatever its way, "" for nothing."""
    obstacles = {
        "no_code": labelled.label.kind not in ("code", "strange"),
        "not_in_taxonomy": labelled.label.kind == "code"
        and not _is_in(taxonomy, labelled.label.code),
        "other_recipe": labelled.recipe != RECIPE,
        "no_crop": not has_crop,
        "doubted": labelled.label.kind == "code" and labelled.is_doubted,
    }
    return next((why for why, holds in obstacles.items() if holds), "")


def _is_in(taxonomy: Taxonomy, code: str | None) -> bool:
    try:
        taxonomy.parse(code or "")
    except TaxonomyError:
        return False
    return True


def _list_ways(labelled: LabelledMicrograph) -> set[str]:
    """Return the ways in which a label came about."""
    if labelled.label.origin in {IMPORTED, FOR_ORDERS}:
        way = "imported"
    else:
        way = "blind" if labelled.label.blind or labelled.seen_code is None else "seen"
    return {way, "confirmed"} if labelled.is_confirmed else {way}
