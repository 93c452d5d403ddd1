"""Pictures of a micrograph as links: its crop, field, maps and the reference images next to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.nightly import describe_map
from agent.nightly.page.embedded_images import (
    format_map_alt,
    format_outline_alt,
    get_colour_limit,
)
from agent.nightly.page.micrograph_cards import list_maps
from reports import Layer, Picture, Ruler, decimal, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.needles import LongNeedle
    from agent.orders.specifications.class_texts import ClassTexts
    from agent.store import MicrographView
    from agent.web.context import Desk

WINDOW_PX = 160
ROUND = (1, 2, 5)
SCALES = {
    "subtype": marked("Orange: for. Violet: against. The same scale for every micrograph."),
    "size": marked("Orange: for. Violet: against. The same scale for every micrograph."),
    "strangeness": marked("Yellow: unusual. White outline: alarm level."),
}


class Linked:
    """Images as links, for `build_card`.

    Args:
        scaled: Returns the public id of a reference micrograph by its training key, None where its
            scale or its pixels are not known.
        window_um: Width of the part of it that is shown, 0.0 to show the whole of it.
    """

    def __init__(
        self, scaled: Callable[[str], str | None] = lambda _key: None, window_um: float = 0.0
    ) -> None:
        self._scaled, self._window_um = scaled, window_um

    def crop(self, micrograph: MicrographView) -> Picture | None:
        """Return the crop that the model evaluated."""
        if not micrograph.crop:
            return None
        x0, y0, x1, y1 = micrograph.crop
        return Picture(
            f"/pictures/{micrograph.id}/plain.jpg",
            _("Crop of {name}").format(name=micrograph.name),
            x1 - x0,
            y1 - y0,
        )

    def field(self, micrograph: MicrographView) -> Picture | None:
        """Return the whole field."""
        src = f"/pictures/{micrograph.id}/whole.jpg"
        return Picture(src, format_outline_alt(micrograph), micrograph.width, micrograph.height)

    def heat(self, micrograph: MicrographView, which: str) -> tuple[Picture | None, str]:
        """Return one map, to overlay on the crop, and a note."""
        if not micrograph.crop:
            return None, ""
        x0, y0, x1, y1 = micrograph.crop
        src = f"/pictures/{micrograph.id}/{which}.png?bundle={quote(micrograph.result.bundle)}"
        return Picture(src, format_map_alt(which), x1 - x0, y1 - y0), ""

    def needle(self, _micrograph: MicrographView, _needle: LongNeedle) -> Picture | None:
        """Return None: a page shows the whole crop."""
        return None

    def known(self, key: str, code: str) -> Picture | None:
        """Return a reference micrograph: a part as wide as the reviewed one's, else all of it."""
        public_id = self._scaled(key) if self._window_um else None
        if public_id:
            alt = _("Known {code}, {width} wide")
            said = alt.format(code=code, width=format_length(self._window_um))
            return Picture(window_href(public_id, self._window_um), said, WINDOW_PX, WINDOW_PX)
        src = f"/pictures/known/{quote(key, safe='')}.jpg"
        return Picture(src, _("Known {code}").format(code=code), 160, 120)


def iter_layers(desk: Desk, seen: MicrographView, texts: ClassTexts) -> Iterator[Layer]:
    """Yield the maps that the archive has, to overlay on the crop."""
    maps = (
        desk.archive.maps(seen.sha256, seen.page, seen.result.bundle) if seen.result.bundle else {}
    )
    for which, title, caption in list_maps(seen, texts):
        picture, _note = Linked().heat(seen, which)
        if which in maps and picture:
            note = describe_map(maps[which], which, get_colour_limit(seen, which))
            yield Layer(which, title, caption, note, picture, _(SCALES[which]))


def ruler_of(seen: MicrographView) -> Ruler | None:
    """Return the scale bar over a crop, about a fifth of its width; None without a scale."""
    if not seen.um_per_px or not seen.crop:
        return None
    width, height = seen.crop[2] - seen.crop[0], seen.crop[3] - seen.crop[1]
    um = _floor_length(width * seen.um_per_px * 0.22)
    label = format_length(um)
    return Ruler(label, um / seen.um_per_px, width, height, seen.um_per_px)


def format_length(um: float) -> str:
    """Format a length, such as "80 µm"."""
    return f"{decimal(um, 'g')} µm" if um < 1000 else f"{decimal(um / 1000, 'g')} mm"  # noqa: PLR2004 - µm in a mm


def _floor_length(wanted_um: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted_um))
    return max(step * power for step in ROUND if step * power <= wanted_um)


def compute_window_um(seen: MicrographView) -> float:
    """Return the width (µm) of the part shown next to reference images, 0.0 without a scale."""
    if not seen.um_per_px or not seen.crop:
        return 0.0
    x0, y0, x1, y1 = seen.crop
    return _floor_length(min(x1 - x0, y1 - y0) * seen.um_per_px)


def window_href(public_id: str, um: float) -> str:
    """Return the address of a part of a micrograph, `um` micrometres wide."""
    return f"/pictures/{public_id}/window.jpg?um={um:g}"
