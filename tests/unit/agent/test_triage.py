"""A person looks wherever answer, image or lottery gives a reason, and is told which."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labs import lab

from agent.triage import (
    Handling,
    Policy,
    Reason,
    get_weightiest,
    is_control_sample,
    sort_reasons,
    triage,
)

ORDINARY = "f" * 64  # int("ffffffff", 16) % 100 is 95: no control sample at 5 %
CONTROL = "0" * 64


def verdict(prediction=None, *, policy=None, **given):
    facts = {"sha256": ORDINARY, "um_per_px": 0.2, "warnings": (), "material": ""} | given
    return triage(prediction, policy=policy or Policy(), **facts)


def sure(code="G8", **facts):
    return replace(lab.prediction_of(code), probability=0.9, **facts)


def test_a_sure_answer_on_a_good_image_is_automatic():
    found = verdict(sure())

    assert (found.handling, found.reasons) == (Handling.AUTOMATIC, ())


def test_without_a_bundle_everything_is_untrained():
    assert verdict().reasons == (Reason.UNTRAINED,)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"um_per_px": None}, Reason.SCALE_UNKNOWN),
        ({"um_per_px": None, "warnings": ("scale_conflict",)}, Reason.SCALE_CONFLICT),
        ({"warnings": ("input_defect_blurred",)}, Reason.INPUT_DEFECT),
        ({"sha256": CONTROL}, Reason.CONTROL_SAMPLE),
    ],
)
def test_what_is_known_of_the_image_is_a_reason_by_itself(given, reason):
    found = verdict(sure(), **given)

    assert (found.handling, found.reasons) == (Handling.REVIEW, (reason,))


def test_a_doubtful_answer_is_uncertain():
    assert verdict(replace(sure(), probability=0.59)).reasons == (Reason.UNCERTAIN,)


def test_a_missing_scale_is_named_first_since_all_else_depends_on_it():
    strange = replace(lab.prediction_of("G8", p_value=0.001), probability=0.3)

    found = verdict(strange, um_per_px=None, sha256=CONTROL)

    assert found.reasons == (
        Reason.SCALE_UNKNOWN,
        Reason.STRANGE,
        Reason.UNCERTAIN,
        Reason.CONTROL_SAMPLE,
    )


def test_the_weightiest_reason_decides_the_place_in_the_queue_whatever_is_named_first():
    reasons = sort_reasons([Reason.STRANGE, Reason.SCALE_UNKNOWN, Reason.UNEXPECTED_SUBTYPE])

    assert reasons[0] == Reason.SCALE_UNKNOWN
    assert get_weightiest(reasons) == Reason.UNEXPECTED_SUBTYPE


def test_a_subtype_that_the_material_cannot_have_is_unexpected():
    policy = Policy(subtypes_of={"C56E2": ("M",)})

    assert verdict(sure(), policy=policy, material="C56E2").reasons == (Reason.UNEXPECTED_SUBTYPE,)
    assert verdict(sure("M8"), policy=policy, material="C56E2").reasons == ()
    assert verdict(sure(), policy=policy, material="").reasons == ()


def test_a_scale_that_the_bundle_was_not_validated_for_is_out_of_scope():
    policy = Policy(um_per_px_range=(0.1, 0.3))

    assert verdict(sure(), policy=policy, um_per_px=0.5).reasons == (Reason.OUT_OF_SCOPE,)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_confidence_never_turns_automatic_into_review(one, other):
    low, high = sorted((one, other))

    if verdict(replace(sure(), probability=low)).handling is Handling.AUTOMATIC:
        assert verdict(replace(sure(), probability=high)).handling is Handling.AUTOMATIC


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_control_share_is_the_contracts_arithmetic(number, share):
    sha256 = f"{number:08x}" + "0" * 56

    assert is_control_sample(sha256, share) == (number % 100 < round(share * 100))


def test_a_defect_that_the_bundle_names_goes_to_a_person():
    assert verdict(sure(defects=("out_of_focus",))).reasons == (Reason.INPUT_DEFECT,)
