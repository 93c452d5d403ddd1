"""The order in which a taxonomy lists its sizes decides what is finer, never digits in a name."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from labs.judged_orders import steels
from labs.lab import DAY, RING_A, Lab, crop_of, facts_of, prediction_of
from labs.ordering import DEMAND, SETTINGS, OrderingLab

from agent.files.pictures import encode_png
from agent.orders import Specifications
from agent.orders.facts.order_policy import taxonomy_in_force
from agent.orders.facts.specimen_facts import Allowance, FieldDecision, FieldFacts, SpecimenFacts
from agent.orders.judge import conformity
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.judgement_rules import Rules
from agent.orders.judge.limit import read_limit
from agent.orders.judge.method_validation import (
    ValidationCase,
    build_record,
    load_allowances,
    save_record,
    set_permission,
)
from agent.orders.lims import outbox
from agent.orders.specifications.specification import list_valid_limits
from agent.roundrobin.campaign import is_near
from agent.roundrobin.capability import Measured, StudyRun, at_limit, scatter
from agent.roundrobin.msa_study import limits_in
from agent.settings import read
from agent.store import Decision, MicrographResult
from agent.triage import Handling, TriageVerdict
from model import size_kappa, taxonomy_from

MATERIAL, BUNDLE, MEAN = "100Cr6", "20261101-0badcafe", "mean_of_fields"


def demand(limit, taxonomy, **more):
    wanted = RING_A.model_copy(update={"limit": limit, "fields": 2} | more)
    return Rules(wanted, taxonomy, material=MATERIAL)


def judge(rules, *codes):
    """Judge a specimen whose fields were labelled with these codes."""
    fields = [
        FieldFacts(
            id=f"{number:016x}",
            name=str(number),
            code=code,
            codes=(code,),
            decided=FieldDecision("code", code, "R. Stahl", "unrecorded"),
            um_per_px=0.1,
            done_at=DAY,
            area_mm2=0.1,
            material=MATERIAL,
        )
        for number, code in enumerate(codes, start=1)
    ]
    return conformity.judge_specimen(SpecimenFacts("01", "1", tuple(fields)), rules)


@pytest.mark.parametrize(
    ("sizes", "limit", "coarse", "fine"),
    [
        (("20", "10", "5"), "10 or finer", "G20", "G10"),
        (("coarse", "medium", "fine"), "medium or finer", "Gcoarse", "Gmedium"),
        (("0.5", "1", "2"), "1 or finer", "G0.5", "G1"),
        (("grob", "mittel grob", "größer fein"), "Mittel Grob or finer", "Ggrob", "Gmittel grob"),
        (("3 coarse", "2 medium", "1 fine"), "2 medium or finer", "G3 coarse", "G1 fine"),
    ],
)
def test_a_size_listed_before_the_limit_does_not_conform_and_a_later_one_does(
    sizes, limit, coarse, fine
):
    rules = demand(limit, steels(*sizes))

    assert judge(rules, coarse, coarse).conformity == "does_not_conform"
    assert judge(rules, fine, fine).conformity == "conforms"


def test_a_limit_that_names_no_size_lets_nothing_conform():
    statement = judge(demand("0 or finer", steels("coarse", "medium", "fine")), "Gcoarse", "Gfine")

    assert statement.conformity == "undecided"
    assert statement.missing == ("subtype G has no size 0; known are coarse, medium, fine",)


def test_spec_check_refuses_a_limit_that_names_no_size_and_lists_the_known_ones(tmp_path, capsys):
    ordering = OrderingLab(tmp_path, capsys)
    lay_down(ordering, ["coarse", "medium", "fine"], "0 or finer")

    refused = ordering.agent("spec", "list", "--check")
    why = ordering.err
    lay_down(ordering, ["coarse", "medium", "fine"], "medium or finer")
    accepted = ordering.agent("spec", "list", "--check")
    ordering.store.close()

    assert (refused, accepted) == (2, 0)
    assert "ring-a: limit: subtype G has no size 0; known are coarse, medium, fine" in why


def test_an_order_with_coarse_labels_does_not_conform_where_the_numbers_fall(tmp_path, capsys):
    ordering = OrderingLab(tmp_path, capsys)
    ordering.check()
    for field in (1, 2, 3):
        ordering.take(field)
    lay_down(ordering, ["20", "10", "5"], "10 or finer")
    for view in ordering.store.results.iter_all():
        ordering.confirm(view.id, "G20", why="measured in µm")

    document = ordering.order()
    ordering.store.close()

    assert document["conformity"] == "does_not_conform"
    assert "field 1 is G20, confirmed by Ada: 10 or finer is demanded" in document["because"][0]


def lay_down(ordering, sizes, limit, more=""):
    """Write a lab's own taxonomy and its limit."""
    entries = "".join(f'[[size]]\nname = "{name}"\n' for name in sizes)
    subtype = f'[[subtype]]\nname = "G"\nsizes = {sizes!r}\n'.replace("'", '"')
    (ordering.folder / "taxonomy.toml").write_text(entries + subtype, encoding="utf-8")
    own = f'\n[model]\ntaxonomy = "{(ordering.folder / "taxonomy.toml").as_posix()}"\n'
    (ordering.folder / "agent.toml").write_text(SETTINGS + own, encoding="utf-8")
    text = DEMAND.replace("8 or finer", limit) + more
    (ordering.folder / "specifications.toml").write_text(text, encoding="utf-8")


def test_a_taxonomy_that_contradicts_itself_is_named_with_file_and_entries(tmp_path, capsys):
    ordering = OrderingLab(tmp_path, capsys)
    lay_down(ordering, ["20", "5", "10"], "10 or finer")

    code, why = ordering.agent("spec", "list", "--check"), ordering.err
    ordering.store.close()

    assert code == 2
    assert "taxonomy.toml: Subtype G: the numbers rise from size '5' (5) to '10' (10)" in why


# --- the mean of fields -------------------------------------------------------------------------


MEANS = [
    (("20", "10", "5"), "10 or finer", ("G20", "G10"), "does_not_conform"),  # 15 µm
    (("20", "10", "5"), "10 or finer", ("G10", "G5"), "conforms"),  # 7.5 µm
    (("20", "10", "5"), "10 or coarser", ("G20", "G5"), "conforms"),  # 12.5 µm
    (("0.3", "0.2", "0.1"), "0.2 or finer", ("G0.1", "G0.3"), "conforms"),  # 0.2 µm
    (("0.3", "0.2", "0.1"), "0.2 or finer", ("G0.2", "G0.3"), "does_not_conform"),
    (
        ("0.3", "0.2", "0.1"),
        "0.1 or finer",
        ("G0.1",) * 3,
        "conforms",
    ),  # 0.1 is no binary number
    (("5", "6", "7", "8"), "7 or finer", ("G6", "G8"), "conforms"),
]


def test_a_mean_is_that_of_the_numbers_and_of_micrometres_less_is_finer():
    for sizes, limit, codes, word in MEANS:
        rules = demand(limit, steels(*sizes), specimen_rule="mean_of_fields")

        assert judge(rules, *codes).conformity == word, sizes


def test_of_what_the_model_cannot_exclude_the_coarsest_counts_in_a_mean_of_micrometres():
    sizes = ("20", "10", "5")
    rules = allowing("10 or finer", steels(*sizes), "10 or finer", sizes, specimen_rule=MEAN)
    sure = alone(rules, ("G5",), ("G10",))
    unsure = alone(rules, ("G5",), ("G20", "G10"))

    assert sure.conformity == "conforms"
    assert unsure.missing == ("the mean of 2 fields could be 12.5, 10 or finer is demanded",)


def test_a_mean_of_decimals_is_said_to_the_digits_that_decide():
    rules = demand("0.2 or finer", steels("0.3", "0.2", "0.1"), specimen_rule="mean_of_fields")

    assert judge(rules, "G0.2", "G0.3").because == (
        "the mean of 2 fields is 0.25, confirmed by R. Stahl: 0.2 or finer is demanded",
    )


def test_the_mean_of_named_sizes_is_refused_by_the_check_and_proves_nothing(tmp_path, capsys):
    taxonomy = steels("coarse", "medium", "fine")
    rules = demand("medium or finer", taxonomy, specimen_rule="mean_of_fields")
    ordering = OrderingLab(tmp_path, capsys)
    lay_down(
        ordering,
        ["coarse", "medium", "fine"],
        "medium or finer",
        'specimen_rule = "mean_of_fields"',
    )

    code, why = ordering.agent("spec", "list", "--check"), ordering.err
    ordering.store.close()

    assert judge(rules, "Gfine", "Gfine").conformity == "undecided"
    assert code == 2
    assert "specimen_rule: mean_of_fields needs a number for each size" in why


@pytest.mark.parametrize("hours", [5, 0])
def test_the_order_of_reading_a_backlog_does_not_decide_which_fields_came_first(
    tmp_path, capsys, hours
):
    ordering = OrderingLab(tmp_path, capsys)
    ordering.check()
    demanded = DEMAND.replace("fields = 3", f'fields = 2\nspecimen_rule = "{MEAN}"')
    (tmp_path / "specifications.toml").write_text(demanded, encoding="utf-8")
    sizes = {3: "G9-10", 4: "G9-10", 1: "G7", 2: "G7"}
    exported_ns = int((ordering.at - timedelta(days=1)).timestamp() * 1e9)
    later_ns = exported_ns + hours * 3600 * 10**9
    claims = {
        field: ordering.lab.arrive(
            f"4711_01_{field}.tif", at=ordering.at, mtime_ns=exported_ns if field < 3 else later_ns
        )
        for field in sizes
    }
    for minute, (field, code) in enumerate(sizes.items()):
        at = ordering.at + timedelta(minutes=minute)
        pixels = np.random.default_rng(field).integers(0, 256, (120, 160, 3), np.uint8)
        ordering.confirm(
            ordering.take(field, code, at=at, claim=claims[field], pixels=pixels), code
        )

    (specimen,) = ordering.order()["specimens"]
    ordering.store.close()

    assert specimen["conformity"] == "undecided"
    assert specimen["missing"][0].startswith("the mean of the first 2 fields could be 7.0, 8 or")


# --- the model alone ----------------------------------------------------------------------------


def alone(rules, *sets, **more):
    """Judge fields that nobody labelled, each with its prediction set, the answer last."""
    fields = [
        FieldFacts(
            id=f"{number:016x}",
            name=str(number),
            code=codes[-1],
            codes=codes,
            um_per_px=0.1,
            done_at=DAY,
            area_mm2=0.1,
            bundle=BUNDLE,
            material=MATERIAL,
            **more,
        )
        for number, codes in enumerate(sets, start=1)
    ]
    return conformity.judge_specimen(SpecimenFacts("01", "1", tuple(fields)), rules)


def allowing(limit, taxonomy, validated, sizes=(), **more):
    allowance = Allowance(
        MATERIAL,
        BUNDLE,
        validated,
        "G",
        300,
        0,
        0.01,
        "R. Stahl",
        um_per_px=(0.05, 0.2),
        since=DAY - timedelta(days=1),
        sizes=sizes,
    )
    return replace(demand(limit, taxonomy, **more), allowances=(allowance,))


PERMISSIONS = [
    # a record of before, of sizes whose numbers rise: it compared them rightly
    (("7", "8", "9-10"), "9-10 or finer", "9 or finer", (), "conforms"),
    (("7", "8", "9-10"), "9 or finer", "9 or finer", (), "conforms"),
    # a record of before, of sizes whose numbers fall or that have none: it counted other fields
    (("20", "10", "5"), "5 or finer", "5 or finer", (), "undecided"),
    (("coarse", "fine"), "fine or finer", "fine or finer", (), "undecided"),
    (("0.5", "5"), "5 or finer", "5 or finer", (), "undecided"),
    # a record that names the order it compared
    (("20", "10", "5"), "5 or finer", "5 or finer", ("20", "10", "5"), "conforms"),
    (("20", "10", "5"), "5 or finer", "5 or finer", ("5", "10", "20"), "undecided"),
    (("9", "5"), "5 or finer", "5 or finer", ("4-5", "3"), "undecided"),
    (("40", "20", "10", "5"), "5 or finer", "5 or finer", ("20", "10", "5"), "conforms"),
    (("20", "10", "5"), "5 or finer", "10 or finer", ("20", "10", "5"), "undecided"),
    (("coarse", "fine"), "Fine or finer", "fine or finer", ("coarse", "fine"), "conforms"),
]


def test_a_permission_holds_where_its_record_compared_the_same_order():
    for listed, limit, validated, sizes, word in PERMISSIONS:
        taxonomy = steels(*listed)
        finest = "G" + listed[-1]

        statement = alone(allowing(limit, taxonomy, validated, sizes), (finest,), (finest,))

        assert statement.conformity == word, listed


def test_a_validation_record_counts_by_the_listed_order_and_names_it():
    taxonomy = steels("20", "10", "5")
    cases = [
        ValidationCase("1", "G20", ("G5",), automatic=True),
        ValidationCase("2", "G5", ("G5",), automatic=True),
    ]

    limits = build_record(cases, taxonomy)["limits"]

    finer, coarser = ["G 10 or finer", "G 5 or finer"], ["G 20 or coarser", "G 10 or coarser"]
    assert list(limits) == ["G", *finer, *coarser]
    counted = limits["G 10 or finer"]
    assert (counted["n"], counted["wrong"]) == (1, 1)
    assert (counted["subtype"], counted["limit"]) == ("G", "10 or finer")
    assert counted["sizes"] == ["20", "10", "5"]


def test_a_subtype_of_two_words_keeps_its_validated_limit(tmp_path):
    lab = Lab(tmp_path)
    taxonomy = taxonomy_from(
        {
            "size": [{"name": "coarse"}, {"name": "fine"}],
            "subtype": [{"name": "fine pearlite", "sizes": ["coarse", "fine"]}],
        }
    )
    code = "fine pearlitefine"
    coarse = "fine pearlitecoarse"
    cases = [
        *(
            ValidationCase(f"c{n}", coarse, (coarse,), automatic=True, um_per_px=0.1)
            for n in range(3)
        ),
        *(ValidationCase(f"f{n}", code, (code,), automatic=True, um_per_px=0.1) for n in range(3)),
    ]
    facts = build_record(cases, taxonomy)
    save_record(lab.store, MATERIAL, BUNDLE, facts, by="Ada", at=DAY)
    set_permission(
        lab.store,
        MATERIAL,
        on=True,
        bundle=BUNDLE,
        most=0.99,
        by="R. Stahl",
        reason="valid",
        at=DAY,
    )

    found = [
        (allowance.subtype, allowance.limit)
        for allowance in load_allowances(lab.store)
        if allowance.limit
    ]
    lab.store.close()

    assert found == [("fine pearlite", "fine or finer"), ("fine pearlite", "coarse or coarser")]


@pytest.mark.parametrize(
    ("limit", "share", "word"),
    [
        ("10 or finer", {"20": 0.0, "10": 0.1, "5": 0.9}, "conforms"),
        ("10 or finer", {"20": 0.0, "10": 0.3, "5": 0.9}, "undecided"),
    ],
)
def test_by_the_extreme_regions_the_share_before_the_limit_in_the_list_counts(limit, share, word):
    taxonomy = steels("20", "10", "5")
    sizes = ("20", "10", "5")
    rules = allowing(limit, taxonomy, limit, sizes, criterion="max", area_threshold=0.2)

    assert alone(rules, ("G5",), ("G10",), coarser_share=share).conformity == word


# --- what else goes by the order ----------------------------------------------------------------


def test_a_limit_that_names_no_size_is_no_limit_in_use():
    known = [RING_A.model_copy(update={"limit": one}) for one in ("10 or finer", "7 or finer")]

    in_use = list_valid_limits(Specifications(tuple(known)), steels("20", "10", "5"), on=DAY.date())

    assert list(in_use) == ["G 10 or finer"]
    assert [in_use["G 10 or finer"](code) for code in ("G20", "G10", "G5")] == [False, True, True]


def test_the_kappa_of_sizes_takes_the_listed_order_for_neighbours():
    taxonomy = steels("coarse", "medium", "fine", "a bit finer")
    near = [("Gcoarse", "Gmedium"), ("Gfine", "Gfine"), ("Ga bit finer", "Ga bit finer")]
    far = [("Gcoarse", "Ga bit finer"), ("Gfine", "Gfine"), ("Ga bit finer", "Gcoarse")]

    assert size_kappa(near, taxonomy).value > 0.8
    assert size_kappa(far, taxonomy).value < 0


def test_a_measuring_system_is_judged_and_split_by_the_listed_order():
    taxonomy = steels("coarse", "medium", "fine")
    runs = [StudyRun(n, 1, f"S{n % 2}", "A", "L", 1 + n // 2) for n in range(4)]
    said = ("Gcoarse", "Gfine", "Gmedium", "Gfine")
    true = ("Gcoarse", "Gfine", "Gcoarse", "Gfine")
    some = [Measured(*one) for one in zip(runs, true, said, strict=True)]

    (found,) = [at_limit(some, name, one, taxonomy) for name, one in limits_in(some, taxonomy)]
    split = scatter(some, taxonomy)

    assert str(found.limit) == "fine or finer"
    assert (found.miss.count, found.miss.n) == (0, 2)
    assert at_limit(some, "G", read_limit("medium or finer"), taxonomy).miss.count == 1
    assert split.by_rank
    assert split.sources[-1].variance == pytest.approx(0.25)  # places 0, 1 and 2, 2
    assert is_near("Gmedium", [("G", read_limit("fine or finer"))], taxonomy)


def test_a_result_without_size_numbers_is_kept_and_sent_without_them(tmp_path):
    lab = Lab(tmp_path)
    taxonomy = steels("coarse", "fine")
    crop = crop_of("c" * 64, np.full((8, 10, 3), 90, np.uint8))
    named = {"structure_code": "Gfine", "size": "fine", "prediction_set": ("Gfine",)}
    prediction = replace(prediction_of("G8"), size_min=None, size_max=None, **named)
    keys = {"order": "4711", "specimen": "1", "field": "1", "material": MATERIAL}
    finding = MicrographResult(
        facts_of(crop), keys, {}, prediction, TriageVerdict(Handling.AUTOMATIC, ()), {}
    )
    lab.store.work_queue.finish(lab.arrive("field.tif", at=DAY), [finding], at=DAY)
    lab.places.compare_pending(at=DAY)
    lab.store.labels.decide(crop.id, Decision("code", "Ada", code="Gfine"), at=DAY)
    wanted = RING_A.model_copy(update={"limit": "fine or finer"})
    rules = OrderPolicy(Specifications((wanted,)), taxonomy)
    (tmp_path / "outbox").mkdir()

    site = outbox.OutboxFormat("1", ("csv",))
    outbox.record_revisions(lab.store, rules, site, now=DAY)
    outbox.write_pending(lab.store, rules, site, tmp_path / "outbox", now=DAY)
    view = lab.store.results.find(crop.id)
    lab.store.close()

    (sent,) = (tmp_path / "outbox").glob("*.csv")
    (row,) = csv.DictReader(sent.read_text("utf-8").splitlines())
    assert (view.result.size_min, view.result.size_max) == (None, None)
    assert (row["conformity"], row["structure_code"]) == ("conforms", "Gfine")
    assert (row["size_min"], row["size_max"]) == ("", "")


def test_an_earlier_preparation_is_coarser_by_the_list(tmp_path, capsys):
    ordering = OrderingLab(tmp_path, capsys)
    ordering.check()
    lay_down(ordering, ["20", "10", "5"], "10 or finer")
    first = ordering.take(1)
    ordering.confirm(first, "G20", why="measured in µm")
    picture = tmp_path / "dark.png"
    picture.write_bytes(encode_png(np.full((8, 10, 3), 20, np.uint8)))
    words = ("--by", "R. Stahl", "--reason", "too dark", "--defect", "over_etched")
    code = ordering.agent(
        "orders", "supersede", "4711", "--specimen", "01", *words, "--picture", picture
    )
    ordering.at = datetime.now(UTC)
    ordering.confirm(ordering.take(2), "G5", why="measured in µm")

    (specimen,) = ordering.order()["specimens"]
    ordering.store.close()

    assert code == 0
    assert specimen["notes"] == ["second preparation, first result: coarser (G20, now G5)"]


# --- bundles that were made before --------------------------------------------------------------


def test_a_bundle_whose_list_contradicts_its_numbers_leaves_codes_to_the_one_before(
    tmp_path, capsys
):
    ordering = OrderingLab(tmp_path, capsys)
    older, newer = "20261101-0badcafe", "20261102-0badcafe"
    said = {older: ("5", "6", "7", "8"), newer: ("5", "7", "6", "8")}
    for number, (name, sizes) in enumerate(said.items()):
        folder = tmp_path / "data" / "bundles" / name
        folder.mkdir(parents=True)
        entries = [{"name": z, "title": z, "min": int(z), "max": int(z)} for z in sizes]
        document = {"size": entries, "subtype": [{"name": "G", "sizes": sizes}]}
        manifest = json.dumps({"taxonomy": document})
        (folder / "bundle.json").write_text(manifest, encoding="utf-8")
        at = DAY + timedelta(hours=number)
        ordering.store.promotions.promote(name, by="Ada", reason="r", at=at, metrics={})

    taxonomy = taxonomy_in_force(read(tmp_path / "agent.toml"), ordering.store)
    ordering.store.close()

    assert [size.name for size in taxonomy.sizes] == ["5", "6", "7", "8"]
