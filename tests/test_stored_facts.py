"""What a row keeps of a crop is read back, also where the image told little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from lab import crop_of

from agent.imaging.crop import MicronBar
from agent.imaging.crop_json import crop_to_json
from agent.store.stored_facts import StoredCrop

PIXELS = np.full((80, 100, 3), 120, np.uint8)


def test_a_scale_bar_whose_label_cannot_be_read_is_kept_without_a_length() -> None:
    bar = MicronBar((10, 70, 60, 80), 40.0, "", None)
    crop = replace(crop_of("0" * 64, PIXELS), micron_bar=bar)

    stored = StoredCrop.from_json(crop_to_json(crop))

    assert stored.micron_bar is not None
    assert stored.micron_bar.box == (10, 70, 60, 80)
    assert stored.micron_bar.um is None
