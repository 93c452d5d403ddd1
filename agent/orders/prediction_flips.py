"""Say how another bundle answers a field otherwise, in facts and as a card with its picture.

In:  two answers about one micrograph. Out: `Flip`s, `reports.FlipCard`s. Next: the list that
whoever signs for a bundle has to see, and the gallery of the nightly report.
The other bundle is asked as if it were validated as widely as the one at work: how widely it is
validated is said apart, and would hide every other difference.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent import pictures
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
    """One field that another bundle answers otherwise.

    Args:
        id: Public id. sha256, page: which pixels. name: the file's. order, specimen: of it, or "".
        before, after: Structure codes, "" for none. could_be, could_be_after: prediction sets.
        handling, handling_after: "automatic" or "review".
        strange, strange_after: Flagged as not comparable with the reference images.
        decided: What a person said of it, "" where nobody did.
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


def flip_of(before: MicrographView, after: MicrographView) -> Flip | None:
    """Say how another bundle answers a field otherwise; None where it says the same.

    What a person decided counts whoever is at work; it is said beside.
    """
    other = as_validated(before, after)
    if _answer(before) == _answer(other):
        return None
    told, label = before.process_data, before.label
    return Flip(
        id=before.id,
        sha256=before.sha256,
        page=before.page,
        name=before.path.replace("\\", "/").rsplit("/", 1)[-1],
        order=told.get("order", ""),
        specimen=told.get("specimen", ""),
        before=before.structure_code or "",
        after=after.structure_code or "",
        could_be=before.prediction_set,
        could_be_after=after.prediction_set,
        handling=before.handling,
        handling_after=other.handling,
        strange=bool(before.strangeness.get("flagged")),
        strange_after=bool(after.strangeness.get("flagged")),
        decided=(label.code or label.strange_kind or label.why or label.kind) if label else "",
    )


def _answer(view: MicrographView) -> tuple[object, ...]:
    flagged = bool(view.strangeness.get("flagged"))
    return view.structure_code, frozenset(view.prediction_set), view.handling, flagged


def as_validated(before: MicrographView, after: MicrographView) -> MicrographView:
    """Take an answer as if its bundle were validated as widely as the one at work."""
    others = [word for word in after.reasons if word != Reason.OUT_OF_SCOPE]
    own = [word for word in before.reasons if word == Reason.OUT_OF_SCOPE]
    handling = Handling.REVIEW if others or own else Handling.AUTOMATIC
    return replace(after, reasons=(*others, *own), handling=handling.value)


# --- the card -----------------------------------------------------------------------------------


def flip_card(one: Flip, archive: Archive) -> FlipCard:
    """Say a flip as a page does, with its picture."""
    order = _("order {number}").format(number=one.order) if one.order else ""
    specimen = _("specimen {name}").format(name=one.specimen) if one.specimen else ""
    said = one.decided.replace("_", " ")
    before = _more(one.before, one.could_be, one.handling, strange=one.strange)
    after = _more(one.after, one.could_be_after, one.handling_after, strange=one.strange_after)
    return FlipCard(
        id=one.id,
        name=one.name,
        place=", ".join(filter(None, (order, specimen))),
        picture=_picture(one, archive),
        before=one.before,
        after=one.after,
        before_more=before if before != after else "",
        after_more=after if before != after else "",
        decided=_("decided: {what}").format(what=said) if said else "",
    )


def _more(code: str, could_be: Sequence[str], handling: str, *, strange: bool) -> str:
    others = _(" or ").join(other for other in could_be if other != code)
    could = _("could be {codes}").format(codes=others) if others else ""
    handled = _("automatic") if handling == Handling.AUTOMATIC else _("review")
    return ", ".join(filter(None, (could, _("strange") if strange else "", handled)))


def _picture(one: Flip, archive: Archive) -> Picture | None:
    try:
        held = archive.thumbnail_path(one.sha256, one.page).read_bytes()
        pixels = pictures.fit_within(pictures.decode(held), SHOWN_PX)
    except (OSError, ValueError):
        return None
    encoded = base64.b64encode(pictures.encode_jpeg(pixels, quality=QUALITY)).decode()
    height, width = pixels.shape[:2]
    alt = _("Crop of {name}").format(name=one.name)
    return Picture(f"data:image/jpeg;base64,{encoded}", alt, width, height)
