"""Compare the answers of two bundles on a field, as facts and as a card with its picture.

The other bundle is triaged as if it were validated as widely as the one in use: the width of its
validation is reported separately, and would hide every other difference.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.files import pictures
from agent.triage import Handling, Reason
from reports import FlipCard, Picture
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.archive import Archive
    from agent.store import MicrographView

SHOWN_PX = 240
QUALITY = 66


@dataclass(frozen=True, slots=True)
class Flip:
    """One field that another bundle answers differently.

    Args:
        id: Public id.
        sha256, page: Which pixels.
        name: Of the file.
        order, specimen: Of the field, or "".
        before, after: Structure codes, "" for none.
        could_be, could_be_after: Prediction sets.
        handling, handling_after: "automatic" or "review".
        strange, strange_after: Flagged as not comparable with the reference images.
        decided: A reviewer's label, "" where there is none.
    """

    id: str
    sha256: str
    page: int
    name: str
    order: str
    specimen: str
    before: str
    after: str
    could_be: tuple[str, ...]
    could_be_after: tuple[str, ...]
    handling: str
    handling_after: str
    strange: bool
    strange_after: bool
    decided: str


def find_flip(before: MicrographView, after: MicrographView) -> Flip | None:
    """Return how another bundle answers a field differently; None where it answers the same.

    A reviewer's label counts for either bundle; it is given in addition.
    """
    result = before.result
    other = assume_validated(before, after)
    if _build_answer(before) == _build_answer(other):
        return None
    process_data, label = before.process_data, before.label
    return Flip(
        id=before.id,
        sha256=before.sha256,
        page=before.page,
        name=before.path.replace("\\", "/").rsplit("/", 1)[-1],
        order=process_data.get("order", ""),
        specimen=process_data.get("specimen", ""),
        before=result.structure_code or "",
        after=after.result.structure_code or "",
        could_be=result.prediction_set,
        could_be_after=after.result.prediction_set,
        handling=result.handling,
        handling_after=other.result.handling,
        strange=result.strangeness.is_flagged,
        strange_after=after.result.strangeness.is_flagged,
        decided=(label.code or label.strange_kind or label.why or label.kind) if label else "",
    )


def _build_answer(view: MicrographView) -> tuple[object, ...]:
    result = view.result
    flagged = result.strangeness.is_flagged
    return result.structure_code, frozenset(result.prediction_set), result.handling, flagged


def assume_validated(before: MicrographView, after: MicrographView) -> MicrographView:
    """Return an answer as if its bundle were validated as widely as the one in use."""
    others = [word for word in after.result.reasons if word != Reason.OUT_OF_SCOPE]
    own = [word for word in before.result.reasons if word == Reason.OUT_OF_SCOPE]
    handling = Handling.REVIEW if others or own else Handling.AUTOMATIC
    result = replace(after.result, reasons=(*others, *own), handling=handling.value)
    return replace(after, result=result)


# --- the card -----------------------------------------------------------------------------------


def build_flip_card(flip: Flip, archive: Archive) -> FlipCard:
    """Build the card of a flip, with its picture."""
    order = _("order {number}").format(number=flip.order) if flip.order else ""
    specimen = _("specimen {name}").format(name=flip.specimen) if flip.specimen else ""
    decided = flip.decided.replace("_", " ")
    before = _describe_answer(flip.before, flip.could_be, flip.handling, strange=flip.strange)
    after = _describe_answer(
        flip.after, flip.could_be_after, flip.handling_after, strange=flip.strange_after
    )
    return FlipCard(
        id=flip.id,
        name=flip.name,
        place=", ".join(filter(None, (order, specimen))),
        picture=_load_picture(flip, archive),
        before=flip.before,
        after=flip.after,
        before_more=before if before != after else "",
        after_more=after if before != after else "",
        decided=_("decided: {what}").format(what=decided) if decided else "",
    )


def _describe_answer(code: str, could_be: Sequence[str], handling: str, *, strange: bool) -> str:
    others = _(" or ").join(other for other in could_be if other != code)
    could = _("could be {codes}").format(codes=others) if others else ""
    handled = _("automatic") if handling == Handling.AUTOMATIC else _("review")
    return ", ".join(filter(None, (could, _("unusual") if strange else "", handled)))


def _load_picture(flip: Flip, archive: Archive) -> Picture | None:
    try:
        content = archive.read(archive.thumbnail_path(flip.sha256, flip.page))
        pixels = pictures.fit_within(pictures.decode(content), SHOWN_PX)
    except (OSError, ValueError):
        return None
    encoded = base64.b64encode(pictures.encode_jpeg(pixels, quality=QUALITY)).decode()
    height, width = pixels.shape[:2]
    alt = _("Crop of {name}").format(name=flip.name)
    return Picture(f"data:image/jpeg;base64,{encoded}", alt, width, height)
