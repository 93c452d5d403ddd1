"""Needle limits can make an order undecided, with a reason, and nothing else."""

import math
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from drawn.needle_samples import measured as measured_in_trial
from drawn.needle_samples import not_measured
from hypothesis import given, settings
from hypothesis import strategies as st
from labs.judged_orders import DEMANDS, SPECIMENS, field, of
from labs.lab import DAY, RING_A, TAXONOMY

from agent.orders import Specifications
from agent.orders.facts.needle_lengths import (
    add_doubts,
    build_specimen_needles,
    gather_order_needles,
    list_order_doubts,
    list_specimen_doubts,
)
from agent.orders.facts.specimen_facts import Conformity, Statement
from agent.orders.judge import conformity
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.judge.limit import (
    LongestLimit,
    NeedleLimit,
    read_longest_limit,
    read_needle_limit,
)
from agent.orders.judge.next_step import find_lack, list_to_confirm
from agent.orders.statements.order_json import order_to_json
from agent.store import Decision

LIMIT, LONGEST = "L90 <= 25 µm", "100 mm²: 45 µm"
measured = partial(measured_in_trial, calibration="G/LOM-07 1")


# --- how they are written -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quantile", "most_um"),
    [
        (LIMIT, "L90", 25.0),
        ("l50≤12.5um", "L50", 12.5),
        ("  L99 <= 40 \u03bcm ", "L99", 40.0),
    ],
)
def test_a_limit_of_a_quantile_is_read(text, quantile, most_um) -> None:
    assert read_needle_limit(text) == NeedleLimit(quantile, most_um)


ENDLESS = "9" * 400

NO_QUANTILES = [
    *("L90 < 25 µm", "L80 <= 25 µm", "L90 <= 25", "L90 <= 0 µm", "25", "L90 <= nan µm"),
    *("L90 <= -3 µm", "L90 <= 1e3 µm", f"L90 <= {ENDLESS} µm", "L90 <= ٢٥ µm"),
]


def test_what_is_no_limit_of_a_quantile_is_refused_with_an_example() -> None:
    for text in NO_QUANTILES:
        with pytest.raises(ValueError, match='is written "L90 <= 25 µm", with L50, L90 or L99'):
            read_needle_limit(text)


@pytest.mark.parametrize("text", [LONGEST, "100mm2:45um", "100 mm²: <= 45 µm"])
def test_a_limit_of_the_longest_needle_is_read(text) -> None:
    assert read_longest_limit(text) == LongestLimit(100.0, 45.0)


NO_LONGEST = [
    *("45 µm", "100 mm: 45 µm", "0 mm²: 45 µm", "100 mm²: L90"),
    *(f"{ENDLESS} mm²: 45 µm", f"1 mm²: {ENDLESS} µm", "٣ mm²: 45 µm"),
]


def test_what_is_no_limit_of_the_longest_is_refused_with_an_example() -> None:
    for text in NO_LONGEST:
        with pytest.raises(ValueError, match='limited by "100 mm²: 45 µm"'):
            read_longest_limit(text)


# --- what they leave open -------------------------------------------------------------------------


def wanting(needle_limit: str = "", longest: str = ""):
    return RING_A.model_copy(update={"needle_limit": needle_limit, "longest_in_mm2": longest})


def gather(*needles):
    fields = [field(number) for number in range(1, len(needles) + 1)]
    known = {member.id: own for member, own in zip(fields, needles, strict=True) if own}
    return build_specimen_needles(of(fields), known)


def doubts(needle_limit: str, *needles):
    return list_specimen_doubts(gather(*needles), wanting(needle_limit))


FINE = [measured(seed, median_um=7) for seed in range(6)]


def test_an_interval_below_the_limit_leaves_nothing_open() -> None:
    assert doubts("L90 <= 25 µm", *FINE) == ()


def test_a_value_below_the_limit_whose_interval_reaches_beyond_is_open() -> None:
    pooled = gather(*FINE).pooled
    between = (pooled.l90.value_um + pooled.l90.high_um) / 2

    (sentence,) = doubts(f"L90 <= {between:.2f} µm", *FINE)

    assert sentence.startswith(f"L90 of the needles at most {between:.2f} µm: it is ")
    assert sentence.endswith("; trial, calibration G/LOM-07 1)")


def test_lengths_that_are_not_calibrated_prove_no_limit() -> None:
    trial = [measured_in_trial(seed, median_um=7) for seed in range(20)]
    wanted = wanting(longest="100 mm²: 300 µm")

    (of_specimen,) = doubts("L90 <= 25 µm", *trial[:6])
    (of_order,) = list_order_doubts(gather_order_needles((gather(*trial),), wanted), wanted)

    for sentence in (of_specimen, of_order):
        assert "the lengths are not calibrated here and prove no limit: calibrate" in sentence


def test_a_far_quantile_of_few_needles_is_not_shown_and_proves_no_limit() -> None:
    few = [measured(seed, median_um=7, count=60) for seed in range(6)]

    (sentence,) = doubts("L99 <= 100 µm", *few)

    assert gather(*few).pooled.l99 is None
    assert sentence.endswith(": 360 needles are too few to prove it; take more fields")


def test_four_measured_fields_prove_no_limit_and_the_reasons_are_counted() -> None:
    needles = [*FINE[:4], not_measured("too_few"), None]

    (sentence,) = doubts(LIMIT, *needles)

    assert sentence == (
        "L90 of the needles at most 25 µm: 4 of 5 measured fields (1 field not measured: fewer "
        "than 30 complete needles, or in less than 80 % of the field)"
    )


def test_nothing_measured_is_open() -> None:
    assert doubts(LIMIT, None) == ("L90 of the needles at most 25 µm: 0 of 5 measured fields",)


def test_two_networks_prove_nothing() -> None:
    mixed = [*FINE, replace(FINE[0], network="ba9876543210")]

    (sentence,) = doubts(LIMIT, *mixed)

    assert sentence.endswith("measured with several versions of network or calibration")


def test_the_longest_in_an_area_needs_twenty_fields_of_the_order() -> None:
    wanted = wanting(longest="100 mm²: 300 µm")
    many = tuple(gather(*[measured(10 * k + n) for n in range(10)]) for k in range(2))

    few = list_order_doubts(gather_order_needles(many[:1], wanted), wanted)
    enough = list_order_doubts(gather_order_needles(many, wanted), wanted)

    assert few == ("longest needle in 100 mm² at most 300 µm: 10 of 20 measured fields",)
    assert enough == ()


def test_a_longest_needle_that_could_be_longer_than_allowed_is_open() -> None:
    wanted = wanting(longest="100 mm²: 40 µm")
    many = gather(*[measured(n) for n in range(20)])

    (sentence,) = list_order_doubts(gather_order_needles((many,), wanted), wanted)

    assert sentence.startswith("longest needle in 100 mm² at most 40 µm: ")
    assert "µm is to be expected (" in sentence


def test_of_two_shots_of_one_place_the_coarser_counts_once() -> None:
    shots = [field(1), replace(field(2), name="1")]
    fine, coarse = measured(1, median_um=7), measured(1, median_um=12)

    needles = build_specimen_needles(of(shots), {shots[0].id: fine, shots[1].id: coarse})

    assert needles.places == (coarse,)


@pytest.mark.parametrize("quantile", ["L50", "L90", "L99"])
def test_of_two_shots_of_one_place_the_one_counts_that_is_coarser_in_what_is_limited(quantile):
    fields = [field(number) for number in range(1, 7)]
    fields.append(replace(field(7), name="1"))  # once more the place of the first
    known = {member.id: measured(1, median_um=8, count=1200) for member in fields[:6]}
    name = f"{quantile.lower()}_um"
    long = replace(measured(1, median_um=40, count=1200), l50_um=1.0, l90_um=1.0, l99_um=1.0)
    limit = wanting(f"{quantile} <= 26 µm")

    before = list_specimen_doubts(build_specimen_needles(of(fields), known), limit)
    known[fields[6].id] = replace(long, **{name: 80.0})
    after = list_specimen_doubts(build_specimen_needles(of(fields), known), limit)

    assert before == ()
    assert len(after) == 1


def test_the_longest_needle_of_any_shot_of_a_place_counts_for_the_longest_of_an_area() -> None:
    wanted = wanting(longest="100 mm²: 60 µm")
    fields = [field(number) for number in range(1, 21)]
    fields.append(replace(field(21), name="1"))
    known = {member.id: measured(n) for n, member in enumerate(fields[:20])}
    long = replace(measured(0), l90_um=1.0, maximum_um=180.0)

    def find_doubts() -> tuple[str, ...]:
        own = build_specimen_needles(of(fields), known)
        return list_order_doubts(gather_order_needles((own,), wanted), wanted)

    before = find_doubts()
    known[fields[20].id] = long

    assert len(find_doubts()) == 1
    assert find_doubts() != before


def test_lengths_that_are_no_number_keep_no_limit() -> None:
    wanted = wanting(longest="100 mm²: 300 µm")
    many = gather(*[replace(measured(n), area_um2=math.nan if n == 3 else 1e4) for n in range(20)])

    assert len(list_order_doubts(gather_order_needles((many,), wanted), wanted)) == 1


# --- laws -----------------------------------------------------------------------------------------

SENTENCES = st.lists(st.sampled_from(("L90 …", "longest …")), max_size=2)


@settings(max_examples=150, deadline=None)
@given(SPECIMENS, DEMANDS, SENTENCES)
def test_law_a_needle_limit_only_ever_makes_what_conforms_undecided(facts, rules, sentences):
    before = conformity.judge_specimen(facts, rules)

    after = add_doubts(before, sentences)

    changed = (before.conformity, after.conformity) if before != after else ()
    assert changed in {
        (),
        (Conformity.CONFORMS, Conformity.UNDECIDED),
        (Conformity.UNDECIDED, Conformity.UNDECIDED),
    }
    assert set(before.missing) <= set(after.missing)
    assert after.because == before.because


KNOWN = (
    None,
    not_measured(),
    *(measured(seed, median_um=um) for seed, um in enumerate((6, 9, 25))),
)


@settings(max_examples=80, deadline=None)
@given(SPECIMENS, DEMANDS, st.lists(st.sampled_from(KNOWN), min_size=5), st.floats(4, 60))
def test_law_whatever_was_measured_no_limit_makes_a_specimen_or_an_order_conform(
    facts, rules, needles, most_um
):
    wanted = rules.specification.model_copy(
        update={"needle_limit": f"L90 <= {most_um:.1f} µm", "longest_in_mm2": LONGEST}
    )
    known = {m.id: own for m, own in zip(facts.fields, needles, strict=False) if own}
    own = build_specimen_needles(facts, known)
    before = conformity.judge_specimen(facts, rules)

    after = add_doubts(before, list_specimen_doubts(own, wanted))
    order = add_doubts(after, list_order_doubts(gather_order_needles((own,), wanted), wanted))

    for statement in (after, order):
        if statement.conformity is Conformity.CONFORMS:
            assert before.conformity is Conformity.CONFORMS
        assert (statement.conformity is Conformity.DOES_NOT_CONFORM) == (
            before.conformity is Conformity.DOES_NOT_CONFORM
        )
    assert order.conformity is not Conformity.CONFORMS  # five fields predict no longest needle


@pytest.mark.parametrize("word", Conformity)
def test_law_without_a_doubt_a_statement_stays_as_it_is(word) -> None:
    statement = Statement(word, ("missing",), ("because",))

    assert add_doubts(statement, ()) == statement


# --- orders ---------------------------------------------------------------------------------------


def fill(lab, *needles, code="G8"):
    for number, own in enumerate(needles, start=1):
        told = {"order": "4711", "specimen": "01", "field": str(number), "material": "100Cr6"}
        public_id = lab.take(code, needles=own, **told)
        lab.store.labels.decide(
            public_id, Decision("code", "Ada", code=code), at=DAY + timedelta(hours=1)
        )


def judge(lab, **demands):
    wanted = RING_A.model_copy(update={"fields": 5} | demands)
    return assess(lab.store, "4711", OrderPolicy(Specifications((wanted,)), TAXONOMY))


def test_an_order_that_conforms_is_undecided_where_its_needles_are_not_shown_to_be_short(lab):
    fill(lab, *FINE)

    words = {
        limit: str(judge(lab, needle_limit=limit).statement.conformity)
        for limit in ("", "L90 <= 25 µm", "L90 <= 5 µm")
    }

    assert words == {"": "conforms", "L90 <= 25 µm": "conforms", "L90 <= 5 µm": "undecided"}


def test_the_desk_says_that_only_a_needle_limit_is_open(lab):
    fill(lab, *FINE)
    wanted = RING_A.model_copy(update={"fields": 5, "needle_limit": "L90 <= 5 µm"})
    policy = OrderPolicy(Specifications((wanted,)), TAXONOMY)
    assessed = assess(lab.store, "4711", policy)

    to_confirm = list_to_confirm(assessed, policy)

    assert to_confirm == []
    assert find_lack(assessed, policy, n_to_confirm=0).words == "needle limit open: a lead decides"


def test_an_order_is_undecided_without_enough_fields_for_the_longest_needle(lab):
    fill(lab, *FINE)

    assessed = judge(lab, longest_in_mm2=LONGEST)

    assert assessed.statement == Statement(
        Conformity.UNDECIDED,
        ("longest needle in 100 mm² at most 45 µm: 6 of 20 measured fields",),
    )
    assert assessed.specification.demand == (
        "G, 8 or finer (mean), longest needle in 100 mm² at most 45 µm"
    )


def test_short_needles_make_no_order_conform_that_does_not(lab):
    fill(lab, *FINE, code="G6")

    without, within = judge(lab), judge(lab, needle_limit="L90 <= 100 µm")

    assert str(without.statement.conformity) == str(within.statement.conformity)
    assert without.statement.conformity is Conformity.DOES_NOT_CONFORM


def test_the_document_of_an_order_has_its_needles_pooled_and_by_field(lab):
    fill(lab, *FINE[:5], not_measured("uncertain"))

    document = order_to_json(judge(lab, needle_limit=LIMIT))["needles"]

    (specimen,) = document["specimens"]
    assert (document["trial"], document["calibration"]) == (True, "G/LOM-07 1")
    assert document["fields_measured"] == specimen["fields_measured"] == 5
    assert document["l90"]["low_um"] < document["l90"]["value_um"] < document["l90"]["high_um"]
    assert specimen["fields"][0]["l90_um"] == FINE[0].l90_um
    assert specimen["fields"][5] | {"id": ""} == {
        "id": "",
        "field": "6",
        "status": "not_measured",
        "reason": "uncertain",
        "l50_um": None,
        "l90_um": None,
        "l99_um": None,
        "longest_um": None,
    }


def test_where_nobody_wants_needles_an_order_has_none(lab):
    fill(lab, *FINE)

    assert order_to_json(judge(lab))["needles"] is None
