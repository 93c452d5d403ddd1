"""A structure code means one subtype and one size, however somebody writes it."""

from __future__ import annotations

import json
import tomllib
import unicodedata

import pytest
from folders import ROOT
from hypothesis import given
from hypothesis import strategies as st

from model import TaxonomyError, default_taxonomy, load_taxonomy, taxonomy_from

STANDARD = default_taxonomy()


def test_the_default_taxonomy_teaches_the_eight_codes_of_the_paper():
    assert STANDARD.trained_codes == ("B7", "B8", "B9-10", "G7", "G8", "G9-10", "M8", "M9-10")
    assert len(STANDARD.codes) == 15
    assert STANDARD.size_bounds("9-10") == (9, 10)


def test_the_sample_for_a_lab_of_other_steels_holds_together():
    page = (ROOT / "reports" / "guide" / "own-classes.md").read_text("utf-8")
    sample = page.partition("## The file taxonomy.toml")[2].split("```")[1].removeprefix("toml")

    ours = taxonomy_from(tomllib.loads(sample))

    assert ours.codes == ("G7", "G8", "G9-10", "P")
    assert ours.trained_codes == ("G8", "G9-10", "P")
    assert ours.size_bounds("9-10") == (9, 10)


def test_people_write_one_code_in_many_ways():
    for written in ("G9-10", "g9-10", "G 9-10", "G9–10", "G9_10", "G9/10"):
        assert STANDARD.parse(written) == ("G", "9-10"), written


@given(st.sampled_from(STANDARD.codes))
def test_a_code_taken_apart_and_joined_is_the_same_code(code):
    assert STANDARD.code(*STANDARD.parse(code)) == code


def test_an_unknown_code_names_the_nearest_one():
    with pytest.raises(TaxonomyError, match="Did you mean G8"):
        STANDARD.parse("G88")


def test_a_taxonomy_survives_its_way_through_a_bundle():
    assert taxonomy_from(STANDARD.as_json()) == STANDARD


def test_codes_with_too_few_images_become_untrained_and_stay_known():
    fewer = STANDARD.restricted_to(frozenset({"G8", "G9-10"}))

    assert fewer.trained_codes == ("G8", "G9-10")
    assert fewer.codes == STANDARD.codes


def test_a_subtype_without_sizes_is_its_own_code():
    taxonomy = taxonomy_from({"name": "phases", "subtype": [{"name": "pearlite"}]})

    assert taxonomy.codes == ("pearlite",)
    assert taxonomy.parse("Pearlite") == ("pearlite", "")
    assert taxonomy.size_bounds("") == (None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no"),
        ('[[subtype]]\nname = "B"\nsizes = ["7"]', "no \\[\\[size\\]\\] is called '7'"),
        ('[[subtype]]\nname = "B"\nuntrained = ["7"]', "untrained names '7'"),
        ('[[subtype]]\nname = "B"\n[[subtype]]\nname = "B"', "written alike"),
        ('[[size]]\nname = "7"\nmin = 8\nmax = 7\n[[subtype]]\nname = "B"', "min first"),
    ],
)
def test_a_taxonomy_that_does_not_hold_together_names_the_entry(text, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy_from(tomllib.loads(text))


def of_sizes(*sizes):
    """Return a document of one subtype G from names, coarse to fine, or whole [[size]] entries."""
    entries = [{"name": size} if isinstance(size, str) else size for size in sizes]
    return {
        "size": entries,
        "subtype": [{"name": "G", "sizes": [entry["name"] for entry in entries]}],
    }


def of_two(first, second):
    names = dict.fromkeys((*first, *second))
    return {
        "size": [{"name": name} for name in names],
        "subtype": [{"name": "G", "sizes": first}, {"name": "B", "sizes": second}],
    }


CONTRADICTING = [
    (of_sizes("5", "6", "8", "7"), "fall from size '8' .* to '7' .* rise from '5' to '6'"),
    (of_sizes("20", "5", "10"), "rise from size '5' .* to '10' .* fall from '20' to '5'"),
    (of_sizes("7-9", "8-10"), r"'7-9' \(7 to 9\) and '8-10' \(8 to 10\) overlap"),
    (of_sizes("5", "5-10"), "'5' .* and '5-10' .* overlap"),
    (of_sizes("7", "7"), "called '7'"),
    (of_two(["7", "7"], ["7"]), "Subtype G lists the size '7' twice"),
    (of_sizes("7", "07"), "'7' .* and '07' .* overlap"),
    (
        of_sizes({"name": "coarse", "min": 3, "max": 3}, "2", "4"),
        "rise from size '2' .* to '4' .* fall from 'coarse' to '2'",
    ),
    (of_sizes({"name": "7", "min": 8, "max": 9}), "outside min 8 and max 9"),
    (of_sizes({"name": "coarse", "min": True, "max": 3}), "whole numbers"),
    (of_sizes({"name": "coarse", "min": 3}), "whole numbers"),
    (
        of_two(["coarse", "fine"], ["fine", "coarse"]),
        "Subtype G lists the size 'coarse' before 'fine', subtype B the other way round",
    ),
    (of_two(["20", "10"], ["10", "20"]), "the other way round"),
    (of_two(["20", "10", "5"], ["5", "6"]), "'5' belongs to subtype G, .* fall, .* B, .* rise"),
    (
        {
            "size": [{"name": one} for one in "xyz"],
            "subtype": [
                {"name": "A", "sizes": ["x", "y"]},
                {"name": "B", "sizes": ["y", "z"]},
                {"name": "C", "sizes": ["z", "x"]},
            ],
        },
        "listed in a circle",
    ),
]


def test_sizes_that_contradict_each_other_are_refused_with_both_entries():
    for document, message in CONTRADICTING:
        with pytest.raises(TaxonomyError, match=message):
            taxonomy_from(document)


SANE = [
    ("20", "10", "5"),
    ("20-40", "10-20", "5-10"),
    ("00", "0", "1", "2"),
    ("0.5", "1", "1.5"),
    ("coarse", "3 medium", "1 fine"),
    ("7", "unclear", "8"),
]


def test_a_sane_list_is_accepted_and_survives_its_way_through_a_bundle():
    for sizes in SANE:
        taxonomy = taxonomy_from(of_sizes(*sizes))

        assert tuple(size.name for size in taxonomy.sizes) == sizes, sizes
        assert taxonomy_from(json.loads(json.dumps(taxonomy.as_json()))) == taxonomy, sizes


def test_size_numbers_are_exported_only_where_they_are_whole():
    taxonomy = taxonomy_from(of_sizes("0.5", "1", "2-3", "fine 4"))

    bounds = [taxonomy.size_bounds(size.name) for size in taxonomy.sizes]

    assert bounds == [(None, None), (1, 1), (2, 3), (None, None)]


def test_stated_numbers_of_a_named_size_survive_also_where_its_name_holds_them(tmp_path):
    path = tmp_path / "taxonomy.toml"
    path.write_text(
        '[[size]]\nname = "K2"\nmin = 2\nmax = 2\n[[size]]\nname = "K3"\n'
        '[[subtype]]\nname = "G"\nsizes = ["K2", "K3"]',
        encoding="utf-8",
    )

    taxonomy = load_taxonomy(path)

    assert [taxonomy.size_bounds(name) for name in ("K2", "K3")] == [(2, 2), (None, None)]
    assert taxonomy_from(taxonomy.as_json()) == taxonomy


def test_an_older_bundle_loses_the_numbers_that_were_read_out_of_digits_in_names():
    written = [("coarse", 0, 0), ("stage 2", 2, 2), ("0.5", 0, 5), ("7", 7, 7), ("9-10", 9, 10)]
    sizes = [{"name": n, "title": n, "min": low, "max": high} for n, low, high in written]

    taxonomy = taxonomy_from(of_sizes(*sizes))

    numbers = [size.numbers for size in taxonomy.sizes]
    assert numbers == [None, None, (0.5, 0.5), (7, 7), (9, 10)]


def test_without_its_texts_the_default_taxonomy_is_written_as_older_bundles_hold_it():
    assert STANDARD.without_texts().as_json()["size"] == [
        {"name": "5", "title": "very coarse acicular", "min": 5, "max": 5},
        {"name": "6", "title": "coarse acicular", "min": 6, "max": 6},
        {"name": "7", "title": "acicular", "min": 7, "max": 7},
        {"name": "8", "title": "fine acicular", "min": 8, "max": 8},
        {"name": "9-10", "title": "very fine acicular to structureless", "min": 9, "max": 10},
    ]


def test_sizes_of_several_subtypes_are_one_order():
    numbers = taxonomy_from(of_two(["5", "7"], ["6", "8"]))
    names = taxonomy_from(of_two(["coarse", "fine"], ["coarse", "medium", "fine"]))

    assert [size.name for size in numbers.sizes] == ["5", "6", "7", "8"]
    assert [size.name for size in names.sizes] == ["coarse", "medium", "fine"]


def test_an_umlaut_is_one_letter_however_a_keyboard_makes_it():
    taxonomy = taxonomy_from(of_sizes("grob", "größer"))

    assert taxonomy.parse(unicodedata.normalize("NFD", "Ggrößer")) == ("G", "größer")


def test_a_broken_taxonomy_file_is_named(tmp_path):
    path = tmp_path / "taxonomy.toml"
    path.write_text("name = ", encoding="utf-8")

    with pytest.raises(TaxonomyError, match=r"taxonomy\.toml is not valid TOML"):
        load_taxonomy(path)
    with pytest.raises(TaxonomyError, match="cannot be read"):
        load_taxonomy(tmp_path / "missing.toml")
