"""A small lab for the tests of pages: a real store and archive, filled one micrograph at a time."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.archive import Archive
from agent.errors import FileError
from agent.imaging import crop, read
from agent.imaging.crop import Crop, SpecimenArea, public_id
from agent.imaging.places import Landmarks, Overlap, extract_landmarks
from agent.imaging.readers.metadata import Scale
from agent.needles import NeedleField
from agent.nightly import NightSettings
from agent.orders.facts.place_check import PlaceCheck, compare_places
from agent.orders.specifications.specification import Specification
from agent.settings.root import RECIPE
from agent.store import MicrographResult, Store, schema
from agent.triage import Handling, Reason, TriageVerdict
from agent.watch import ListedFile
from agent.web import WebContext
from labs.predictions import prediction_of
from model import default_taxonomy

HOME = "http://127.0.0.1:8787"
DAY = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
"""A morning of the night 2026-11-24."""
NEXT_DAY = datetime(2026, 11, 25, 7, 0, tzinfo=UTC)
"""When that night is reviewed."""

TAXONOMY = default_taxonomy()
WORDS = {
    s.name + z.name: f"{s.title}, size {z.name}: {z.title}"
    for s in TAXONOMY.subtypes
    for z in s.sizes
}
SETTINGS = NightSettings(
    site="Plant 1",
    zone="Europe/Berlin",
    at=time(23, 30),
    review_url="http://127.0.0.1:8787",
    software="Martensight 0.1.0",
    words=WORDS,
)

RING_A = Specification(
    name="ring-a",
    valid_from=date(2026, 1, 1),
    approved_by="R. Stahl",
    material="100Cr6",
    subtype=("G",),
    limit="8 or finer",
    fields=1,
)
"""What a ring has to keep, by one field."""


@cache
def _migrated(_head: str) -> bytes:
    """An empty database at a schema: made once, since making it is half of a test's time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "martensight.db"
        Store.open(f"sqlite:///{path}", site="Plant 1", agent="test").close()
        return path.read_bytes()


REMEMBERED = 2000
"""Pictures and pairs of them; the labs of a run take the same few hundred again and again."""


@lru_cache(REMEMBERED)
def _find_landmarks(pixels: bytes, shape: tuple[int, ...], um_per_px: float | None) -> bytes:
    picture = np.frombuffer(pixels, np.uint8).reshape(shape)
    return extract_landmarks(picture, np.ones(shape[:2], bool), um_per_px).to_bytes()


@lru_cache(REMEMBERED)
def _compare(one: bytes, other: bytes) -> Overlap | None:
    return compare_places(Landmarks.from_bytes(one), Landmarks.from_bytes(other))


def compare_once(one: Landmarks, other: Landmarks) -> Overlap | None:
    """Compare the places of two micrographs, or return what comparing them gave before."""
    return _compare(one.to_bytes(), other.to_bytes())


@dataclass
class Lab:
    """One site with its store and archive."""

    folder: Path
    source: str = "LOM-07"
    store: Store = field(init=False)
    archive: Archive = field(init=False)
    places: PlaceCheck = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "martensight.db").exists():
            (self.folder / "martensight.db").write_bytes(_migrated(schema.HEAD))
        url = f"sqlite:///{self.folder / 'martensight.db'}"
        self.store = Store.open(url, site="Plant 1", agent="test")
        self.archive = Archive(self.folder)
        self.places = PlaceCheck(self.store, compare=compare_once)
        self.compares_places = True

    @property
    def reports(self) -> Path:
        """Where reports go."""
        return self.folder / "reports"

    def arrive(self, name: str, *, at: datetime, mtime_ns: int = 0) -> Any:
        """Let one file arrive and be claimed."""
        self._count += 1
        arrival = ListedFile(
            self.source, self.folder / "export", name, 10 + self._count, mtime_ns or self._count
        )
        self.store.files.add([arrival], at=at)
        return self.store.work_queue.claim(1, at=at, lease_s=60)[0]

    def take(
        self,
        code: str | None = "G8",
        *,
        name: str | None = None,
        at: datetime = DAY,
        reasons: tuple[str, ...] = (),
        pixels: NDArray[np.uint8] | None = None,
        thresholds: dict[str, float] | None = None,
        um_per_px: float | None = 0.12,
        area_mm2: float | None = None,
        needles: NeedleField | None = None,
        expected: dict[str, Any] | None = None,
        claim: Any = None,
        **process_data: str,
    ) -> str:
        """Take one micrograph through to its result; its public id comes back."""
        name = name or f"field_{self._count + 1:03d}.tif"
        claim = claim or self.arrive(name, at=at)
        sha256 = hashlib.sha256(f"{name}{self._count}".encode()).hexdigest()
        crop = crop_of(sha256, _texture(self._count) if pixels is None else pixels)
        crop = replace(crop, um_per_px=um_per_px)
        strange = "strange" in reasons
        prediction = prediction_of(code, p_value=0.004 if strange else 0.4) if code else None
        self.archive.keep(crop)
        if prediction and prediction.size_map is not None:
            maps = {
                "subtype": prediction.subtype_map,
                "size": prediction.size_map,
                "strangeness": prediction.strangeness.heat,
            }
            self.archive.keep_maps(sha256, 0, prediction.bundle, maps)
        verdict = TriageVerdict(
            Handling.REVIEW if reasons else Handling.AUTOMATIC, tuple(Reason(r) for r in reasons)
        )
        facts = facts_of(crop)
        finding = MicrographResult(
            facts,
            process_data,
            {},
            prediction,
            verdict,
            thresholds or {},
            landmarks=_find_landmarks(crop.pixels.tobytes(), crop.pixels.shape, um_per_px),
            area_mm2=area_mm2,
            needles=needles,
            expected=expected or {},
        )
        self.store.work_queue.finish(claim, [finding], at=at)
        if self.compares_places:
            self.places.compare_pending(at=at)
        return public_id(sha256, 0)

    def set_aside(self, name: str, code: str, sentence: str, *, at: datetime = DAY) -> None:
        """Let one file be no use."""
        self.store.work_queue.set_aside(self.arrive(name, at=at), code, sentence, at=at)

    def duplicate(self, name: str, of: str, *, at: datetime = DAY) -> None:
        """Let one file have the content of another."""
        view = self.store.results.find(of)
        assert view is not None
        self.store.work_queue.identify(self.arrive(name, at=at), view.sha256, at=at)


def copy_of(filled: Lab, folder: Path) -> Lab:
    """Open a copy of a lab whose store was closed; it goes on counting where that one stopped."""
    shutil.copytree(filled.folder, folder)
    return Lab(folder, filled.source, filled._count)


def web_of(lab: Lab, *, at: datetime = NEXT_DAY) -> WebContext:
    """Make what is behind the pages of a lab where it is always the same time."""
    return WebContext(
        store=lab.store,
        archive=lab.archive,
        reports=lab.reports,
        site="Plant 1",
        zone="Europe/Berlin",
        taxonomy=default_taxonomy,
        now=lambda: at,
        status=lambda: {"running": True},
        stream_s=0.0,
    )


def _texture(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(60, 200, (80, 100, 3), dtype=np.uint8)


def crop_of(sha256: str, pixels: NDArray[np.uint8]) -> Crop:
    """Make a crop of pixels: the field is 10 px larger at the bottom, where a bar was."""
    height, width = pixels.shape[:2]
    corners = ((0, 0), (width, 0), (width, height), (0, height))
    preview = np.concatenate([pixels, np.full((10, width, 3), 20, np.uint8)])
    return Crop(
        sha256=sha256,
        page=0,
        pages=1,
        width=width,
        height=height + 10,
        format="TIFF",
        um_per_px=0.12,
        um_per_px_source="metadata",
        scales=(Scale("metadata", 0.12),),
        micron_bar=None,
        band=None,
        specimen_area=SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=corners),
        box=(0, 0, width, height),
        recipe=RECIPE,
        warnings=(),
        pixels=pixels,
        valid=np.ones((height, width), bool),
        preview=preview,
        metadata={},
    )


def facts_of(crop: Crop) -> dict[str, Any]:
    """Say a crop as `agent look --json` does."""
    return {
        "id": crop.id,
        "sha256": crop.sha256,
        "page": crop.page,
        "pages": crop.pages,
        "width": crop.width,
        "height": crop.height,
        "format": crop.format,
        "um_per_px": crop.um_per_px,
        "um_per_px_source": crop.um_per_px_source,
        "scales": [{"source": s.source, "um_per_px": s.um_per_px} for s in crop.scales],
        "micron_bar": None,
        "band": None,
        "specimen_area": {
            "whole_frame": True,
            "outside_fraction": 0.0,
            "polygon": [list(corner) for corner in crop.specimen_area.polygon],
        },
        "crop": list(crop.box),
        "recipe": crop.recipe,
        "warnings": list(crop.warnings),
    }


def minutes(n: float) -> datetime:
    """Some minutes after `DAY`."""
    return DAY + timedelta(minutes=n)


def crop_here(path, um_per_px_range=(0.01, 5.0)):
    """Read and crop a file in this process: its crops, or the error."""
    try:
        return [crop(image, um_per_px_range=um_per_px_range) for image in read(path)]
    except (FileError, OSError) as error:
        return error
