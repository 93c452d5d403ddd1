"""Export drawn micrographs the way microscopes do: slowly, under temporary names, and badly.

In:  `Picture`s to export. Out: files in a watched folder, one by one. Next: the agent's watch.
The bad ones are what a night brings: a file that was never finished, a letter called .tif, the
same content twice. The agent has to say so, and go on.
"""

from __future__ import annotations

import io
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import tifffile

from agent.demo.drawing import TRAINED, draw
from agent.demo.overlay import STYLES
from agent.demo.strange import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.random import Generator

    from agent.demo.drawing import Drawn

FORMATS = ("tif", "png", "jpg", "bmp")
MANNERS = ("renamed", "slowly", "at once")
SCALES = {"500x": 0.20, "1000x": 0.10}
"""Magnification → µm per pixel of the pretend camera."""
FIELDS = 3
"""Fields taken of one specimen."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One micrograph to be drawn and written.

    Args:
        name: File name, with its extension. code: what is drawn.
        seed: What it is drawn from. order, specimen, field: where it belongs.
        magnification: A key of `SCALES`. strange: a planted strange kind, or "".
    """

    name: str
    code: str
    seed: int
    order: str
    specimen: str
    field: int
    magnification: str
    strange: str = ""

    def drawn(self, size: tuple[int, int], *, border: bool | None = None) -> Drawn:
        """Draw it; fields of a specimen share their etch.

        Args:
            size: Width and height in pixels.
            border: Whether the specimen's edge is in the field; None: by chance.
        """
        return draw(
            self.code,
            seed=self.seed,
            um_per_px=SCALES[self.magnification],
            size=size,
            strange=self.strange,
            bar=STYLES[self.seed % len(STYLES)],
            border=border,
            specimen=int(self.order) * 100 + int(self.specimen),
        )


class Exported(NamedTuple):
    """A file that the microscope has finished with, or given up."""

    name: str
    strange: str
    fault: str


def encoded(drawn: Drawn, extension: str) -> bytes:
    """Write a drawn micrograph as a file's bytes.

    Args:
        drawn: What was drawn.
        extension: "tif" (with its resolution), "png", "jpg" or "bmp".
    """
    if extension == "tif":
        per_cm = 10_000 / drawn.um_per_px
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            drawn.pixels,
            photometric="rgb",
            compression="lzw",
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            software="Pretend Microscope 1.0",
        )
        return buffer.getvalue()
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 92] if extension == "jpg" else []
    fine, data = cv2.imencode(f".{extension}", drawn.pixels[..., ::-1], parameters)
    if not fine:
        raise ValueError(f"no picture can be written as .{extension}")
    return bytes(data.tobytes())


def planned(
    codes: Sequence[str], specimens: int, *, first_order: int, seed: int, fields: int = FIELDS
) -> list[Picture]:
    """Plan ordinary micrographs: every code on several specimens, several fields of each.

    Args:
        codes: Structure codes.
        specimens: How many specimens per code.
        first_order: Number of the first order; every code has an order of its own.
        seed: Of everything drawn by chance.
        fields: How many fields per specimen.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for number, code in enumerate(codes):
        order = str(first_order + number)
        for specimen in range(1, specimens + 1):
            magnification = _magnification(code, rng)
            for field in range(1, fields + 1):
                extension = FORMATS[int(rng.choice(len(FORMATS), p=[0.4, 0.3, 0.25, 0.05]))]
                pictures.append(
                    Picture(
                        name=f"{order}_{specimen:02d}_{field:02d}_{magnification}.{extension}",
                        code=code,
                        seed=int(rng.integers(1 << 31)),
                        order=order,
                        specimen=f"{specimen:02d}",
                        field=field,
                        magnification=magnification,
                    )
                )
    return pictures


def _magnification(code: str, rng: Generator) -> str:
    # As in practice, the fine structures are those looked at under 1000x.
    return "1000x" if rng.random() < (0.3 if code.endswith("9-10") else 0.08) else "500x"


def planted(kinds: Sequence[str], each: int, *, order: int, seed: int) -> list[Picture]:
    """Plan strange ones: several of each kind, on fields that would be known without it."""
    rng = np.random.default_rng(seed)
    return [
        Picture(
            name=f"{order}_{number + 1:02d}_{turn + 1:02d}_500x.{'tif' if turn % 2 else 'png'}",
            code=str(rng.choice(TRAINED)),
            seed=int(rng.integers(1 << 31)),
            order=str(order),
            specimen=f"{number + 1:02d}",
            field=turn + 1,
            magnification="500x",
            strange=kind,
        )
        for number, kind in enumerate(kinds)
        for turn in range(each)
    ]


def a_night(seed: int, *, specimens: int = 2, strange_each: int = 2) -> list[Picture]:
    """Plan what comes in one night: ordinary specimens, strange ones strewn among them."""
    base = 50_000 + 100 * (seed % 400)
    ordinary = planned(TRAINED, specimens, first_order=base, seed=seed)
    strange = planted(KINDS, strange_each, order=base + 50, seed=seed + 1)
    every = np.random.default_rng(seed).permutation(len(ordinary) + len(strange))
    both = [*ordinary, *strange]
    return [both[index] for index in every]


def export(
    pictures: Sequence[Picture],
    folder: Path,
    *,
    size: tuple[int, int],
    pause_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Exported]:
    """Export micrographs into a watched folder, then the accidents of a night.

    Args:
        pictures: What to export, in this order.
        folder: The watched folder.
        size: Width and height of a picture in pixels.
        pause_s: How long it stops in the middle of writing a file, in seconds.
        sleep: Waits.

    Yields:
        Each file as soon as it is written.
    """
    for number, picture in enumerate(pictures):
        content = encoded(picture.drawn(size), picture.name.rpartition(".")[2])
        _write(folder / picture.name, content, MANNERS[number % len(MANNERS)], pause_s, sleep)
        yield Exported(picture.name, picture.strange, "")
    stem, _, extension = pictures[0].name.rpartition(".")
    copy = f"{stem} - copy.{extension}"
    shutil.copyfile(folder / pictures[0].name, folder / copy)
    yield Exported(copy, "", "the same content twice")
    yield from _accidents(folder, pictures, size)


def _accidents(
    folder: Path, pictures: Sequence[Picture], size: tuple[int, int]
) -> Iterator[Exported]:
    order = pictures[0].order
    whole = encoded(pictures[0].drawn(size), "png")
    accidents = {
        f"{order}_90_01_500x.png": (whole[: len(whole) // 2], "never finished"),
        f"{order}_91_01_500x.tif": (b"Dear colleague,\n" * 40, "a letter, no picture"),
        f"{order}_92_01_500x.tif": (b"", "empty"),
    }
    for name, (content, fault) in accidents.items():
        (folder / name).write_bytes(content)
        yield Exported(name, "", fault)


def _write(
    path: Path, content: bytes, manner: str, pause_s: float, sleep: Callable[[float], None]
) -> None:
    if manner == "renamed":
        aside = path.with_name(f"~{path.name}.tmp")
        aside.write_bytes(content)
        sleep(pause_s)
        aside.rename(path)
    elif manner == "slowly":
        with path.open("wb", buffering=0) as file:
            for part in range(3):
                piece = len(content) // 3 + 1
                file.write(content[part * piece : (part + 1) * piece])
                sleep(pause_s / 2)
    else:
        path.write_bytes(content)
