"""Files and results that a store is given by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent.imaging import Crop, SpecimenArea
from agent.store import Claim, MicrographResult, Store
from agent.triage import Handling, Reason, TriageVerdict
from agent.watch import ListedFile
from labs import lab

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)

SHA = "ab" * 32

OTHER = "cd" * 32

FOLDER = Path("/mnt/lom")


def file(name: str, size: int = 10, mtime: int = 1, ctime: int = 1) -> ListedFile:
    return ListedFile("LOM-07", FOLDER, name, size, mtime, ctime)


def finding(
    sha256: str = SHA,
    page: int = 0,
    *,
    reasons: tuple[Reason, ...] = (Reason.UNCERTAIN,),
    origin: str = "watch",
    p_value: float = 0.4,
    probability: float = 0.9,
    process: dict[str, str] | None = None,
    bundle: str = "20261101-0badcafe",
) -> MicrographResult:
    suffix = f"-p{page + 1}" if page else ""
    facts: dict[str, Any] = {
        "id": sha256[:16] + suffix,
        "sha256": sha256,
        "page": page,
        "width": 2000,
        "height": 1500,
        "um_per_px": 0.1,
        "um_per_px_source": "metadata",
        "crop": [0, 0, 2000, 1400],
        "recipe": "1",
        "warnings": [],
    }
    prediction = lab.prediction_of("G8", p_value=p_value, probability=probability)
    return MicrographResult(
        crop_facts=facts,
        process_data=process or {},
        process_extra={},
        prediction=replace(prediction, bundle=bundle),
        verdict=TriageVerdict(Handling.REVIEW if reasons else Handling.AUTOMATIC, reasons),
        origin=origin,
    )


def claimed(store: Store, *names: str, at: datetime = AT) -> list[Claim]:
    store.files.add([file(name) for name in names], at=at)
    return store.work_queue.claim(len(names), at=at, lease_s=60)


def taken(store: Store, name: str, found: MicrographResult, *, at: datetime = AT) -> None:
    (claim,) = claimed(store, name, at=at)
    assert store.work_queue.identify(claim, found.crop_facts["sha256"], at=at) is None
    assert store.work_queue.finish(claim, [found], at=at)


def crop_of(pixels: np.ndarray, valid: np.ndarray | None = None, sha256: str = SHA) -> Crop:
    height, width = pixels.shape[:2]
    return Crop(
        sha256=sha256,
        page=0,
        pages=1,
        width=width,
        height=height,
        format="PNG",
        um_per_px=0.1,
        um_per_px_source="metadata",
        scales=(),
        micron_bar=None,
        band=None,
        specimen_area=SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=()),
        box=(0, 0, width, height),
        recipe="1",
        warnings=(),
        pixels=pixels,
        valid=np.ones((height, width), bool) if valid is None else valid,
        preview=pixels,
        metadata={},
    )
