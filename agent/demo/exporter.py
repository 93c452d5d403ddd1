"""Export drawn micrographs as microscopes do: slowly, under temporary names, and with faults.

The faults are those of a night: a truncated file, a letter called .tif, duplicate content. The
agent must report them and continue.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import cv2
import numpy as np
import tifffile
from numpy.random import Generator

from agent.demo.anomalies import KINDS
from agent.demo.micrograph import TRAINED, Drawn, draw_micrograph
from agent.demo.scale_bar import STYLES

FORMATS = ("tif", "png", "jpg", "bmp")
MANNERS = ("renamed", "slowly", "at once")
SCALES = {"500x": 0.20, "1000x": 0.10}
"""Magnification → µm per pixel of the simulated camera."""
FIELDS = 3
"""Fields of one specimen."""


@dataclass(frozen=True, slots=True)
class DemoPicture:
    """One micrograph to draw and write.

    Args:
        name: File name with extension.
        code: Structure code.
        seed: Its seed.
        order: Its order.
        specimen: Its specimen.
        field: Its field.
        magnification: A key of `SCALES`.
        strange: Kind of anomaly, or "".
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
        """Draw the micrograph; fields of a specimen share their etch.

        Args:
            size: Width and height in pixels.
            border: Whether the specimen's edge is in the field; None: random.
        """
        return draw_micrograph(
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
    """A file that the microscope has finished, or abandoned."""

    name: str
    strange: str
    fault: str


def encode(drawn: Drawn, extension: str) -> bytes:
    """Encode a drawn micrograph as a file's bytes.

    Args:
        drawn: The micrograph.
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


def plan_ordinary(
    codes: Sequence[str], specimens: int, *, first_order: int, seed: int, fields: int = FIELDS
) -> list[DemoPicture]:
    """Plan ordinary micrographs: every code on several specimens with several fields each.

    Args:
        codes: Structure codes.
        specimens: Specimens per code.
        first_order: Number of the first order; every code has a separate order.
        seed: Of all random choices.
        fields: Fields per specimen.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for number, code in enumerate(codes):
        order = str(first_order + number)
        for specimen in range(1, specimens + 1):
            magnification = _choose_magnification(code, rng)
            for field in range(1, fields + 1):
                extension = FORMATS[int(rng.choice(len(FORMATS), p=[0.4, 0.3, 0.25, 0.05]))]
                pictures.append(
                    DemoPicture(
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


def _choose_magnification(code: str, rng: Generator) -> str:
    # As in practice, fine structures are examined at 1000x.
    return "1000x" if rng.random() < (0.3 if code.endswith("9-10") else 0.08) else "500x"


def plan_anomalies(kinds: Sequence[str], each: int, *, order: int, seed: int) -> list[DemoPicture]:
    """Plan anomalies: several of each kind, on otherwise ordinary fields."""
    rng = np.random.default_rng(seed)
    return [
        DemoPicture(
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


def plan_night(seed: int, *, specimens: int, strange_each: int = 2) -> list[DemoPicture]:
    """Plan the micrographs of one night: ordinary specimens with anomalies at random positions."""
    base = 50_000 + 100 * (seed % 400)
    ordinary = plan_ordinary(TRAINED, specimens, first_order=base, seed=seed)
    strange = plan_anomalies(KINDS, strange_each, order=base + 50, seed=seed + 1)
    every = np.random.default_rng(seed).permutation(len(ordinary) + len(strange))
    both = [*ordinary, *strange]
    return [both[index] for index in every]


def export(
    pictures: Sequence[DemoPicture],
    folder: Path,
    *,
    size: tuple[int, int],
    pause_s: float,
    read: Callable[[DemoPicture], bytes] | None = None,
    await_result: Callable[[str], None] = lambda _name: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Exported]:
    """Export micrographs into a watched folder, then the faulty files of a night.

    Args:
        pictures: What to export, in this order.
        folder: The watched folder.
        size: Width and height of a picture in pixels.
        pause_s: Pause in the middle of writing a file, in seconds.
        read: Returns the file of a picture that was drawn ahead; None: each is drawn now.
        await_result: Returns when a file has its result. Only then is it copied: of two files that
            an agent finds together, either may be the duplicate.
        sleep: Waits.

    Yields:
        Each file as soon as it is written.
    """
    for number, picture in enumerate(pictures):
        extension = picture.name.rpartition(".")[2]
        content = read(picture) if read else encode(picture.drawn(size), extension)
        _write(folder / picture.name, content, MANNERS[number % len(MANNERS)], pause_s, sleep)
        yield Exported(picture.name, picture.strange, "")
    stem, _, extension = pictures[0].name.rpartition(".")
    copy = f"{stem} - copy.{extension}"
    await_result(pictures[0].name)
    shutil.copyfile(folder / pictures[0].name, folder / copy)
    yield Exported(copy, "", "the same content twice")
    yield from _export_faulty(folder, pictures, size)


def _export_faulty(
    folder: Path, pictures: Sequence[DemoPicture], size: tuple[int, int]
) -> Iterator[Exported]:
    order = pictures[0].order
    whole = encode(pictures[0].drawn(size), "png")
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
        temporary = path.with_name(f"~{path.name}.tmp")
        temporary.write_bytes(content)
        sleep(pause_s)
        temporary.rename(path)
    elif manner == "slowly":
        with path.open("wb", buffering=0) as file:
            for part in range(3):
                piece = len(content) // 3 + 1
                file.write(content[part * piece : (part + 1) * piece])
                sleep(pause_s / 2)
    else:
        path.write_bytes(content)


# --- draw the micrographs of a demonstration in separate processes, ahead of their use ------------
# The held-out set and the night are drawn while the agent imports and trains, which leaves a
# processor idle.


MATERIALS = {"G": "100Cr6", "B": "100Cr6", "M": "C56E2"}
DRAWS_AFTER = 10
"""Priority of drawing, on POSIX: the agent, which starts at the same time, goes first."""
COLUMNS = ("file", "code", "order", "specimen", "magnification", "material", "etchant", "rater")


class Drawings:
    """Micrographs that are drawn in this order: of labelled folders, then of the night.

    A drawing that is not begun at the end of the context is not begun any more.

    Args:
        folders: Folders to fill, each with its pictures; files that exist there stay.
        night: What the microscope exports.
        pixels: Width and height of a picture.
    """

    def __init__(
        self,
        folders: Sequence[tuple[Path, Sequence[DemoPicture]]],
        night: Sequence[DemoPicture],
        pixels: tuple[int, int],
    ) -> None:
        pool = ProcessPoolExecutor(
            os.cpu_count(), mp_context=get_context("spawn"), initializer=_begin_worker
        )
        self._counts = {folder: len(pictures) for folder, pictures in folders}
        self._written = {
            folder: [
                pool.submit(_write_picture, picture, folder, pixels)
                for picture in pictures
                if not (folder / picture.code / picture.name).exists()
            ]
            for folder, pictures in folders
        }
        self._encoded = {picture.name: pool.submit(_encode, picture, pixels) for picture in night}
        pool.shutdown(wait=False)  # the processes end with the last drawing

    def count(self, folder: Path) -> int:
        """Return how many pictures a folder gets, those included that exist."""
        return self._counts[folder]

    def wait(self, folder: Path) -> Iterator[int]:
        """Yield the number of pictures that a folder has, until it has all."""
        existing = self._counts[folder] - len(self._written[folder])
        if existing:
            yield existing
        for number, drawing in enumerate(self._written[folder], existing + 1):
            drawing.result()
            yield number

    def read(self, picture: DemoPicture) -> bytes:
        """Return the file of a picture of the night; each can be read once."""
        return self._encoded.pop(picture.name).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        drawings: list[Future[None] | Future[bytes]] = [*self._encoded.values()]
        for written in self._written.values():
            drawings += written
        for drawing in drawings:
            drawing.cancel()


def write_manifest(pictures: Sequence[DemoPicture], folder: Path) -> None:
    """Write the manifest of labelled micrographs into their folder."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for picture in pictures:
            rows.writerow(
                (
                    f"{picture.code}/{picture.name}",
                    picture.code,
                    picture.order,
                    picture.specimen,
                    picture.magnification,
                    MATERIALS.get(picture.code[0], ""),
                    "Nital 3 %",
                    "drawn",
                )
            )


def _begin_worker() -> None:
    """Leave Ctrl-C to the main process, which cancels what is not begun, and give way to others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(DRAWS_AFTER)


def _encode(picture: DemoPicture, pixels: tuple[int, int]) -> bytes:
    return encode(picture.drawn(pixels), picture.name.rpartition(".")[2])


def _write_picture(picture: DemoPicture, folder: Path, pixels: tuple[int, int]) -> None:
    path = folder / picture.code / picture.name
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f"~{path.name}.tmp")
    temporary.write_bytes(_encode(picture, pixels))
    temporary.replace(path)
