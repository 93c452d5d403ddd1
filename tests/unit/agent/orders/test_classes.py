"""A lab's own classes: names as people write them, its own texts, and refusals that name both."""

from __future__ import annotations

import unicodedata
from types import SimpleNamespace

import pytest
from labs.judged_orders import WANTED, field, of, said_by
from labs.lab import DAY, RING_A

import reports
from agent.nightly.page.micrograph_cards import list_maps
from agent.orders.judge import conformity
from agent.orders.judge.judgement_rules import Rules
from agent.orders.judge.limit import find_bound, find_limit_fault, read_limit
from agent.orders.specifications.class_texts import (
    build_class_texts,
    name_code,
    name_criterion,
    name_scale,
)
from agent.orders.specifications.specification_history import TAXONOMY, note_taxonomy
from model import (
    Example,
    TaxonomyError,
    TrainingError,
    default_taxonomy,
    load_taxonomy,
    taxonomy_from,
)
from model.data.dataset import validate_examples

SPHEROIDITE = """
name = "UHCS"
subtypes_per_specimen = "several"
scale = "lab scale of coarseness"
scale_de = "Laborskala der Grobheit"

[[size]]
name = "coarse"
title_de = "grob"

[[size]]
name = "fine"

[[subtype]]
name = "spheroidite"
title_de = "Zementit, kugelig"
sizes = ["coarse", "fine"]
look_for = "Round carbides should carry it."
look_for_de = "Runde Karbide sollten den Ausschlag geben."

[[subtype]]
name = "spheroidite+widmanstätten"
"""


def written(tmp_path, text):
    path = tmp_path / "taxonomy.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def own(tmp_path):
    return load_taxonomy(written(tmp_path, SPHEROIDITE))


def test_names_that_would_run_together_are_joined_with_a_space(own):
    assert own.codes == ("spheroidite coarse", "spheroidite fine", "spheroidite+widmanstätten")
    for spelled in ("SpheroiditeCoarse", "spheroidite  Coarse", "spheroidite_coarse"):
        assert own.parse(spelled) == ("spheroidite", "coarse")


def test_codes_of_a_letter_and_a_number_stay_as_they_are():
    assert default_taxonomy().codes[0] == "B5"
    assert "separator" not in default_taxonomy().as_json()


def test_a_taxonomy_of_an_older_bundle_keeps_its_codes():
    old = {"size": [{"name": "coarse"}], "subtype": [{"name": "ferrite", "sizes": ["coarse"]}]}

    assert taxonomy_from(old).codes == ("ferritecoarse",)


def test_a_bundle_keeps_every_optional_key(own):
    assert taxonomy_from(own.as_json()) == own
    assert own.as_json()["subtypes_per_specimen"] == "several"


def test_a_folder_from_a_mac_is_the_same_code(own):
    folder = unicodedata.normalize("NFD", "Spheroidite+Widmanstätten")

    assert own.parse(folder) == ("spheroidite+widmanstätten", "")


def test_a_size_of_two_letters_that_a_mac_decomposed_is_found(tmp_path):
    text = '[[size]]\nname = "gröb"\n[[subtype]]\nname = "K"\nsizes = ["gröb"]\n'

    taxonomy = load_taxonomy(written(tmp_path, unicodedata.normalize("NFD", text)))

    assert taxonomy.codes == ("K gröb",)


WRITTEN_ALIKE = [
    ('[[subtype]]\nname = "Ferrit"\n[[subtype]]\nname = "FERRIT"\n', "'Ferrit' and 'FERRIT'"),
    ('[[subtype]]\nname = "a-b"\n[[subtype]]\nname = "a b"\n', "'a-b' and 'a b'"),
    ('[[subtype]]\nname = "a–b"\n[[subtype]]\nname = "A_b"\n', "'a–b' and 'A_b'"),
    (
        (
            '[[size]]\nname = "fein"\n[[size]]\nname = "Fein"\n[[subtype]]\nname = "K"\n'
            'sizes = ["fein", "Fein"]\n'
        ),
        "'fein' and 'Fein'",
    ),
    (
        (
            '[[size]]\nname = "12"\n[[size]]\nname = "2"\n[[subtype]]\nname = "K"\n'
            'sizes = ["2", "12"]\n[[subtype]]\nname = "K1"\nsizes = ["2"]\n'
        ),
        "'K12' and 'K1 2'",
    ),
    ('[[subtype]]\nname = "فريت"\n[[subtype]]\nname = "\u200fفريت"\n', "written alike"),
]


def test_names_that_are_written_alike_are_refused_with_both(tmp_path):
    for text, both in WRITTEN_ALIKE:
        path = written(tmp_path, text)

        with pytest.raises(TaxonomyError) as refused:
            load_taxonomy(path)

        assert both in str(refused.value), text
        assert str(path) in str(refused.value), text


def test_forty_letters_are_kept_and_forty_one_refused(tmp_path):
    load_taxonomy(written(tmp_path, f'[[subtype]]\nname = "{"ä" * 40}"\n'))

    with pytest.raises(TaxonomyError, match="41 letters, at most 40"):
        load_taxonomy(written(tmp_path, f'[[subtype]]\nname = "{"ä" * 41}"\n'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('titel = "x"\n[[subtype]]\nname = "K"\n', "unknown key 'titel'"),
        (
            '[[subtype]]\nname = "K"\nsize = ["1"]\n',
            "Did you mean sizes?",
        ),
        ('[[subtype]]\nname = "K"\nuntraind = []\n', "Did you mean untrained?"),
        ('[[size]]\nname = "1"\nmaximum = 3\n[[subtype]]\nname = "K"\n', "unknown key 'maximum'"),
        ('subtypes_per_specimen = "two"\n[[subtype]]\nname = "K"\n', "write 'one', or 'several'"),
    ],
)
def test_a_typo_in_a_key_is_an_error_that_names_the_nearest(tmp_path, text, message):
    with pytest.raises(TaxonomyError) as refused:
        load_taxonomy(written(tmp_path, text))

    assert message in str(refused.value)


# --- a specimen of several constituents ---------------------------------------------------------


def example(key, code, group):
    return Example(key, code, group, load=lambda: None)


def mixed():
    """Every specimen has both constituents, as images of one heat treatment do."""
    return [
        example(f"{specimen}-{code}", code, f"s{specimen}")
        for specimen in range(3)
        for code in ("spheroidite coarse", "spheroidite+widmanstätten")
    ]


def test_where_a_specimen_may_have_several_subtypes_nothing_is_refused(own):
    kept, _, notes = validate_examples(mixed(), own)

    assert len(kept) == 6
    assert not any("apart" in note for note in notes)


def test_where_it_has_one_the_refusal_names_the_way_out(tmp_path):
    one = load_taxonomy(written(tmp_path, SPHEROIDITE.replace('"several"', '"one"')))

    with pytest.raises(TrainingError, match='subtypes_per_specimen = "several"'):
        validate_examples(mixed(), one)


def test_a_specification_from_a_mac_demands_the_same_subtype():
    wanted = RING_A.model_validate(
        RING_A.model_dump() | {"subtype": [unicodedata.normalize("NFD", "Körnig")], "limit": ""}
    )

    assert wanted.subtype == ("Körnig",)


# --- limits and texts ---------------------------------------------------------------------------


def test_a_limit_names_a_size_by_its_name(own):
    limit = read_limit("Coarse or finer")

    bound = find_bound(limit, own.subtype("spheroidite"))

    assert bound is not None
    assert (bound.rank, bound.number) == (0, None)
    assert "has no sizes" in find_limit_fault(limit, ["spheroidite+widmanstätten"], own)


def test_pages_say_what_the_taxonomy_says_in_either_language(own):
    english = build_class_texts(own)
    with reports.speaking("de"):
        german = build_class_texts(own)

    assert english.clues["spheroidite"] == "Round carbides should carry it."
    assert german.clues["spheroidite"] == "Runde Karbide sollten den Ausschlag geben."
    assert (english.scale, german.scale) == ("lab scale of coarseness", "Laborskala der Grobheit")
    assert name_scale(own) == "Size numbers: lab scale of coarseness."


def test_without_texts_the_defaults_are_plain(tmp_path):
    plain = load_taxonomy(written(tmp_path, '[[subtype]]\nname = "K"\n[[subtype]]\nname = "P"\n'))

    assert (name_scale(plain), name_criterion(plain)) == ("", "")


def test_a_change_of_texts_is_no_change_of_the_taxonomy(lab, own, tmp_path):
    changed = SPHEROIDITE.replace("Round carbides", "Globules").replace("grob", "sehr grob")

    note_taxonomy(lab.store, own, now=DAY)
    note_taxonomy(lab.store, load_taxonomy(written(tmp_path, changed)), now=DAY)

    assert len(lab.store.records.all(TAXONOMY)) == 1


# --- a subtype without sizes on a card ----------------------------------------------------------


def test_a_subtype_without_sizes_has_no_map_of_a_size():
    answer = SimpleNamespace(subtype="P", size="", structure_code="P")

    maps = list_maps(SimpleNamespace(result=answer))

    assert [which for which, *_ in maps] == ["subtype", "strangeness"]
    assert "arbide" not in maps[0][2]


def test_a_german_sentence_has_the_german_titles_of_a_code_and_g8_stays_g8(own):
    wanted = WANTED.model_copy(update={"subtype": ("spheroidite",), "limit": "fine or finer"})
    rules = Rules(specification=wanted, taxonomy=own)
    coarse = "spheroidite coarse"
    fields = [field(1, code=coarse, codes=(coarse,), decided=said_by(coarse))]

    def judged(language):
        with reports.speaking(language):
            return "; ".join(conformity.judge_specimen(of(fields), rules).because)

    assert "field 1 is spheroidite coarse, confirmed by R. Stahl" in judged("en")
    assert "Zementit, kugelig grob" in judged("de")
    assert coarse not in judged("de")
    with reports.speaking("de"):
        assert name_code("spheroidite fine", own) == "Zementit, kugelig fine"  # no title of its own
        assert name_code("G8", default_taxonomy()) == "G8"
