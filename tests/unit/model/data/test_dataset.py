"""No specimen is on two sides of a split, and what has a side keeps it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import Example, TrainingError, default_taxonomy, folds, split
from model.data.dataset import SHARES, validate_examples
from model.training.plan import describe_uneven_codes

STANDARD = default_taxonomy()


def no_field():
    raise AssertionError("splitting looks at no pixel")


def example(key: str, code: str, group: str | None = None) -> Example:
    return Example(key=key, code=code, group=group or key, load=no_field)


def many(counts: dict[str, int], per_group: int = 1) -> list[Example]:
    return [
        example(f"{code}-{i}", code, f"{code}-s{i // per_group}")
        for code, n in counts.items()
        for i in range(n)
    ]


examples_of_groups = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(STANDARD.trained_codes)), min_size=1, max_size=60
).map(lambda rows: [example(f"k{i}", code, f"g{g}") for i, (g, code) in enumerate(rows)])


@settings(deadline=None)
@given(examples_of_groups, st.integers(0, 3))
def test_no_specimen_is_on_two_sides(examples, seed):
    sides = split(examples, seed=seed)

    groups = [{e.group for e in side} for side in (sides.train, sides.validation, sides.test)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert len(sides.train) + len(sides.validation) + len(sides.test) == len(examples)


@settings(deadline=None)
@given(examples_of_groups, st.randoms())
def test_the_order_of_the_examples_changes_nothing(examples, chance):
    shuffled = list(examples)
    chance.shuffle(shuffled)

    assert split(examples).keys() == split(shuffled).keys()


@settings(deadline=None)
@given(examples_of_groups, st.integers(1, 30))
def test_examples_keep_their_side_when_new_ones_come(examples, first):
    before = split(examples[:first]).keys()
    after = split(examples, kept=before).keys()

    new_keys = {e.key for e in examples[first:]}
    moved = {
        e.key
        for side, keys in before.items()
        for e in examples
        if e.key in keys and e.key not in after[side] and e.key not in new_keys
    }
    assert not moved


def test_every_code_gets_the_papers_shares():
    counts = {"G8": 196, "G9-10": 985, "M8": 31, "B7": 40}

    sides = split(many(counts))

    for code, n in counts.items():
        train, validation, test = (
            Counter(e.code for e in side)[code]
            for side in (sides.train, sides.validation, sides.test)
        )
        assert abs(train - 0.64 * n) <= 1
        assert abs(validation - 0.16 * n) <= 1
        assert abs(test - 0.20 * n) <= 1


def sides(found):
    return found.train, found.validation, found.test


def test_three_images_of_a_code_reach_train_and_test():
    found = split(many({"G8": 3, "B8": 20}))

    assert [sum(e.code == "G8" for e in side) for side in sides(found)] == [2, 0, 1]


def test_three_images_of_each_code_still_leave_one_to_validate():
    found = split(many({"G8": 3, "B8": 3}))

    assert [len(side) for side in sides(found)] == [3, 1, 2]
    assert {e.code for e in found.train} == {"G8", "B8"}


def test_a_whole_specimen_follows_its_kept_image_into_the_test():
    examples = many({"G8": 40}, per_group=4)
    kept = {"test": [examples[0].key]}

    sides = split(examples, kept=kept)

    assert {e.key for e in examples[:4]} <= set(sides.keys()["test"])


def orders(count, codes=("B7", "G7", "G8")):
    """Examples of orders, each with several codes."""
    rng = random.Random(count)
    return [
        Example(f"{order}-{code}-{i}", code, f"order {order}", load=lambda: None)
        for order in range(count)
        for code in codes
        for i in range(1 + rng.randrange(4))
    ]


@pytest.mark.parametrize("count", [20, 60])
def test_orders_that_hold_several_codes_are_split_in_the_papers_shares_too(count):
    found = split(orders(count))

    for code in ("B7", "G7", "G8"):
        counts = [sum(e.code == code for e in side) for side in sides(found)]
        shares = [n / sum(counts) for n in counts]
        assert shares == pytest.approx([0.64, 0.16, 0.20], abs=0.09)


def test_three_orders_are_one_for_each_side():
    found = split(orders(3))

    assert [len({e.group for e in side}) for side in sides(found)] == [1, 1, 1]


def test_a_code_that_lacks_a_side_has_its_sentence_and_others_have_none():
    few = [example(f"few{i}", "B8", "970C") for i in range(6)]
    examples = [*many({"G8": 60}, per_group=3), *few]
    taxonomy = STANDARD.restricted_to(frozenset({"G8", "B8"}))

    sentences = describe_uneven_codes(split(examples), taxonomy, "heat", SHARES)

    assert sentences == [
        "B8: 6 micrographs (heat: 1), 6 to train, 0 to validate, 0 to test.",
    ]


def test_a_side_that_was_kept_spares_nothing():
    before = orders(3)

    found = split(before, kept={"test": [e.key for e in before]})

    assert len(found.test) == len(before)


def test_folds_of_orders_that_hold_several_codes_are_alike():
    sizes = [len(held) for _, held in folds(orders(30), 3)]

    assert max(sizes) - min(sizes) <= 12


def test_folds_hold_every_example_out_once():
    examples = many({"G8": 20, "B8": 11}, per_group=2)

    pairs = folds(examples, 4)

    held = [e.key for _, out in pairs for e in out]
    assert sorted(held) == sorted(e.key for e in examples)
    for rest, out in pairs:
        assert not {e.group for e in rest} & {e.group for e in out}


def test_what_is_not_taught_is_left_out_and_said():
    examples = many({"G8": 5, "B8": 5, "G6": 2})

    kept, taxonomy, notes = validate_examples(examples, STANDARD)

    assert {e.code for e in kept} == {"G8", "B8"}
    assert taxonomy.trained_codes == ("B8", "G8")
    assert notes[0] == "2 micrographs of G6 are left out: the taxonomy does not teach it."
    assert "No micrograph of B7" in notes[1]


def test_fields_of_a_specimen_that_are_sizes_apart_are_doubted_and_taken():
    odd = [example("a", "G7", "s1"), example("b", "G9-10", "s1"), example("c", "G8", "s2")]
    examples = [*many({"G7": 4, "G8": 4, "G9-10": 4}), *odd, example("d", "G7", "s2")]

    kept, _, notes = validate_examples(examples, STANDARD)
    _, _, of_plants = validate_examples(examples, STANDARD, mixed_groups=True)

    assert len(kept) == len(examples)
    (sentence,) = [note for note in notes if "more than one size apart" in note]
    assert "apart: 1, such as s1 with G7 and G9-10; look whether both are meant" in sentence
    assert not any("apart" in note for note in of_plants)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([example("a", "X9")], "Micrograph a: 'X9' is no structure code"),
        ([example("a", "G8"), example("a", "G7")], "has two labels, G8 and G7"),
        (
            [example("a", "G8", "s1"), example("b", "B8", "s1")],
            'micrographs of two subtypes, G and B. Correct a label, .* = "several"',
        ),
        (many({"G8": 5, "B8": 2}), "B8 has 2 images; a code needs at least 3"),
        (many({"G8": 5}), "1 structure codes; at least two"),
    ],
)
def test_what_cannot_be_trained_on_is_said_in_one_sentence(examples, message):
    with pytest.raises(TrainingError, match=message):
        validate_examples(examples, STANDARD)


def test_a_micrograph_is_named_by_its_file_and_the_id_of_its_page():
    first = replace(example("3f" * 32, "X9"), file="order 7/field 2.tif")
    second = replace(example("3f" * 32 + "-p2", "G8"), file="order 7/field 2.tif")

    assert second.label == "order 7/field 2.tif (3f3f3f3f3f3f3f3f-p2)"
    assert replace(first, file="a\nERROR b\x1b[2J.tif").label == (
        "a\N{REPLACEMENT CHARACTER}ERROR b\N{REPLACEMENT CHARACTER}[2J.tif (3f3f3f3f3f3f3f3f)"
    )
    assert replace(second, file="").label == "3f3f3f3f3f3f3f3f-p2"
    with pytest.raises(
        TrainingError, match=r"Micrograph order 7/field 2\.tif \(3f3f3f3f3f3f3f3f\)"
    ):
        validate_examples([first], STANDARD)


def test_a_group_may_be_a_plant_with_all_its_subtypes():
    examples = [example(f"{c}{i}", c, "plant 1") for c in ("G8", "B8") for i in range(3)]

    kept, _, _ = validate_examples(examples, STANDARD, mixed_groups=True)

    assert len(kept) == 6


def test_a_fifth_of_new_specimens_joins_the_test_and_old_test_images_stay():
    old = [replace(example(f"o{i}", "G8"), group=f"os{i // 3}") for i in range(60)]
    before = split(old).keys()
    new = [replace(example(f"n{i}", "G8"), group=f"ns{i // 3}") for i in range(150)]

    after = split([*old, *new], kept=before)

    assert set(before["test"]) <= {e.key for e in after.test}
    joined = [e for e in after.test if e.key.startswith("n")]
    assert len(joined) == 30
    assert not {e.group for e in after.test} & {e.group for e in (*after.train, *after.validation)}
