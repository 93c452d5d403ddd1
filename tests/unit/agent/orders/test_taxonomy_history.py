"""An order is judged by the sizes as they were listed when it was released."""

import json
from datetime import timedelta
from importlib.resources import files

import pytest
from labs.ordering import AT, BUNDLE, DEMAND, SETTINGS, missing, notes, word

from agent.store import Decision

LEAD = "R. Stahl"
NAMED = ["coarse", "medium", "fine"]


def lay_down(ordering, sizes, limit="medium or finer", *, subtypes=("G",)):
    """Write the lab's own taxonomy, coarse to fine, and its limit."""
    entries = "".join(f'[[size]]\nname = "{name}"\n' for name in sizes)
    listed = json.dumps(list(sizes))
    entries += "".join(f'[[subtype]]\nname = "{name}"\nsizes = {listed}\n' for name in subtypes)
    (ordering.folder / "taxonomy.toml").write_text(entries, encoding="utf-8")
    own = f'\n[model]\ntaxonomy = "{(ordering.folder / "taxonomy.toml").as_posix()}"\n'
    (ordering.folder / "agent.toml").write_text(SETTINGS + own, encoding="utf-8")
    text = DEMAND.replace("8 or finer", limit)
    (ordering.folder / "specifications.toml").write_text(text, encoding="utf-8")


def label(ordering, public_id, code, *, by="Ada", why="measured"):
    words = ("review", "label", public_id, code, "--by", by, "--comment", why)
    assert ordering.agent(*words) == 0, ordering.err


def three(ordering, code, *, order="4711"):
    ids = [ordering.take(n, order=order) for n in (1, 2, 3)]
    for public_id in ids:
        label(ordering, public_id, code)
    return ids


def test_reordered_sizes_do_not_judge_an_older_order_again(ordering):
    lay_down(ordering, NAMED)
    ordering.agent("spec", "list", "--check")
    three(ordering, "Gcoarse")
    assert word(ordering) == "does_not_conform"

    lay_down(ordering, ["fine", "medium", "coarse"])

    assert word(ordering) == "does_not_conform"
    (note,) = notes(ordering)
    assert "coarse, medium, fine" in note
    assert "as they were when the order was released" in note
    assert "fine, medium, coarse" in note


def test_a_renamed_size_does_not_judge_an_older_order_again(ordering):
    lay_down(ordering, NAMED)
    ordering.agent("spec", "list", "--check")
    three(ordering, "Gmedium")
    assert word(ordering) == "conforms"

    lay_down(ordering, ["coarse", "middle", "fine"])

    assert word(ordering) == "conforms"


def test_a_later_order_is_judged_by_the_later_list(ordering):
    lay_down(ordering, NAMED)
    ordering.agent("spec", "list", "--check")
    lay_down(ordering, ["fine", "medium", "coarse"])

    ordering.agent("spec", "list", "--check")
    three(ordering, "Gcoarse")

    assert word(ordering) == "conforms"
    assert notes(ordering) == []


def test_a_list_that_only_an_order_list_or_a_page_read_is_kept_too(ordering):
    lay_down(ordering, NAMED)
    path = ordering.folder / "list.csv"
    path.write_text("order;material\n4711;100Cr6\n", encoding="utf-8")
    assert ordering.agent("orders", "import", path) == 0

    lay_down(ordering, ["fine", "medium", "coarse"])
    three(ordering, "Gcoarse")

    assert word(ordering) != "conforms"


# "fine" is the coarsest of the list that Ada saw, "coarse" breaks the order's own
@pytest.mark.parametrize("size", ["fine", "coarse"])
def test_a_label_given_by_a_later_list_is_a_doubt_in_an_older_order(ordering, size):
    lay_down(ordering, NAMED)
    ordering.agent("spec", "list", "--check")
    ids = [ordering.take(n) for n in (1, 2, 3)]
    lay_down(ordering, ["fine", "medium", "coarse"])

    for public_id in ids:
        label(ordering, public_id, f"G{size}")

    assert word(ordering) == "undecided"
    assert (
        f"field 1: Ada's label G {size} was given when the sizes of G were listed as fine, medium, "
        "coarse; the order is judged by coarse, medium, fine" in missing(ordering)
    )


def test_a_clock_that_is_set_back_makes_no_label_older_than_the_list_it_names(ordering):
    lay_down(ordering, NAMED)
    ordering.agent("spec", "list", "--check")
    ids = [ordering.take(n, at=AT) for n in (1, 2, 3)]
    lay_down(ordering, ["fine", "medium", "coarse"])
    ordering.agent("spec", "list")

    ordering.order()
    for public_id in ids:
        said = Decision("code", "Ada", code="Gfine", comment="early")
        ordering.store.labels.decide(public_id, said, at=AT - timedelta(days=9))

    assert word(ordering) == "undecided"


def test_a_lead_reopens_an_order_and_the_statement_says_which_list_applies(ordering):
    lay_down(ordering, NAMED)
    ordering.agent("spec", "list", "--check")
    three(ordering, "Gcoarse")
    assert word(ordering) == "does_not_conform"
    lay_down(ordering, ["fine", "medium", "coarse"])
    words = ("orders", "reopen", "4711", "--reason", "the list was upside down", "--by")

    by_ada, by_lead = ordering.agent(*words, "Ada"), ordering.agent(*words, LEAD)

    assert (by_ada, by_lead) == (2, 0)
    assert word(ordering) == "conforms"
    assert any("fine, medium, coarse" in note and "coarse, medium, fine" in note
               for note in notes(ordering))  # fmt: skip


def test_the_answer_of_a_bundle_with_another_list_is_a_doubt(ordering):
    bundle(ordering, {"size": [{"name": "8"}, {"name": "7"}],
                  "subtype": [{"name": "G", "sizes": ["8", "7"]}]})  # fmt: skip
    for n in (1, 2, 3):
        ordering.take(n)

    assert word(ordering) == "undecided"
    assert (
        f"field 1: {BUNDLE} answered by a taxonomy that lists the sizes of G as 8, 7; the order is "
        "judged by 5, 6, 7, 8, 9-10" in missing(ordering)
    )


def test_a_label_settles_what_a_bundle_with_another_list_answered(ordering):
    bundle(ordering, {"size": [{"name": "8"}, {"name": "7"}],
                  "subtype": [{"name": "G", "sizes": ["8", "7"]}]})  # fmt: skip
    ids = [ordering.take(n) for n in (1, 2, 3)]
    ordering.order()

    for public_id in ids:
        ordering.confirm(public_id)

    assert word(ordering) == "conforms"


def test_the_doubt_stays_when_the_folder_of_the_bundle_is_gone(ordering):
    folder = bundle(ordering, {"size": [{"name": "8"}, {"name": "7"}],
                           "subtype": [{"name": "G", "sizes": ["8", "7"]}]})  # fmt: skip
    ordering.agent("spec", "list", "--check")
    for n in (1, 2, 3):
        ordering.take(n)
    ordering.order()

    (folder / "bundle.json").unlink()

    assert "answered by a taxonomy that lists the sizes of G as 8, 7" in missing(ordering)


def test_a_bundle_that_lists_the_same_sizes_is_no_doubt(ordering):
    ordering.promote()
    for n in (1, 2, 3):
        ordering.take(n)

    assert "answered by a taxonomy" not in missing(ordering)


def bundle(ordering, taxonomy):
    """Put a bundle of another taxonomy to work; the lab's own list stays the default one."""
    text = (ordering.folder / "agent.toml").read_text("utf-8")
    own = ordering.folder / "taxonomy.toml"
    own.write_bytes(files("model").joinpath("taxonomy.toml").read_bytes())
    (ordering.folder / "agent.toml").write_text(
        text + f'\n[model]\ntaxonomy = "{own.as_posix()}"\n', encoding="utf-8"
    )
    folder = ordering.folder / "data" / "bundles" / BUNDLE
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text(json.dumps({"taxonomy": taxonomy}), encoding="utf-8")
    ordering.store.promotions.promote(BUNDLE, by="Ada", reason="first", at=AT, metrics={})
    return folder


def test_an_order_whose_list_knew_no_such_size_waits_for_the_list_that_does(ordering):
    lay_down(ordering, ["coarse", "fine"])
    ordering.agent("spec", "list", "--check")
    ordering.take(1)
    assert "no size medium" in missing(ordering)

    lay_down(ordering, NAMED)

    assert "no size medium" not in missing(ordering)
