"""The record behind an automatic "conforms" counts what would have been wrong, exactly."""

import json

import pytest
from labs.small import past, write_labelled

from agent.orders.judge.limit import find_bound, read_limit
from agent.orders.judge.method_validation import ValidationCase, build_record, iter_limits
from model import default_taxonomy

TAXONOMY = default_taxonomy()


def case(true, said, *, automatic=True, specimen=None, um_per_px=0.1, **process_data):
    own = f"{true}{said}{automatic}"
    return ValidationCase(specimen or own, true, tuple(said), automatic, process_data, um_per_px)


def test_a_false_conforms_is_a_field_that_breaks_the_limit_and_is_surely_called_fine():
    cases = [
        case("G7", ["G8"]),
        case("G7", ["G7", "G8"]),
        case("G7", ["G8"], automatic=False),
        case("G8", ["G8"]),
        case("B8", ["G8"]),
        case("B7", ["B7"]),
    ]

    counted = build_record(cases, TAXONOMY)["limits"]["G 8 or finer"]

    assert (counted["n"], counted["wrong"]) == (3, 1)
    assert counted["upper95"] == pytest.approx(0.8647, abs=1e-3)
    assert (counted["other_subtype"]["n"], counted["other_subtype"]["wrong"]) == (2, 1)


def test_nothing_that_breaks_a_limit_gives_no_bound():
    counted = build_record([case("G8", ["G8"])], TAXONOMY)["limits"]["G 8 or finer"]

    assert (counted["n"], counted["upper95"]) == (0, None)


def test_59_without_a_mistake_give_five_percent():
    cases = [case("G7", ["G7"], specimen=str(n)) for n in range(59)]

    counted = build_record(cases, TAXONOMY)["limits"]["G 8 or finer"]

    assert counted["upper95"] == pytest.approx(0.0495, abs=5e-4)


def test_the_bound_rests_on_specimens_and_not_on_their_fields():
    cases = [
        case("G7", ["G8"] if (n, shot) == (0, 0) else ["G7"], specimen=f"1/{n}")
        for n in range(10)
        for shot in range(5)
    ]

    counted = build_record(cases, TAXONOMY)["limits"]["G 8 or finer"]

    assert (counted["n"], counted["wrong"]) == (10, 1)
    assert counted["upper95"] == pytest.approx(0.3942, abs=5e-5)  # Clopper and Pearson, 1 of 10
    assert counted["images"] == {"n": 50, "wrong": 1}


def many(true, said, n, *, wrong=(), um_per_px=0.1):
    return [
        case(true, wrong if m < bool(wrong) else said, specimen=f"{true}{m}", um_per_px=um_per_px)
        for m in range(n)
    ]


def test_the_bound_is_that_of_the_weaker_kind_of_specimens():
    hard = many("G7", ["G7"], 149)
    easy = many("B8", ["B8"], 200, wrong=["G8"])

    counted = build_record([*hard, *easy], TAXONOMY)["limits"]["G 8 or finer"]

    assert counted["upper95"] == pytest.approx(0.0199, abs=5e-5)
    assert counted["bound95"] == counted["other_subtype"]["upper95"]
    assert counted["bound95"] == pytest.approx(0.0235, abs=5e-5)  # 1 of 200; pooled: 1 of 349


@pytest.mark.parametrize("codes", [["G7"], ["B8"]])
def test_one_kind_of_specimens_alone_gives_no_bound(codes):
    cases = [one for code in codes for one in many(code, [code], 300)]

    assert build_record(cases, TAXONOMY)["limits"]["G 8 or finer"]["bound95"] is None


def test_the_scales_are_those_that_both_kinds_of_specimens_cover():
    cases = [
        *many("G7", ["G7"], 3, um_per_px=0.1),
        *many("G7", ["G7"], 1, um_per_px=0.3),
        *many("B8", ["B8"], 1, um_per_px=0.2),
        *many("M8", ["M8"], 1, um_per_px=0.4),
        *many("M7", ["M7"], 1, um_per_px=None),
    ]

    record = build_record(cases, TAXONOMY)

    assert record["um_per_px"] == [0.1, 0.4]
    assert record["limits"]["G 8 or finer"]["um_per_px"] == [0.2, 0.3]


def test_kinds_that_share_no_scale_cover_none():
    cases = [*many("G7", ["G7"], 3, um_per_px=0.1), *many("B8", ["B8"], 1, um_per_px=0.2)]

    assert build_record(cases, TAXONOMY)["limits"]["G 8 or finer"]["um_per_px"] is None


def test_a_subtype_alone_is_a_limit_too():
    counted = build_record(many("B8", ["B8"], 149), TAXONOMY)["limits"]["G"]

    assert (counted["n"], counted["bound95"]) == (0, pytest.approx(0.0199, abs=5e-5))


def test_images_that_name_no_specimen_are_one_together():
    cases = [ValidationCase("", "G7", ("G7",), automatic=True, um_per_px=0.1) for _ in range(200)]
    cases += [ValidationCase("1/1", "G7", ("G8",), automatic=True, process_data={"specimen": "1"})]

    record = build_record(cases, TAXONOMY)

    counted = record["limits"]["G 8 or finer"]
    assert (record["alone"], record["specimens"]) == (200, 2)
    assert (counted["n"], counted["wrong"]) == (2, 1)


def test_specimens_are_counted_once_and_ways_told_apart():
    cases = [
        case("G8", ["G8"], specimen="1/1", etchant="Nital", microscope="LOM-07"),
        case("G8", ["G8"], specimen="1/1", etchant="Nital", microscope="LOM-07"),
        case("G8", ["G8"], specimen="1/2", etchant="Picral", microscope="LOM-07"),
    ]

    record = build_record(cases, TAXONOMY)

    assert (record["images"], record["specimens"]) == (3, 2)
    assert [(w["etchant"], w["subtype"], w["specimens"]) for w in record["scope"]] == [
        ("Nital", "G", 1),
        ("Picral", "G", 1),
    ]


def test_every_limit_of_a_subtype_can_be_judged():
    subtype = TAXONOMY.subtype("G")

    assert [str(limit) for limit in iter_limits(subtype)] == [
        "6 or finer",
        "7 or finer",
        "8 or finer",
        "9 or finer",
        "5 or coarser",
        "6 or coarser",
        "7 or coarser",
        "8 or coarser",
    ]
    by_number = list(iter_limits(subtype))[3]
    assert find_bound(read_limit("9-10 or finer"), subtype) == find_bound(by_number, subtype)


@pytest.mark.slow
def test_the_command_keeps_a_record_of_the_bundle_at_work(taught_lab, tmp_path, capsys):
    pictures = past(2, first_order=3000, seed=9)
    manifest = write_labelled(pictures, tmp_path / "labelled")
    words = ("spec", "validate", "100Cr6", tmp_path / "labelled", "--manifest", manifest, "--json")

    assert taught_lab.agent(*words) == 0

    record = json.loads(capsys.readouterr().out)
    assert record["material"] == "100Cr6"
    assert record["images"] == len(pictures)
    assert record["seen_in_training"] == 0
    assert record["limits"]["G 9 or finer"]["images"]["n"] == sum(p.code == "G7" for p in pictures)
    assert record["limits"]["G 9 or finer"]["n"] == 2
