"""Feature rows of made micrographs, kept in a folder of shards."""

from __future__ import annotations

import hashlib

import numpy as np

from agent.features import FeatureFolder, FeatureRow, FormOfRows
from model.ood.feature_arrays import FeatureForm

FORM = FeatureForm("pass 2 tiny aaaa", 16, (8, 12, 20, 32), 26)

OF = FormOfRows(FORM, "1")


def sha(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def row(n: int, *, um_per_px: float = 0.2, seed: int | None = None) -> FeatureRow:
    rng = np.random.default_rng(n if seed is None else seed)
    return FeatureRow(
        sha256=sha(n),
        page=0,
        crop=sha(n + 10_000),
        um_per_px=um_per_px,
        area_px=1e6,
        heads=rng.normal(size=16).astype(np.float32).tobytes(),
        moments=rng.normal(size=40).astype(np.float16).tobytes(),
        embedding=rng.normal(size=32).astype(np.float16).tobytes(),
        descriptor=rng.normal(size=26).astype(np.float16).tobytes(),
    )


def list_kept(folder: FeatureFolder) -> dict[str, float]:
    """Return the scale of every micrograph that is kept, those of 200 made ones."""
    kept = folder.select_keys(OF.id)
    scales = {
        sha(n): um_per_px
        for n in range(200)
        for um_per_px in (0.2, 0.4, 0.8)
        if kept.has(sha(n), 0, um_per_px)
    }
    assert len(scales) == len(kept)
    return scales


LOOKS = FormOfRows(FeatureForm("pass 2 tiny", 4, (8, 32), 20), "1")


def keep(folder: FeatureFolder, view, look: float, *, um_per_px: float = 0.12) -> None:
    angle = np.zeros(32)
    angle[0], angle[1] = np.cos(look), np.sin(look)
    folder.buffer.append(
        LOOKS,
        FeatureRow(
            view.sha256,
            view.page,
            "c" * 64,
            um_per_px,
            1e6,
            np.zeros(4, np.float32).tobytes(),
            np.zeros(8, np.float16).tobytes(),
            angle.astype(np.float16).tobytes(),
            np.ones(20, np.float16).tobytes(),
        ),
    )
