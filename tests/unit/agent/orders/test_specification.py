"""What a customer demands is read to the last key; what nobody can judge is named, not guessed."""

from datetime import UTC, date, datetime, timedelta

import pytest

import reports
from agent.orders import SpecificationError, iter_faults, read_specifications
from agent.orders.judge.judgement_rules import Rules
from agent.orders.judge.limit import Direction, Limit
from agent.orders.specifications.specification_history import (
    SpecificationHistory,
    SpecificationState,
)
from model import default_taxonomy, load_taxonomy

ENTRY = """
[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
chart = "in-house needle chart, rev. 3"
material = "100Cr6"
subtype = ["G"]
limit = "7 or finer"
criterion = "mean"
fields = 5
area_mm2 = 0.2
specimen_rule = "worst_field"
"""
TAXONOMY = default_taxonomy()
DAY = date(2026, 11, 25)


@pytest.fixture
def read(tmp_path):
    def reading(text):
        file = tmp_path / "specifications.toml"
        file.write_text(text, encoding="utf-8")
        return read_specifications(file)

    return reading


def said(read, text):
    with pytest.raises(SpecificationError) as refused:
        read(text)
    return str(refused.value)


def test_an_entry_is_read_as_it_is_written(read):
    (entry,) = read(ENTRY).entries

    assert entry.bound == Limit("7", Direction.FINER)
    assert entry.demand == "G, 7 or finer (mean)"
    assert list(iter_faults(read(ENTRY), TAXONOMY)) == []


def test_a_lab_without_the_file_has_no_specifications(tmp_path):
    assert read_specifications(tmp_path / "specifications.toml").entries == ()


FAULTS = [
    ('name = "ring-a"', 'naem = "ring-a"', "no key is called naem. Did you mean name?"),
    ('approved_by = "R. Stahl"', "", "approved_by is missing"),
    ('"7 or finer"', '"at least 7"', 'a limit is written "7 or finer"'),
    ('material = "100Cr6"', "", "it would apply to all"),
    ('criterion = "mean"', 'criterion = "max"', 'criterion "max" such a share'),
    ('criterion = "mean"', 'needle_limit = "L90 25"', 'is written "L90 <= 25 µm"'),
    ('criterion = "mean"', 'longest_in_mm2 = "45 µm"', 'limited by "100 mm²: 45 µm"'),
    ("fields = 5", "fields = 0", "fields: must be greater than or equal to 1"),
    ("fields = 5", 'fields = "one"', "fields: must be a whole number, found 'one'"),
    ("fields = 5", "fields = 1.5", "fields: must be a whole number, found 1.5"),
    ("area_mm2 = 0.2", 'area_mm2 = "x"', "area_mm2: must be a number, found 'x'"),
    ("fields = 5", "fields = 5\nheat = 4", "no key is called heat"),
    ('name = "ring-a"', "name = 7", "name: must be text in quotes, found 7"),
    ('name = "ring-a"', 'name = "ring\\na"', "letters that cannot be shown"),
    ('"worst_field"', '"best_field"', "specimen_rule"),
    ("area_mm2 = 0.2", 'decision_rule = "simple"', "decision_rule"),
    ("[[specification]]", "[specification]", "expected [[specification]] entries"),
    ("fields = 5", "fields = ", "nothing is written after the equals sign"),
]


def test_a_fault_is_said_with_file_entry_and_key(read):
    for line, with_, fault in FAULTS:
        sentence = said(read, ENTRY.replace(line, with_))

        assert "specifications.toml" in sentence, line
        assert fault in sentence, line


@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        ("12 or finer", "subtype G has no size 12; known are 5, 6, 7, 8, 9-10"),
        ("9 or coarser", "cuts the size 9-10 of subtype G in two"),
        ("10 or finer", "cuts the size 9-10 of subtype G in two"),
    ],
)
def test_a_limit_that_names_no_size_is_named(read, limit, fault):
    (sentence,) = iter_faults(read(ENTRY.replace("7 or finer", limit)), TAXONOMY)

    assert "ring-a" in sentence
    assert fault in sentence


@pytest.mark.parametrize("limit", ["5 or finer", "9 or finer", "9-10 or finer", "10 or coarser"])
def test_a_limit_at_the_edge_of_a_size_can_be_judged(read, limit):
    assert list(iter_faults(read(ENTRY.replace("7 or finer", limit)), TAXONOMY)) == []


def test_an_unknown_subtype_is_named(read):
    (sentence,) = set(
        iter_faults(read(ENTRY.replace('"G"', '"X"').replace("limit", "#")), TAXONOMY)
    )

    assert "no subtype 'X'; known are B, G, M" in sentence


def test_the_order_finds_what_is_demanded_of_it(read):
    choice = read(ENTRY).for_order({"material": "100cr6"}, on=DAY)

    assert choice.specification.name == "ring-a"


def test_two_that_both_apply_are_named_and_none_is_chosen(read):
    both = read(ENTRY + ENTRY.replace("ring-a", "ring-b") + 'customer = "Adler"\n')
    choice = both.for_order({"material": "100Cr6", "customer": "Adler"}, on=DAY)

    (sentence,) = iter_faults(both, TAXONOMY)
    assert (choice.specification, choice.is_torn) == (None, True)
    assert "ring-a and ring-b both apply" in choice.sentence
    assert "ring-a and ring-b both apply" in sentence


def test_an_order_may_name_its_specification_outright(read):
    both = read(ENTRY + ENTRY.replace("ring-a", "ring-b"))

    choice = both.for_order({"material": "100Cr6", "specification": "ring-b"}, on=DAY)

    assert choice.specification.name == "ring-b"


def test_the_version_in_force_on_the_day_of_the_order_holds(read):
    newer = ENTRY.replace("2026-01-01", "2026-06-01").replace("7 or finer", "8 or finer")
    both = read(ENTRY + newer)

    found = {
        day: both.for_order({"material": "100Cr6"}, on=day)
        for day in (date(2025, 12, 31), date(2026, 3, 1), date(2026, 6, 1))
    }
    limits = [choice.specification and choice.specification.limit for choice in found.values()]

    assert limits == [None, "7 or finer", "8 or finer"]
    assert "not valid on 2025-12-31" in found[date(2025, 12, 31)].sentence
    assert list(iter_faults(both, TAXONOMY)) == []


def test_an_order_nobody_speaks_of_is_said_to_have_no_limit(read):
    choice = read(ENTRY).for_order({"material": "C56E2"}, on=DAY)

    assert choice.sentence == "no specification limit is set for material C56E2"


def test_the_sample_in_the_guide_can_be_judged(read):
    page = reports.read_guide("orders")
    sample = page.partition("## Write a specification")[2].split("```")[1].removeprefix("toml")

    (entry,) = read(sample).entries

    assert entry.demand == "G, 8 or finer (mean)"
    assert list(iter_faults(read(sample), TAXONOMY)) == []


@pytest.mark.parametrize(
    ("line", "with_", "fault"),
    [
        ('limit = "7 or finer"\ncriterion = "mean"', 'criterion = "max"\narea_threshold = 0.2',
         "need a limit"),
        ('limit = "7 or finer"', 'specimen_rule = "mean_of_fields"', "need a limit"),
        ('material = "100Cr6"', 'material = "  "', "it would apply to all"),
        ('approved_by = "R. Stahl"', 'approved_by = " "', "approved_by"),
        ("area_mm2 = 0.2", "area_mm2 = inf", "area_mm2: must be a finite number"),
        ("area_mm2 = 0.2", "area_mm2 = true", "area_mm2: must be a number, found True"),
        ("fields = 5", "fields = true", "fields: must be a whole number, found True"),
        ("fields = 5", "fields = 5\nspecimens = true", "specimens: must be a whole number"),
        ("fields = 5", "fields = 5\num_per_px = [0.1, true]", "um_per_px: must be a number"),
    ],
)  # fmt: skip
def test_a_demand_that_would_be_passed_over_is_a_fault(read, line, with_, fault):
    text = ENTRY.replace('specimen_rule = "worst_field"\n', "")

    assert fault in said(read, text.replace(line, with_))


def test_an_entry_that_is_no_table_is_named(read):
    assert "expected [[specification]] entries, found 7" in said(read, "specification = [7]")


def test_a_newer_version_ends_the_older_one_for_everybody(read):
    narrower = ENTRY.replace("2026-01-01", "2026-06-01") + 'customer = "Adler"\n'
    both = read(ENTRY + narrower)

    found = {
        who: both.for_order({"material": "100Cr6", "customer": who}, on=DAY)
        for who in ("Adler", "Falke")
    }

    assert found["Adler"].specification.valid_from == date(2026, 6, 1)
    assert found["Falke"].specification is None
    assert found["Falke"].sentence == "ring-a speaks of other orders since 2026-06-01"


def test_a_version_that_was_replaced_clashes_with_nobody(read):
    replaced = ENTRY.replace("2026-01-01", "2026-06-01") + 'customer = "Adler"\n'
    third = replaced.replace("ring-a", "ring-b").replace("Adler", "Falke")

    assert list(iter_faults(read(ENTRY + replaced + third), TAXONOMY)) == []


def test_of_two_versions_from_the_same_day_none_is_chosen(read):
    twice = read(ENTRY + ENTRY.replace("7 or finer", "8 or finer"))

    assert twice.for_order({"material": "100Cr6"}, on=DAY).is_torn
    assert "twice, both valid from 2026-01-01" in next(iter_faults(twice, TAXONOMY))


# --- limits of subtypes -------------------------------------------------------------------------

OWN = """
name = "Ball bearing steel"
[[size]]
name = "coarse"
[[size]]
name = "medium"
[[size]]
name = "fine"
[[subtype]]
name = "network"
[[subtype]]
name = "widmanstätten"
[[subtype]]
name = "globular"
sizes = ["coarse", "medium", "fine"]
[[subtype]]
name = "lamellar"
sizes = ["coarse", "fine"]
"""
MIXED = ENTRY.replace('subtype = ["G"]', 'subtype = ["network", "widmanstätten", "globular"]')


@pytest.fixture
def own(tmp_path):
    (tmp_path / "taxonomy.toml").write_text(OWN, encoding="utf-8")
    return load_taxonomy(tmp_path / "taxonomy.toml")


@pytest.mark.parametrize(
    "line", ['limit = "medium or finer"', 'limits = { globular = "medium or finer" }']
)
def test_a_limit_is_judged_beside_subtypes_without_sizes(read, own, line):
    specifications = read(MIXED.replace('limit = "7 or finer"', line))
    rules = Rules(specifications.entries[0], own)

    assert list(iter_faults(specifications, own)) == []
    assert [rules.keeps(code) for code in ("network", "widmanstätten", "globular medium")] == [
        True
    ] * 3
    assert rules.breaks("globular coarse")
    assert not rules.keeps("globular coarse")
    assert [rules.limit_words(code) for code in ("network", "globular fine")] == [
        "",
        "medium or finer",
    ]


def test_each_subtype_may_have_a_limit_of_its_own(read, own):
    text = MIXED.replace('"globular"]', '"globular", "lamellar"]')
    limits = 'limits = { lamellar = "fine or finer" }\nlimit = "medium or finer"'
    (wanted,) = read(text.replace('limit = "7 or finer"', limits)).entries
    rules = Rules(wanted, own)

    assert rules.fault == ""
    assert rules.breaks("lamellar coarse")
    assert rules.keeps("globular medium")
    assert "lamellar fine or finer, medium or finer" in wanted.demand


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('limits = { network = "medium or finer" }', "subtype network has no sizes"),
        ('limits = { globular = "grey or finer" }', "subtype globular has no size grey"),
    ],
)
def test_a_limit_of_a_subtype_that_cannot_be_judged_is_named(read, own, line, fault):
    specifications = read(MIXED.replace('limit = "7 or finer"', line))

    (sentence,) = iter_faults(specifications, own)

    assert fault in sentence
    assert fault in Rules(specifications.entries[0], own).fault


def test_a_limit_of_a_subtype_that_is_not_allowed_is_refused(read):
    line = 'limits = { lamellar = "fine or finer" }'

    with pytest.raises(SpecificationError, match="limits names 'lamellar', which subtype does not"):
        read(MIXED.replace('limit = "7 or finer"', line))


def test_a_subtype_with_sizes_is_not_forgotten_where_others_have_limits(read, own):
    text = MIXED.replace('"globular"]', '"globular", "lamellar"]')

    (sentence,) = iter_faults(
        read(text.replace('limit = "7 or finer"', 'limits = { lamellar = "fine or finer" }')), own
    )

    assert "subtype globular has sizes and no limit" in sentence


@pytest.mark.parametrize("written", ["Müller", "MU\u0308LLER", "Mu\u0308ller", "Mül\u200bler"])
def test_a_customer_is_the_same_however_its_letters_are_composed(read, written):
    for_all = ENTRY + ENTRY.replace("7 or finer", "8 or finer").replace(
        'name = "ring-a"', 'name = "ring-m"\ncustomer = "Müller"'
    )

    chosen = read(for_all).for_order({"material": "100Cr6", "customer": written}, on=DAY)

    assert chosen.specification is None or chosen.specification.name == "ring-m"


def test_a_faulty_version_attaches_itself_to_no_order(read, own):
    morning, noon = (datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in (6, 12))
    faulty = read(MIXED)  # there is no size 7
    mended = read(MIXED.replace("7 or finer", "medium or finer"))
    history = SpecificationHistory(
        (SpecificationState(1, morning, faulty), SpecificationState(2, noon, mended))
    )

    def chosen(current):
        choice = history.choose(
            {"material": "100Cr6"},
            at=morning + timedelta(hours=1),
            zone="UTC",
            since=morning + timedelta(hours=1),
            current=current,
            can_judge=lambda wanted: not Rules(wanted, own).fault,
        )
        return choice.specification

    assert chosen(mended) == mended.entries[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [("Pacific/Honolulu", "Pacific/Kiritimati"), ("Pacific/Kiritimati", "Pacific/Honolulu")],
)
def test_another_time_zone_moves_no_order_that_was_released_to_another_day(read, before, after):
    strict = ENTRY.replace("7 or finer", "8 or finer") + "valid_until = 2026-11-24\n"
    loose = ENTRY.replace("2026-01-01", "2026-11-25")
    both = read(strict + loose)
    released = datetime(2026, 11, 25, 1, tzinfo=UTC)
    states = (
        SpecificationState(1, released - timedelta(days=1), both, before),
        SpecificationState(5, released + timedelta(days=1), both, after),
    )

    def chosen(zone, last):
        choice = SpecificationHistory(states).choose(
            {"material": "100Cr6"}, at=released, zone=zone, since=released, last=last, current=both
        )
        return choice.specification

    assert chosen(after, 3) == chosen(before, 3)
    assert chosen(after, 6) != chosen(after, 3), "reopened, or released, after the edit"
