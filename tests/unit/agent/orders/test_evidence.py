"""Without a lead an act can only make an order more doubtful; a label has a strength."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from labs.judged_orders import BUNDLE, RULES, demanding, field, judge, three

from agent.imaging.places import SAME_PLACE
from agent.orders.facts.specimen_facts import (
    ONE_PLACE,
    FieldDecision,
    LabelFacts,
    SamePlace,
    SpecimenFacts,
    Superseded,
)
from agent.orders.judge.decision_rule import build_decision_rule, recommend_second_look
from agent.store import DoubleReview

LEAD = "R. Stahl"
AT = datetime(2026, 11, 24, 6, tzinfo=UTC)


def labelled(*labels, number=3, **given):
    """Return a field whose last standing label holds."""
    standing = [label for label in labels if not label.withdrawn]
    last = standing[-1] if standing else None
    decided = FieldDecision(last.kind, last.said, last.by, unsure=last.unsure) if last else None
    return field(number, decided=decided, labels=labels, **given)


def code(said, by="anna", **given):
    return LabelFacts("code", said, by, **given)


def unusable(why="stained", by="anna", **given):
    return LabelFacts("unusable", why, by, **given)


def two_and(last):
    return [field(1), field(2), last]


def with_gone(gone, **given):
    """Judge three good fields next to one that no longer counts."""
    return judge([*three(), gone], **given)


# --- a label has a strength ----------------------------------------------------------------------


def test_a_label_given_as_not_sure_proves_nothing():
    unsure = labelled(code("G8", unsure=True))

    statement = judge(two_and(unsure))

    assert statement.conformity == "undecided"
    assert statement.missing == ("field 3: anna was not sure of G8",)


def test_a_label_given_as_not_sure_condemns_nothing_either():
    assert judge(two_and(labelled(code("G7", unsure=True)))).conformity == "undecided"


def test_somebody_who_is_sure_of_the_same_code_settles_it():
    both = labelled(code("G8", "ben"), code("G8", unsure=True))

    assert judge(two_and(both)).conformity == "conforms"


OUTWEIGHED = [
    ((code("G7"), code("G8")), "undecided"),
    ((code("G7"), code("G8", "ben")), "undecided"),
    ((code("G7"), code("G8", "ben"), code("G8", "carl")), "conforms"),
    ((code("G7"), code("G8", "ben"), code("G8", "ben")), "undecided"),
    ((code("G7"), code("G8", "ben"), code("G8", "carl", unsure=True)), "undecided"),
    ((code("G7"), code("G8", LEAD, lead=True)), "conforms"),
    ((code("G7", LEAD, lead=True), code("G8", LEAD, lead=True)), "undecided"),
    ((code("G7", withdrawn=True), code("G8")), "undecided"),
    ((code("G7", withdrawn=True),), "undecided"),
    ((code("G9-10"), code("G8", "ben")), "conforms"),
    ((code("G7"), code("G8", "ben (by Fiji)"), code("G8", "carl (by Fiji)")), "undecided"),
    ((code("G7"), code("G8", "ben (by Fiji)"), code("G8", "carl")), "undecided"),
]


def test_a_label_that_breaks_the_limit_is_outweighed_by_two_others_or_a_lead():
    for labels, word in OUTWEIGHED:
        assert judge(two_and(labelled(*labels))).conformity == word, labels


def test_a_second_look_at_the_limit_asks_for_two_reviewers():
    rules = replace(RULES, second_look=True)
    alone, finer = labelled(code("G8")), labelled(code("G9-10"))
    both = labelled(code("G8"), code("G8", "ben"))

    asked = judge(two_and(alone), rules)

    assert asked.missing == ("field 3 is G8, at the limit: a second reviewer is needed",)
    assert judge(two_and(both), rules).conformity == "conforms"
    assert judge(two_and(finer), rules).conformity == "conforms"


# --- what leaves the count -----------------------------------------------------------------------


REPLACED = Superseded("again", "B. Eile")

GONE = [
    (field(9, code="G7", codes=("G7",)), "could be 7"),
    (field(9, codes=("G7", "G8")), "could be 7 or 8"),
    (field(9, reasons=("strange",), awaits=True), "was unlike the reference images"),
    (field(9, awaits=True, reasons=("control_sample",)), "was not reviewed"),
    (field(9, code=None, codes=()), "has no answer of a model"),
    (field(9, bundle="20260101-00000000"), "was not reviewed"),
    (labelled(code("G7"), number=9), "was G7, labelled by anna"),
    (labelled(code("G9-10"), number=9, held="the check failed"), "is held (the check failed)"),
    (labelled(code("G8", unsure=True), number=9), "anna was not sure of G8"),
    (
        labelled(LabelFacts("cannot_tell", "", "anna"), number=9),
        "was labelled cannot tell by anna",
    ),
    (
        labelled(LabelFacts("strange", "pearlite", "anna"), number=9),
        "was labelled pearlite by anna",
    ),
]


def test_a_field_that_could_break_the_limit_does_not_leave_without_a_lead():
    for gone, why in GONE:
        for defect in ("", "stained", "out_of_focus"):
            by_reviewer = replace(gone, superseded=Superseded("again", "B. Eile", defect=defect))

            beside = with_gone(by_reviewer)
            before = judge(three(), earlier=(by_reviewer,), preparations=2)

            assert (beside.conformity, before.conformity) == ("undecided", "undecided"), (
                gone,
                why,
                defect,
            )
            assert f"a replaced shot: field 9 {why}: a" in "; ".join(beside.missing).replace(
                "field 3", "field 9"
            )
            assert "an earlier preparation: field" in "; ".join(before.missing), (gone, why, defect)


def test_a_field_that_surely_keeps_the_limit_may_be_replaced_by_anyone():
    for gone in (field(9), labelled(code("G9-10"), number=9, code="G7", codes=("G7",))):
        assert with_gone(replace(gone, superseded=REPLACED)).conformity == "conforms"


def test_a_lead_releases_what_nobody_confirmed():
    gone = replace(
        field(9, codes=("G7", "G8")), superseded=Superseded("wrong place", LEAD, lead=True)
    )

    assert with_gone(gone).conformity == "conforms"


CONFIRMED = [
    (Superseded("stain", LEAD, lead=True), "undecided"),
    (Superseded("stain", LEAD, defect="stained", lead=True), "undecided"),
    (Superseded("stain", LEAD, picture="ab" * 32, lead=True), "undecided"),
    (Superseded("stain", LEAD, defect="stained", picture="ab" * 32, lead=True), "conforms"),
    (Superseded("stain", LEAD, defect="stained", picture="ab" * 32), "undecided"),
    (Superseded("stain", "anna", "stained", lead=True, picture="ab" * 32), "undecided"),
]


def test_a_confirmed_break_goes_by_a_second_person_with_a_picture():
    for superseded, word in CONFIRMED:
        gone = replace(labelled(code("G7"), number=9), superseded=superseded)

        assert with_gone(gone).conformity == word, superseded


@pytest.mark.parametrize("lead", [False, True])
def test_a_confirmed_break_is_not_dissolved_by_the_label_unusable(lead):
    gone = labelled(code("G7"), unusable(by=LEAD, lead=lead), number=9)

    assert with_gone(gone).conformity == "undecided"


def test_a_bad_image_is_put_aside_by_its_reviewer_where_the_model_saw_nothing_coarse():
    assert with_gone(labelled(unusable("out_of_focus"), number=9)).conformity == "conforms"

    coarse = labelled(unusable("out_of_focus"), number=9, codes=("G7", "G8"))
    assert with_gone(coarse).conformity == "undecided"


def test_more_preparations_than_allowed_prove_nothing():
    assert judge(three(), preparations=2).conformity == "conforms"

    third = judge(three(), preparations=3)
    assert third.missing == ("3 preparations, at most 2 are allowed by the specification",)
    assert judge(three(), demanding(max_preparations=3), preparations=3).conformity == "conforms"


# --- one place is one field ----------------------------------------------------------------------


def same(one, other, share, area_mm2):
    return SamePlace(
        field=f"field {one}",
        other=f"field {other}",
        share=share,
        area_mm2=area_mm2,
        ids=frozenset({f"{one:016x}", f"{other:016x}"}),
        other_id=f"{other:016x}",
    )


def test_two_micrographs_of_one_place_count_once():
    statement = judge(three(), same_places=(same(2, 3, 0.62, 0.05),))

    assert statement.missing == (
        "2 of 3 fields",
        "field 2 and field 3 show one place (62% of the smaller one): counted once",
        "0.190 of 0.2 mm²",
    )


def test_two_micrographs_of_one_place_that_differ_are_named_with_both_codes():
    fields = [field(1), field(2), field(3, code="G7", codes=("G7",))]

    statement = judge(fields, same_places=(same(2, 3, 0.62, 0.05),))

    assert "field 2 (G8) and field 3 (G7) show one place" in "; ".join(statement.missing)


def test_one_place_more_than_demanded_does_no_harm():
    four = [*three(), field(4)]

    assert judge(four, same_places=(same(2, 3, 0.62, 0.05),)).conformity == "conforms"


def test_area_is_that_of_the_union():
    rules = demanding(fields=1, area_mm2=0.19)
    pairs = (same(1, 2, 0.375, 0.03), same(2, 3, 0.25, 0.02))

    enough = judge(three(), rules, same_places=pairs)
    short = judge(three(), demanding(fields=1, area_mm2=0.195), same_places=pairs)

    assert enough.conformity == "conforms"
    assert short.missing[0] == "0.190 of 0.195 mm²"


def test_tiles_that_overlap_a_little_are_places_of_their_own_and_their_area_is_a_union():
    tiles = (same(1, 2, 0.125, 0.01), same(2, 3, 0.125, 0.01))

    short = judge(three(), demanding(area_mm2=0.225), same_places=tiles)

    assert judge(three(), demanding(area_mm2=0.22), same_places=tiles).conformity == "conforms"
    assert short.missing == (
        "0.220 of 0.225 mm²",
        "field 1 and field 2 overlap by 12% of the smaller one: that area is counted once",
        "field 2 and field 3 overlap by 12% of the smaller one: that area is counted once",
    )


def test_orders_and_the_index_mean_the_same_share_by_one_place():
    assert ONE_PLACE == SAME_PLACE


def test_a_chain_of_overlaps_is_one_place():
    chain = (same(1, 2, 0.4, 0.01), same(2, 3, 0.4, 0.01))

    assert judge(three(), demanding(area_mm2=0), same_places=chain).missing[0] == "1 of 3 fields"


@pytest.mark.parametrize("names", [("1", "01", "001"), ("4", " 4", "04"), ("a", "A", "a ")])
def test_field_numbers_that_differ_by_zeros_case_or_spaces_are_one(names):
    fields = [field(n, name=name) for n, name in enumerate(names, 1)]

    assert judge(fields, demanding(area_mm2=0)).missing[0] == "1 of 3 fields"


def test_a_place_known_from_another_specimen_waits_for_a_lead():
    lent = same(3, 7, 0.9, 0.07)
    statement = judge(three(elsewhere=(replace(lent, other="field 7 of order 4712, specimen 01"),)))

    (sentence,) = statement.missing
    assert sentence.startswith("field 3 shows the place of field 7 of order 4712, specimen 01 (90%")
    assert sentence.endswith("a lead decides (agent orders same-place)")


def test_a_field_that_was_not_compared_proves_nothing_yet():
    assert judge(three(is_compared=False)).conformity == "undecided"


def test_shots_of_one_fine_place_do_not_dilute_a_coarse_one():
    rules = demanding(specimen_rule="mean_of_fields", area_mm2=0, fields=2)
    coarse = field(1, code="G7", codes=("G7",), bundle=BUNDLE)
    fine = [field(n, code="G8") for n in (2, 3, 4)]
    finest = [labelled(code("G9-10"), number=n) for n in (2, 3, 4)]
    pairs = tuple(same(one, other, 0.8, 0.06) for one, other in ((2, 3), (3, 4), (2, 4)))

    spread = judge([coarse, *finest], rules)
    one_place = judge([coarse, fine[0], fine[1], fine[2]], rules, same_places=pairs)

    assert spread.conformity == "conforms"
    assert one_place.missing == ("the mean of 2 fields could be 7.5, 8 or finer is demanded",)


# --- what is known of reviewers ------------------------------------------------------------------


def keeps_8(code):
    return RULES.keeps(code)


def reviews(*codes, each=1, answers=("G8",), **given):
    """Return double reviews, so many of each specimen."""
    return [
        DoubleReview(two, AT, specimen=f"4711/{n // each}", answers=answers, **given)
        for n, two in enumerate(codes)
    ]


def build_rule(made, *fields):
    specimen = SpecimenFacts("01", "1", fields or (labelled(code("G8"), number=1),))
    return build_decision_rule([specimen], RULES, made)


def test_a_second_look_is_recommended_where_double_reviews_end_on_two_sides_of_a_limit():
    limits = {"G 8 or finer": keeps_8}
    same_side, two_sides = [("G8", "G9-10")] * 155, [("G8", "G7")] * 5

    (found,) = recommend_second_look(reviews(*same_side, *two_sides), limits, most=0.02)

    assert (found.faults, found.n) == (5, 160)
    assert found.upper95 == pytest.approx(0.0646, abs=0.0005)
    assert recommend_second_look(reviews(*same_side), limits, most=0.02) == ()


def test_without_a_double_review_of_a_break_the_risk_is_not_yet_known():
    kept = reviews(*[("G8", "G9-10")] * 200)

    for made in ([], kept):
        rule = build_rule(made)

        assert rule.upper95 is None
        assert rule.sentences[0].startswith('risk of a false "conforms": not yet known')


def test_the_bound_is_of_breaks_next_to_the_limit_counted_by_specimen():
    broken, far = [("G7", "G7")] * 20, [("G5", "G5")] * 500
    missed = [("G7", "G8")] * 4
    near = reviews(*broken, *missed, each=4)
    diluted = [*near, *reviews(*far, answers=("G5",)), *reviews(*[("G9-10", "G8")] * 500)]

    rule, other = build_rule(near), build_rule(diluted)

    assert rule.sentences[0].endswith("(1 of 6 specimens with double reviews)")
    assert rule.upper95 == pytest.approx(0.5818, abs=1e-3)
    assert (other.upper95, other.basis) == (rule.upper95, "next_to_limit")


def test_the_bound_does_not_depend_on_how_many_fields_keep_the_limit():
    made = reviews(*[("G7", "G7")] * 59)
    one, two = (labelled(code("G8"), number=n) for n in (1, 2))

    assert build_rule(made, one).upper95 == pytest.approx(0.05, abs=1e-3)
    assert build_rule(made, one, two).upper95 == build_rule(made, one).upper95


def test_breaks_far_from_the_limit_give_a_bound_that_names_what_it_is_for():
    rule = build_rule(reviews(*[("G5", "G5")] * 59, answers=("G5",)))

    assert rule.basis == "average_field"
    assert 'risk of a false "conforms" for an average breaking field' in rule.sentences[0]
    assert rule.sentences[0].endswith("next to the limit it is not yet known")


def test_double_reviews_of_another_material_do_not_count():
    steel = replace(RULES, material="100Cr6")
    of_other = reviews(*[("G7", "G7")] * 59, material="C56E2")
    specimen = SpecimenFacts("01", "1", (labelled(code("G8"), number=1),))

    assert build_decision_rule([specimen], steel, of_other).upper95 is None


def test_a_bias_that_reviewers_share_shows_against_reference_values_only():
    agreeing = reviews(*[("G7", "G7")] * 59)
    known = reviews(*[("G8", "G7")] * 6, *[("G7", "G7")] * 4, is_reference=True)

    without, with_known = build_rule(agreeing), build_rule([*agreeing, *known])

    assert without.sentences[1].startswith("a bias that all reviewers share is not bounded")
    assert with_known.upper95 == pytest.approx(0.8500, abs=1e-3)
    assert "6 of 10 specimens with a reference value" in with_known.sentences[1]
