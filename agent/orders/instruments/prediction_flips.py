"""Compare the answers of two bundles on a field, as facts and with its picture.

The other bundle is triaged as if it were validated as widely as the one in use: the width of its
validation is reported separately, and would hide every other difference.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.files import pictures
from agent.triage import Handling, Reason
from reports import Picture
from reports import gettext as _

if TYPE_CHECKING:
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


def load_picture(flip: Flip, archive: Archive) -> Picture | None:
    """Return a thumbnail of a flip inside the page, None where its pixels are deleted."""
    try:
        content = archive.read(archive.thumbnail_path(flip.sha256, flip.page))
        pixels = pictures.decode_within(content, SHOWN_PX)
    except (OSError, ValueError):
        return None
    encoded = base64.b64encode(pictures.encode_jpeg(pixels, quality=QUALITY)).decode()
    height, width = pixels.shape[:2]
    alt = _("Crop of {name}").format(name=flip.name)
    return Picture(f"data:image/jpeg;base64,{encoded}", alt, width, height)
