"""Draw the micrographs of a demonstration in separate processes, ahead of their use.

The held-out set and the night are drawn while the agent imports and trains, which leaves a
processor idle.
"""

from __future__ import annotations

import csv
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self

from agent.demo.exporter import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from agent.demo.exporter import DemoPicture

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
