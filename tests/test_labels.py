"""A structure code means one subtype and one size, however somebody writes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import TaxonomyError, default_taxonomy, load_taxonomy, taxonomy_from

STANDARD = default_taxonomy()


def test_the_default_taxonomy_teaches_the_eight_codes_of_the_paper():
    assert STANDARD.trained_codes == ("B7", "B8", "B9-10", "G7", "G8", "G9-10", "M8", "M9-10")
    assert len(STANDARD.codes) == 15
    assert STANDARD.size_bounds("9-10") == (9, 10)


def test_the_sample_for_a_lab_of_other_steels_holds_together():
    operations = (Path(__file__).parents[1] / "deploy" / "OPERATIONS.md").read_text("utf-8")
    sample = operations.partition("<!-- taxonomy -->")[2].split("```")[1].removeprefix("toml")

    ours = taxonomy_from(tomllib.loads(sample))

    assert ours.codes == ("G7", "G8", "G9-10", "P")
    assert ours.trained_codes == ("G8", "G9-10", "P")
    assert ours.size_bounds("9-10") == (9, 10)


@pytest.mark.parametrize("written", ["G9-10", "g9-10", "G 9-10", "G9–10", "G9_10", "G9/10"])
def test_people_write_one_code_in_many_ways(written):
    assert STANDARD.parse(written) == ("G", "9-10")


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
        ('[[subtype]]\nname = "B"\n[[subtype]]\nname = "B"', "not unique: B"),
        ('[[size]]\nname = "7"\nmin = 8\nmax = 7\n[[subtype]]\nname = "B"', "min first"),
    ],
)
def test_a_taxonomy_that_does_not_hold_together_names_the_entry(text, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy_from(tomllib.loads(text))


def test_a_broken_taxonomy_file_is_named(tmp_path):
    path = tmp_path / "taxonomy.toml"
    path.write_text("name = ", encoding="utf-8")

    with pytest.raises(TaxonomyError, match=r"taxonomy\.toml is not valid TOML"):
        load_taxonomy(path)
    with pytest.raises(TaxonomyError, match="cannot be read"):
        load_taxonomy(tmp_path / "missing.toml")
