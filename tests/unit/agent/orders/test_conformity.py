"""A specimen conforms only where every part of it is proved; never by accident."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labs.judged_orders import (
    BUNDLE,
    DEMANDS,
    FIELDS,
    MADE,
    ON,
    RULES,
    SPECIMENS,
    demanding,
    field,
    judge,
    of,
    said_by,
    three,
)

from agent.orders.facts.specimen_facts import Conformity, Statement, Superseded
from agent.orders.judge import conformity
from agent.orders.judge.decision_rule import build_decision_rule
from agent.orders.judge.method_validation import count_needed
from agent.store import DoubleReview
from model import upper_bound


def test_a_specimen_with_everything_proved_conforms():
    assert judge(three()) == Statement(Conformity.CONFORMS)


NOT_PROVED = [
    (
        {"codes": ("G7", "G8"), "probability": 0.62},
        "field 3: model says 8 (62 %), 7 is possible; limit is 8 or finer: confirm",
    ),
    (
        {"code": "G7", "codes": ("G7",), "probability": 0.9991},
        "field 3: model says 7 (> 99 %), limit is 8 or finer: confirm",
    ),
    ({"awaits": True, "reasons": ("strange",)}, "field 3 awaits review (strange)"),
    (
        {
            "awaits": True,
            "reasons": ("uncertain", "out_of_scope"),
            "outside": "material C56E2 has 0 validated specimens",
        },
        "field 3 awaits review (uncertain, material C56E2 has 0 validated specimens)",
    ),
    ({"um_per_px": None}, "field 3 has no scale"),
    ({"scale_in_doubt": True}, "field 3: its scale is uncertain, as its sources disagree"),
    ({"code": None, "codes": ()}, "field 3 has no answer yet"),
    ({"code": "Q3", "codes": ("Q3",)}, "field 3: model says Q3, limit is 8 or finer: confirm"),
    ({"code": "B8", "codes": ("B8",)}, "field 3: ordered G, looks like B: mix-up or heat"),
    ({"material": "C56E2"}, "field 3 says material C56E2, the order says 100Cr6"),
    ({"held": "the control check failed"}, "field 3: the control check failed"),
    ({"decided": said_by("pearlite", kind="strange")}, "was called unusual (pearlite)"),
    ({"decided": said_by("", kind="cannot_tell")}, "field 3: R. Stahl could not tell"),
    ({"decided": said_by("G8", "max")}, "decided by the criterion max, mean is demanded"),
    ({"name": "2"}, "2 of 3 fields"),
    ({"area_mm2": 0.03}, "0.190 of 0.2 mm²"),
    ({"bundle": "20261102-deadbeef"}, "its fields were judged by 2 bundles"),
]


def test_one_part_that_is_not_proved_leaves_it_undecided():
    for last, missing in NOT_PROVED:
        statement = judge(three(**last))

        assert statement.conformity == "undecided", last
        assert missing in "; ".join(statement.missing), last


def test_what_is_missing_reads_as_in_the_lab():
    rules = demanding(fields=5, area_mm2=0)
    fields = [field(1), field(2), field(4, code="G7", codes=("G7", "G8"))]

    assert judge(fields, rules).missing == (
        "3 of 5 fields",
        "field 4: model says 7, 8 is possible; limit is 8 or finer: confirm",
    )


def test_only_a_person_can_say_that_it_does_not_conform():
    by_the_model = judge(three(code="G7", codes=("G7",)))
    by_a_person = judge(three(code="G7", codes=("G7",), decided=said_by("G7")))

    assert by_the_model.conformity == "undecided"
    assert by_a_person.conformity == "does_not_conform"
    assert by_a_person.because == ("field 3 is G7, confirmed by R. Stahl: 8 or finer is demanded",)


def test_one_confirmed_field_is_enough_whatever_else_is_missing():
    assert judge([field(1, decided=said_by("G7"))]).conformity == "does_not_conform"


def test_a_size_measured_on_a_doubtful_scale_condemns_nothing():
    assert judge(three(decided=said_by("G7"), scale_in_doubt=True)).conformity == "undecided"


def test_a_mixed_in_subtype_is_said_and_once_confirmed_does_not_conform():
    waiting = judge(three(code="B8", codes=("B8",), awaits=True, reasons=("unexpected_subtype",)))
    confirmed = judge(three(code="B8", codes=("B8",), decided=said_by("B8")))

    assert waiting.missing[0] == (
        "field 3 awaits review: ordered G, looks like B: mix-up or heat treatment?"
    )
    assert confirmed.conformity == "does_not_conform"


def test_an_unusable_field_does_not_count_and_is_asked_for_again():
    over_etched = field(3, decided=said_by("over_etched", kind="unusable"))
    again = replace(field(3), id="ff")

    assert judge([field(1), field(2), over_etched]).missing[:2] == (
        "2 of 3 fields",
        "field 3 is unusable (over etched): prepare the specimen again",
    )
    assert judge([field(1), field(2), over_etched, again]).conformity == "conforms"


def test_two_shots_of_one_field_count_once():
    assert judge([field(1), field(2), replace(field(2), id="ff")]).missing[0] == "2 of 3 fields"


def test_a_file_still_to_be_read_is_waited_for():
    assert judge(three(), waiting=1).missing == ("1 file still to be read",)


# --- what rests on the model alone --------------------------------------------------------------


ALONE = [
    ((), "automatic conformity is off for 100Cr6"),
    ((replace(ON, on=False),), "automatic conformity is off for 100Cr6"),
    ((replace(ON, material="C56E2"),), "automatic conformity is off for 100Cr6"),
    ((replace(ON, bundle="other"),), "names its bundle"),
    ((replace(ON, limit="7 or finer"),), "no validation record of 100Cr6 speaks of G 8"),
    ((replace(ON, bound=None),), "no validation record of 100Cr6 speaks of G 8"),
    ((replace(ON, since=MADE),), "made after automatic conformity was switched on"),
    ((replace(ON, until=MADE - timedelta(hours=1)),), "made after automatic conformity"),
    ((replace(ON, um_per_px=None),), "holds no range of scales: validate again"),
    ((replace(ON, um_per_px=(0.05, 0.097)),), "its scale is outside the validated 0.05 to"),
    ((replace(ON, um_per_px=(0.103, 0.2)),), "its scale is outside the validated 0.103 to"),
    ((replace(ON, bound=0.0201),), "up to 2.01% of G 8 or finer could be called conforming"),
]


def test_the_model_alone_never_says_conforms_without_a_leads_word():
    for allowances, missing in ALONE:
        statement = judge(three(), replace(RULES, allowances=allowances))

        assert statement.conformity == "undecided", allowances
        assert "3 fields rest on the model alone" in statement.missing[0], allowances
        assert missing in statement.missing[0], allowances


def test_what_people_decided_needs_no_permission():
    fields = [field(n, decided=said_by("G8")) for n in (1, 2, 3)]

    assert judge(fields, replace(RULES, allowances=())).conformity == "conforms"


@pytest.mark.parametrize("scales", [(0.05, 0.099), (0.1015, 0.2), (0.1, 0.1)])
def test_a_scale_within_two_percent_of_the_validated_ones_is_covered(scales):
    allowed = replace(ON, um_per_px=scales)

    assert judge(three(), replace(RULES, allowances=(allowed,))).conformity == "conforms"


def test_each_field_is_refused_for_its_own_reason():
    switched = "2026-11-23 09:00 UTC"
    fields = [field(1), field(2, um_per_px=0.2), field(3, done_at=MADE - timedelta(days=2))]

    missing = judge(fields).missing

    assert [one.partition(" rests on the model alone, and ")[::2] for one in missing] == [
        ("field 2", "its scale is outside the validated 0.08 to 0.12 µm per pixel of G 8 or finer"),
        (
            "field 3",
            f"its result was not made after automatic conformity was switched on ({switched})",
        ),
    ]


def test_where_the_subtype_alone_is_demanded_its_own_bound_is_needed():
    rules = demanding(limit="")
    alone = replace(ON, limit="")

    assert judge(three(), replace(rules, allowances=(ON,))).conformity == "undecided"
    assert judge(three(), replace(rules, allowances=(alone,))).conformity == "conforms"


def test_a_setting_may_demand_less_or_more():
    rules = replace(RULES, max_false_conform=0.01)

    assert "at most 1.00% is allowed" in judge(three(), rules).missing[0]


@pytest.mark.parametrize(("most", "wrong", "n"), [(0.02, 0, 149), (0.05, 0, 59), (0.02, 1, 236)])
def test_so_many_specimens_are_needed_for_a_bound(most, wrong, n):
    assert count_needed(most, wrong) == n
    assert upper_bound(wrong, n) <= most < upper_bound(wrong, n - 1)


# --- criterion and rule -------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "word"), [(0.2, "conforms"), (0.04, "undecided")])
def test_by_the_criterion_max_the_coarse_share_decides(threshold, word):
    rules = demanding(criterion="max", area_threshold=threshold)

    assert judge(three(), rules).conformity == word


def test_by_the_criterion_max_a_person_has_to_have_used_it():
    rules = demanding(criterion="max", area_threshold=0.2)
    fields = [field(n, decided=said_by("G8")) for n in (1, 2, 3)]

    assert judge(fields, rules).conformity == "undecided"
    assert judge([replace(f, decided=said_by("G8", "max")) for f in fields], rules).conformity == (
        "conforms"
    )


@pytest.mark.parametrize(
    ("codes", "word"),
    [
        (("G7", "G8", "G9-10"), "conforms"),
        (("G7", "G8", "G8"), "undecided"),
        (("G7", "G7", "G7"), "undecided"),
    ],
)
def test_by_the_mean_of_fields_the_least_favourable_mean_counts(codes, word):
    fields = [
        field(n, code=code, codes=(code,), decided=said_by(code) if code == "G9-10" else None)
        for n, code in enumerate(codes, start=1)
    ]

    assert judge(fields, demanding(specimen_rule="mean_of_fields")).conformity == word


def taken(*sizes):
    """Return fields that came one minute after another; a reviewer confirmed the finer ones."""
    return [
        field(
            n,
            code=f"G{size}",
            codes=(f"G{size}",),
            came_at=(MADE + timedelta(minutes=n),) * 3,
            decided=said_by(f"G{size}") if size == "9-10" else None,
        )
        for n, size in enumerate(sizes)
    ]


def test_fields_added_until_the_mean_keeps_the_limit_prove_nothing():
    rules = demanding(specimen_rule="mean_of_fields")
    fields = taken(7, 8, 8, "9-10", "9-10")

    before, after = judge(fields[:3], rules), judge(fields, rules)

    assert before.missing == ("the mean of 3 fields could be 7.7, 8 or finer is demanded",)
    (sentence,) = after.missing
    assert sentence.startswith("the mean of the first 3 fields could be 7.7, 8 or finer is")
    assert sentence.endswith("prepares the specimen again (agent orders supersede --specimen)")


def test_a_field_beyond_the_demanded_ones_counts_against_the_mean():
    rules = demanding(specimen_rule="mean_of_fields")

    assert judge(taken(8, 8, 8, 8), rules).conformity == "conforms"
    assert judge(taken(8, 8, 8, 7), rules).missing == (
        "the mean of 4 fields could be 7.8, 8 or finer is demanded",
    )


def test_fields_of_one_instant_without_numbers_were_not_added_after_a_look():
    rules = demanding(specimen_rule="mean_of_fields")
    sizes = (7, 8, 8, "9-10")
    at_once = [replace(one, came_at=(MADE,) * 3, name="") for one in taken(*sizes)]
    numbered = [replace(one, came_at=(MADE,) * 3) for one in taken(*sizes)]

    assert judge(at_once, rules).conformity == "conforms"
    assert judge(numbered, rules).missing[0].startswith("the mean of the first 3 fields could be")


@pytest.mark.parametrize("record", [0, 1, 2])
def test_one_record_by_which_coarse_fields_came_first_suffices(record):
    rules = demanding(specimen_rule="mean_of_fields")
    fields = [
        replace(
            one,
            name="",
            came_at=tuple(
                MADE + timedelta(minutes=n if which == record else -n) for which in range(3)
            ),
        )
        for n, one in enumerate(taken(7, 8, 8, "9-10", "9-10"))
    ]

    (sentence,) = judge(fields, rules).missing

    assert sentence.startswith("the mean of the first 3 fields could be 7.7, 8 or finer is")


def test_field_10_came_after_field_9():
    rules = demanding(specimen_rule="mean_of_fields")
    sizes = {"10": "9-10", "8": 7, "9": 8, "7": 8}
    fields = [
        replace(one, name=name, came_at=(MADE,) * 3)
        for name, one in zip(sizes, taken(*sizes.values()), strict=True)
    ]

    assert judge(fields, rules).missing[0].startswith("the mean of the first 3 fields could be 7.7")


def test_coarse_places_under_one_number_count_each():
    rules = demanding(specimen_rule="mean_of_fields")
    coarse = [replace(one, name="1") for one in taken(7, 7, 7)]
    fine = [replace(one, id=f"{n:016x}", name=str(n)) for n, one in enumerate(taken(8, "9-10"), 2)]
    fields = [replace(one, id=f"{n:016x}") for n, one in enumerate((*coarse, *fine))]

    once, each = judge([fields[0], *fields[3:]], rules), judge(fields, rules)

    assert once.conformity == "conforms"
    assert each.missing == ("the mean of 3 fields could be 7.6, 8 or finer is demanded",)


def test_fine_places_under_one_number_do_not_raise_the_mean():
    rules = demanding(specimen_rule="mean_of_fields")
    fields = [replace(one, name="1") for one in taken(7, "9-10", "9-10", "9-10")]
    other = [replace(one, id=f"{n:016x}", name=str(n)) for n, one in enumerate(taken(8, 8), 7)]

    assert judge([*fields, *other], rules).missing == (
        "the mean of 3 fields could be 7.7, 8 or finer is demanded",
    )


@given(st.lists(st.sampled_from((6, 7, 8, "9-10")), min_size=3, max_size=12))
def test_no_number_of_further_fields_makes_a_mean_conform_that_did_not(sizes):
    rules = demanding(specimen_rule="mean_of_fields")
    fields = taken(*sizes)

    words = [judge(fields[:n], rules).conformity for n in range(3, len(fields) + 1)]

    assert words[0] == "conforms" or "conforms" not in words


def test_the_rule_of_a_mean_shows_its_uncertainty_and_its_guard_band():
    rules = demanding(specimen_rule="mean_of_fields")

    lines = build_decision_rule([of(taken(7, 8, "9-10"))], rules, []).mean

    assert "guard band w = k u = 0 with k = 0" in lines[1]
    assert "breaks the limit narrowly may conform in half of all cases or more" in lines[1]
    assert lines[2] == "specimen 01: mean 8.0 of 3 places, standard uncertainty u = 0.58"


def test_on_the_model_alone_no_field_raises_a_mean_beyond_the_limit():
    rules = demanding(specimen_rule="mean_of_fields")
    fields = [field(n, code=code, codes=(code,)) for n, code in enumerate(("G7", "G9-10", "G8"), 1)]
    confirmed = [fields[0], replace(fields[1], decided=said_by("G9-10")), fields[2]]

    alone, after = judge(fields, rules), judge(confirmed, rules)

    assert alone.conformity == "undecided"
    (sentence,) = alone.missing
    assert sentence == (
        "the mean keeps 8 or finer only by fields that the model alone puts beyond it: confirm them"
    )
    assert after.conformity == "conforms"


def test_the_errors_of_single_fields_are_no_bound_for_a_mean():
    rules = demanding(specimen_rule="mean_of_fields")
    reviews = [DoubleReview(("G7", "G7"), MADE, f"{n}", "100Cr6", ("G7",)) for n in range(149)]
    fields = [replace(one, decided=said_by("G8")) for one in taken(8, 8, 8)]

    by_worst = build_decision_rule([of(fields)], RULES, reviews)
    by_mean = build_decision_rule([of(fields)], rules, reviews)

    assert by_worst.upper95 == pytest.approx(0.0199, abs=1e-4)
    assert (by_mean.upper95, by_mean.basis) == (None, "")
    (sentence,) = by_mean.sentences
    assert sentence.startswith('risk of a false "conforms": not yet known for a mean; the errors')


def test_a_mean_that_people_confirmed_can_condemn():
    fields = [field(n, decided=said_by(code)) for n, code in enumerate(("G7", "G7", "G8"), 1)]

    statement = judge(fields, demanding(specimen_rule="mean_of_fields"))

    assert statement.conformity == "does_not_conform"
    assert statement.because[0].startswith("the mean of 3 fields is 7.3, confirmed by R. Stahl")


# --- what was replaced --------------------------------------------------------------------------


COARSE = field(9, code="G7", codes=("G7",))


@pytest.mark.parametrize(
    ("gone", "word"),
    [
        (Superseded("a nicer one", "B. Eile"), "undecided"),
        (Superseded("over-etched", "B. Eile", defect="over_etched"), "undecided"),
        (Superseded("blurred", "B. Eile", defect="out_of_focus"), "undecided"),
        (Superseded("wrong place", "R. Stahl", lead=True), "conforms"),
    ],
)
def test_a_coarse_field_cannot_be_shot_away(gone, word):
    again = judge(three(), earlier=(replace(COARSE, superseded=gone),))
    beside = judge([*three(), replace(COARSE, superseded=gone)])

    assert (again.conformity, beside.conformity) == (word, word)


def test_a_fine_field_may_be_replaced_without_ado():
    gone = replace(field(9), superseded=Superseded("blurred corner", "B. Eile"))

    assert judge(three(), earlier=(gone,)).conformity == "conforms"


# --- the order ----------------------------------------------------------------------------------


FINE = Statement(Conformity.CONFORMS)
OPEN = Statement(Conformity.UNDECIDED, ("3 of 5 fields", "field 4 could be 6 or 7"))
BAD = Statement(Conformity.DOES_NOT_CONFORM, (), ("field 3 is G6, confirmed by R. Stahl",))

OF_SPECIMENS = [
    ({"01": FINE}, (), None, "conforms", ""),
    ({"01": FINE, "02": OPEN}, (), None, "undecided", "specimen 02: 3 of 5 fields; field 4"),
    ({"01": FINE, "02": BAD}, (), None, "does_not_conform", ""),
    ({"01": FINE}, ("01", "02"), None, "undecided", "specimen 02: no images received"),
    ({"01": FINE}, (), 2, "undecided", "1 of 2 specimens"),
    ({"01": FINE, "02": FINE}, ("01",), 2, "conforms", ""),
    ({}, (), None, "undecided", "no images received"),
]


def test_an_order_conforms_only_if_every_required_specimen_does():
    for statements, required, count, word, missing in OF_SPECIMENS:
        statement = conformity.judge_order(statements, required, count)

        assert statement.conformity == word, statements
        assert missing in "; ".join(statement.missing), statements


# --- laws ---------------------------------------------------------------------------------------


def counted_of(facts):
    return [
        one
        for one in facts.fields
        if not one.superseded and not (one.decided and one.decided.kind == "unusable")
    ]


@settings(max_examples=250, deadline=None)
@given(SPECIMENS, DEMANDS)
def test_law_whatever_conforms_has_every_part_proved(facts, rules):
    if conformity.judge_specimen(facts, rules).conformity != "conforms":
        return

    wanted, counted = rules.specification, counted_of(facts)
    assert len({one.name or one.id for one in counted}) >= wanted.fields
    assert sum(one.area_mm2 or 0 for one in counted) >= wanted.area_mm2
    assert facts.waiting == 0
    for one in counted:
        assert not one.awaits
        assert not one.held
        assert not one.scale_in_doubt
        assert one.um_per_px is not None
        codes = (one.decided.said,) if one.decided else (*one.codes, one.code)
        assert all(rules.is_of(code) for code in codes)
        assert not rules.by_worst or all(rules.keeps(code) for code in codes)
        assert one.decided or one.bundle == BUNDLE


@settings(max_examples=250, deadline=None)
@given(SPECIMENS, DEMANDS)
def test_law_whatever_does_not_conform_was_confirmed_by_a_person(facts, rules):
    if conformity.judge_specimen(facts, rules).conformity == "does_not_conform":
        assert any(one.decided and one.decided.kind == "code" for one in counted_of(facts))


@settings(max_examples=120, deadline=None)
@given(SPECIMENS, DEMANDS)
def test_law_what_is_undecided_says_what_is_missing_and_nothing_else_does(facts, rules):
    statement = conformity.judge_specimen(facts, rules)

    assert bool(statement.missing) == (statement.conformity == "undecided")


@settings(max_examples=120, deadline=None)
@given(SPECIMENS, DEMANDS, FIELDS)
def test_law_another_doubt_never_makes_a_specimen_conform(facts, rules, doubtful):
    doubt = replace(doubtful, awaits=True, superseded=None, decided=None)

    more = conformity.judge_specimen(replace(facts, fields=(*facts.fields, doubt)), rules)

    assert more.conformity != "conforms"
