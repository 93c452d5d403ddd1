"""A field that cannot be measured has a reason and no lengths, and costs no other result."""

from dataclasses import replace

import numpy as np
from labs.lab import crop_of

from agent.needles import NeedleField, NeedleStatus
from agent.needles.measuring import NeedleMeasurer
from reports import speaking

CROP = crop_of("ab" * 32, np.full((60, 80, 3), 128, np.uint8))


def test_without_a_scale_nothing_is_measured_and_the_reason_names_the_remedy() -> None:
    field = NeedleMeasurer().measure(replace(CROP, um_per_px=None))

    assert field == NeedleField(NeedleStatus.NOT_MEASURED, "no_scale")
    with speaking("en"):
        assert str(field.reason_message) == (
            "the scale is unknown: set it in the settings or export with a scale bar"
        )


def test_too_coarse_a_scale_and_a_field_without_needles_have_their_reasons() -> None:
    measurer = NeedleMeasurer()

    fields = [measurer.measure(replace(CROP, um_per_px=um)) for um in (0.4, 0.2)]

    assert [field.reason for field in fields] == ["too_coarse", "no_needles"]
    assert [field.l90_um for field in fields] == [None, None]
    assert len({field.network for field in fields}) == 1


def test_a_measurement_that_breaks_is_a_reason_and_no_fault_of_the_file() -> None:
    broken = replace(CROP, pixels=CROP.pixels[:0], valid=CROP.valid[:0])

    field = NeedleMeasurer().measure(broken)

    assert (field.status, field.reason) == (NeedleStatus.NOT_MEASURED, "failed")


def test_contradicting_evidence_is_described_with_its_numbers() -> None:
    field = NeedleField(
        NeedleStatus.NOT_MEASURED, "evidence_disagrees", intercept_um=2.04, expected_l50_um=5.79
    )

    with speaking("de"):
        assert "Sehnenlänge von 2 µm entspricht einem L50 von 5,8 µm" in str(field.reason_message)
