"""What a row keeps of a crop is read back, whatever could not be read of the file."""

from __future__ import annotations

from agent.store.results.stored_facts import StoredCrop


def test_a_scale_bar_whose_length_was_not_readable_is_read_back_without_it():
    bar = {"bbox": [10, 20, 110, 24], "line_px": 100.0, "label": "2? µm", "um": None}

    crop = StoredCrop.from_json({"crop": [0, 0, 640, 480], "micron_bar": bar})

    assert crop.micron_bar is not None
    assert crop.micron_bar.um is None
    assert crop.micron_bar.label == "2? µm"
    assert StoredCrop.from_json({"micron_bar": bar | {"um": 20}}).micron_bar.um == 20.0
