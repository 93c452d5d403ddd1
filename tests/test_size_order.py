"""The order in which a taxonomy lists its sizes decides what is finer, never digits in a name."""

import pytest
from lab import RING_A
from test_ordering import DEMAND, SETTINGS, Desk

from agent.orders import conformity
from agent.orders.facts import Decided, FieldFacts, SpecimenFacts
from agent.orders.rules import Rules
from model import taxonomy_from

MATERIAL = "100Cr6"


def steels(*sizes, untrained=()):
    """Make a taxonomy of one subtype G from names, coarse to fine, or whole [[size]] entries."""
    entries = [{"name": one} if isinstance(one, str) else one for one in sizes]
    names = [one["name"] for one in entries]
    subtype = {"name": "G", "sizes": names, "untrained": list(untrained)}
    return taxonomy_from({"size": entries, "subtype": [subtype]})


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
            decided=Decided("code", code, "R. Stahl", "unrecorded"),
            um_per_px=0.1,
            area_mm2=0.1,
            material=MATERIAL,
        )
        for number, code in enumerate(codes, start=1)
    ]
    return conformity.specimen(SpecimenFacts("01", "1", tuple(fields)), rules)


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
    desk = Desk(tmp_path, capsys)
    lay_down(desk, ["coarse", "medium", "fine"], "0 or finer")

    refused = desk.agent("spec", "check")
    why = desk.err
    lay_down(desk, ["coarse", "medium", "fine"], "medium or finer")
    accepted = desk.agent("spec", "check")
    desk.store.close()

    assert (refused, accepted) == (2, 0)
    assert "ring-a: limit: subtype G has no size 0; known are coarse, medium, fine" in why


def test_an_order_with_coarse_labels_does_not_conform_where_the_numbers_fall(tmp_path, capsys):
    desk = Desk(tmp_path, capsys)
    desk.check()
    for field in (1, 2, 3):
        desk.take(field)
    lay_down(desk, ["20", "10", "5"], "10 or finer")
    for view in desk.store.micrographs():
        desk.confirm(view.id, "G20", why="measured in µm")

    document = desk.order()
    desk.store.close()

    assert document["conformity"] == "does_not_conform"
    assert "field 1 is G20, confirmed by Ada: 10 or finer is demanded" in document["because"][0]


def lay_down(desk, sizes, limit):
    """Write a lab's own taxonomy and its limit."""
    entries = "".join(f'[[size]]\nname = "{name}"\n' for name in sizes)
    subtype = f'[[subtype]]\nname = "G"\nsizes = {sizes!r}\n'.replace("'", '"')
    (desk.folder / "taxonomy.toml").write_text(entries + subtype, encoding="utf-8")
    own = f'\n[model]\ntaxonomy = "{(desk.folder / "taxonomy.toml").as_posix()}"\n'
    (desk.folder / "agent.toml").write_text(SETTINGS + own, encoding="utf-8")
    text = DEMAND.replace("8 or finer", limit)
    (desk.folder / "specifications.toml").write_text(text, encoding="utf-8")
