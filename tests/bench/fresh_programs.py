"""Looks and fonts of the programs whose scale bars `fresh_bars` burns.

Fonts come from Debian's fonts-freefont-ttf, -noto-core, -inter, -adobe-sourcesans3, -cabin, -b612,
-sil-andika, -montserrat, -roboto-unhinted, -open-sans, -lmodern, -firacode, -courier-prime,
-cascadia-code, -terminus-otb, -crosextra-caladea, -crosextra-carlito, -comic-neue and Matplotlib; a
font that is missing changes what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from burned_bars import BLACK, WHITE, YELLOW
from fresh_strips import STRIPS

if TYPE_CHECKING:
    from burned_bars import Colour

FONTS = {
    "sans": (
        "FreeSans.ttf",
        "FreeSansBold.ttf",
        "Inter-Regular.otf",
        "Inter-SemiBold.otf",
        "InterDisplay-Medium.otf",
        "NotoSans-Regular.ttf",
        "NotoSans-Bold.ttf",
        "SourceSans3-Regular.otf",
        "SourceSans3-Semibold.otf",
        "Cabin-Regular.otf",
        "Cabin-Bold.otf",
        "B612-Regular.otf",
        "Andika-Regular.ttf",
        "Montserrat-Medium.otf",
        "RobotoCondensed-Regular.ttf",
        "RobotoCondensed-Bold.ttf",
        "OpenSans-CondBold.ttf",
        "lmsans10-regular.otf",
        "lmsans10-bold.otf",
    ),
    "mono": (
        "B612Mono-Regular.otf",
        "CascadiaMono.ttf",
        "FiraCode-Medium.ttf",
        "FreeMonoBold.ttf",
        "lmmonolt10-bold.otf",
        "Courier Prime Bold.otf",
        "terminus-normal.otb",
        "terminus-bold.otb",
        "DejaVuSansMono-Bold.ttf",
    ),
    "serif": (
        "Caladea-Regular.ttf",
        "Caladea-Bold.ttf",
        "FreeSerif.ttf",
        "FreeSerifBold.ttf",
        "NotoSerif-Regular.ttf",
        "lmroman10-regular.otf",
        "DejaVuSerif-Bold.ttf",
    ),
    "other": (
        "Inter-Italic.otf",
        "NotoSans-BoldItalic.ttf",
        "FreeSerifItalic.ttf",
        "Carlito-Italic.ttf",
        "ComicNeue-Bold.otf",
        "DejaVuSans-BoldOblique.ttf",
    ),
}
ORANGE, MAGENTA, GREEN, CYAN = (255, 150, 0), (255, 0, 255), (0, 230, 60), (0, 230, 230)
RED, BLUE, NAVY = (230, 20, 20), (20, 60, 230), (0, 0, 110)


@dataclass(frozen=True)
class Program:
    """Looks of a kind of program; a look is drawn as often as it is listed.

    Args:
        share: Of all bars.
        lines: Kinds of line.
        places: Of the words, seen from the line.
        grounds: What lies under line and words.
        inks: Colours of line and words.
        fonts: Families.
        size: Of the letters, share of the picture's shorter side, lowest and highest.
        edges: Of the letters and lines.
    """

    share: float
    lines: tuple[str, ...]
    places: tuple[str, ...] = ("above", "above", "below")
    grounds: tuple[str, ...] = ("none",)
    inks: tuple[Colour, ...] = (WHITE, WHITE, BLACK)
    fonts: tuple[str, ...] = ("sans",)
    size: tuple[float, float] = (0.024, 0.05)
    edges: tuple[str, ...] = ("crisp", "smooth")


PROGRAMS = {
    "plain": Program(  # ImageJ, ZEN, DigitalMicrograph
        0.44,
        ("solid", "solid", "solid", "slim", "ticked"),
        grounds=("none", "none", "none", "plate", "plate", "corner"),
        inks=(WHITE, WHITE, WHITE, BLACK, BLACK, YELLOW),
        fonts=("sans", "sans", "sans", "sans", "serif"),
    ),
    "light": Program(  # Leica, Olympus, Keyence, Clemex
        0.14,
        ("solid", "ticked", "ruler", "ruler", "hollow", "bevel", "walled", "checker", "numbered"),
        ("above", "above", "below", "above_left", "below_right", "right"),
        ("none", "none", "boxed", "boxed", "corner", "grey", "tint", "film"),
        (WHITE, BLACK, BLACK, RED, BLUE, GREEN, NAVY),
        ("sans", "sans", "sans", "mono"),
    ),
    "inside": Program(
        0.06,
        ("inlaid", "inlaid", "cradle", "cradle", "gap"),
        grounds=("none", "none", "plate", "boxed", "grey"),
        inks=(WHITE, WHITE, BLACK, YELLOW, RED),
    ),
    "slides": Program(  # PowerPoint and its like
        0.12,
        ("solid", "solid", "solid", "slim", "stealth", "stealth", "gradient", "pill", "dashed"),
        ("above", "above", "below", "below", "below_left", "above_right", "right"),
        ("none", "none", "none", "tint", "rounded", "film", "plate"),
        (WHITE, WHITE, BLACK, YELLOW, RED, ORANGE, MAGENTA, CYAN),
        ("sans", "sans", "serif", "other"),
        (0.03, 0.07),
        ("smooth", "smooth", "subpixel"),
    ),
    "plots": Program(  # Matplotlib and its scale bar packages
        0.04,
        ("solid", "solid", "hollow", "slim"),
        ("below", "below", "above"),
        ("rounded", "film", "boxed", "none"),
        (BLACK, BLACK, WHITE),
        ("sans", "serif"),
        edges=("smooth",),
    ),
    "bare": Program(  # SEM without a strip
        0.03,
        ("comb", "comb", "ticked", "solid"),
        ("above", "below", "right", "below_right"),
        fonts=("mono", "sans"),
    ),
    "upright": Program(0.01, ("upright",), ("right", "left"), ("none", "plate")),
    "strip": Program(0.16, tuple(STRIPS), fonts=("mono", "sans", "sans"), size=(0.02, 0.03)),
}
