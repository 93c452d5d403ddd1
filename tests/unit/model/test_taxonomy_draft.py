"""Names of folders suggest classes that read every one of them, and a written file reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import (
    TaxonomyDraft,
    TaxonomyError,
    default_taxonomy,
    draft_from_taxonomy,
    format_taxonomy,
    has_several_subtypes,
    load_taxonomy,
    propose_draft,
)

OWN = """
name = "Gusseisen"
subtypes_per_specimen = "several"
separator = "-"
scale = "own chart"

[[size]]
name = "grob"
title_de = "grob \\"ab\\" 5"
min = 1
max = 3
[[size]]
name = "fein"
look_for = "thin lamellae"

[[subtype]]
name = "Lamellen"
sizes = ["grob", "fein"]
untrained = ["fein"]
[[subtype]]
name = "ledeburit"
title = "Ledeburit"
"""


def shapes(draft: TaxonomyDraft) -> dict[str, tuple[str, ...]]:
    return {subtype.name: subtype.sizes for subtype in draft.subtypes}


SHARED_WORDS = [
    (["G9-10", "G7", "G8", "K"], {"G": ("7", "8", "9-10"), "K": ()}),
    (
        ["spheroidite fine", "spheroidite_coarse", "network"],
        {"spheroidite": ("coarse", "fine"), "network": ()},
    ),
    (["Perlit sehr fein", "Perlit grob"], {"Perlit": ("grob", "sehr fein")}),
    (["lamellar 0.5", "lamellar 1.5"], {"lamellar": ("1.5", "0.5")}),
    (["pearlite+spheroidite", "pearlite"], {"pearlite+spheroidite": (), "pearlite": ()}),
    (["X1", "Y"], {"X1": (), "Y": ()}),
    (["1", "2"], {"1": (), "2": ()}),
]


def test_a_number_or_a_size_word_that_two_names_share_becomes_a_size():
    for names, expected in SHARED_WORDS:
        assert shapes(propose_draft(names)) == expected, names


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["G", "lath", "grün", "C56E2", "a b"]),
            st.sampled_from(["", "-", " ", "_"]),
            st.sampled_from(["", "1", "2", "9-10", "0,5", "coarse", "very fine", "x"]),
        ).map("".join),
        min_size=1,
        max_size=6,
    )
)
def test_every_name_that_was_proposed_from_is_read_by_the_proposed_taxonomy(names):
    try:
        taxonomy = propose_draft(names).build()
    except TaxonomyError:
        return  # two names are written alike; that is said with both names

    for name in names:
        assert taxonomy.parse(name)


def test_no_name_and_names_that_are_written_alike_are_refused():
    with pytest.raises(TaxonomyError, match="No class is named"):
        propose_draft([" "])
    with pytest.raises(TaxonomyError, match="written alike"):
        propose_draft(["Network", "network"])
    for other in ("lathmartensite", "Lath martensite", "lath–martensite"):
        with pytest.raises(TaxonomyError, match="written alike"):
            propose_draft(["lath-martensite", other])
    assert propose_draft(["9-10", "910"]).build().codes == ("9-10", "910")


def test_a_word_and_a_number_are_two_words_and_a_letter_and_a_number_one_code():
    taxonomy = propose_draft(["graphite12", "graphite 25", "G7", "G8"]).build()

    assert set(taxonomy.codes) == {"graphite 12", "graphite 25", "G7", "G8"}
    assert taxonomy.parse("graphite12") == ("graphite", "12")


def test_specimens_of_several_subtypes_are_found():
    taxonomy = propose_draft(["G7", "G8", "M8", "M7"]).build()

    assert has_several_subtypes(taxonomy, [{"G7"}, {"G8", "M8"}])
    assert not has_several_subtypes(taxonomy, [{"G7", "G8"}, {"M8"}])


@pytest.mark.parametrize("text", ["", OWN], ids=["default", "own"])
def test_a_taxonomy_that_was_written_reads_back_as_it_was(tmp_path, text):
    file = tmp_path / "taxonomy.toml"
    file.write_text(text, encoding="utf-8")
    before = load_taxonomy(file) if text else default_taxonomy()

    file.write_text(format_taxonomy(before), encoding="utf-8")

    assert load_taxonomy(file) == before


def test_a_draft_of_a_taxonomy_builds_it_again_and_keeps_texts_and_numbers(tmp_path):
    file = tmp_path / "taxonomy.toml"
    file.write_text(OWN.replace('separator = "-"\n', ""), encoding="utf-8")
    before = load_taxonomy(file)

    assert draft_from_taxonomy(before).build(before) == before
    assert draft_from_taxonomy(default_taxonomy()).build(default_taxonomy()) == default_taxonomy()
