"""A field of no specimen holds each order that it might belong to, until a reviewer acts."""

from datetime import timedelta

import pytest
from labs.ordering import AT, DEMAND, Desk

from agent.cli.options import read_order_policy
from agent.orders.facts.possible_fields import has_lookalikes, is_one_off, list_possible_orders
from agent.orders.judge.assessment import begin, list_touched
from agent.settings import read
from agent.store import LEADS_DOUBT, Decision, Entry, number_key

HOUR = timedelta(hours=1)


@pytest.fixture
def desk(tmp_path, capsys):
    desk = Desk(tmp_path, capsys)
    for field in (1, 2, 3):
        desk.confirm(desk.take(field))
    yield desk
    desk.store.close()


def stray(desk, name, *, at=AT, **told):
    """Take a coarse field that belongs to no specimen."""
    return desk.lab.take("G7", name=name, at=at, material="100Cr6", **told)


def missing(desk, number="4711"):
    return "; ".join(desk.order(number)["missing"])


def write_demand(desk, *, fields):
    text = DEMAND.replace("fields = 3", f"fields = {fields}")
    (desk.folder / "specifications.toml").write_text(text, encoding="utf-8")


def test_an_order_without_strays_conforms(desk):
    assert desk.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    "name", ["47ll_01_4.tif", "47II 01 4.tif", "4711-01-4.tif", "a/471_01_4.tif", "47l1_01_4.tif"]
)
def test_a_name_that_could_mean_the_number_holds_it(desk, name):
    stray(desk, name, at=AT + 5 * HOUR)

    assert desk.order()["conformity"] == "undecided"
    assert "might be of this order (its number is alike)" in missing(desk)


def test_a_number_that_a_program_sends_with_a_letter_holds_the_order_without_a_specimen(desk):
    stray(desk, "upload.tif", order="47I1")

    assert "upload.tif belongs to no specimen and might be of this order" in missing(desk)


def test_a_name_without_any_number_holds_the_orders_of_its_source_and_hour(desk):
    stray(desk, "Image 3.tif", at=AT + timedelta(minutes=59))

    assert "might be of this order (it came from the same source within the hour)" in missing(desk)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("Image 3.tif", AT + HOUR + timedelta(minutes=1)),
        ("9999-01-4.tif", AT + 5 * HOUR),
        ("47l1_01_4.tif", AT + timedelta(days=2)),
    ],
)
def test_what_came_at_another_time_or_names_another_number_holds_nothing(desk, name, at):
    stray(desk, name, at=at)

    assert desk.order()["conformity"] == "conforms"


@pytest.mark.parametrize("back", [3 * HOUR, timedelta(days=30)])
@pytest.mark.parametrize("name", ["Image 3.tif", "47l1_01_4.tif"])
def test_what_came_after_the_clock_was_set_back_came_at_once(desk, name, back):
    desk.take(1, order="8800", at=AT - back)
    stray(desk, name, at=AT - back + timedelta(minutes=1))

    assert f"{name} belongs to no specimen" in missing(desk)


def test_a_field_that_came_after_the_clock_was_set_back_is_of_one_of_the_orders_before(desk):
    desk.take(1, order="8800", at=AT - timedelta(days=30))
    public_id = stray(desk, "Image 3.tif", at=AT - timedelta(days=30))

    assert list_possible_orders(desk.store, public_id) == ["4711", "8800"]


def test_what_came_while_a_clock_was_ahead_came_within_the_hour(desk):
    stray(desk, "Image 3.tif", at=AT + 5 * HOUR)
    before = desk.order()["conformity"]
    desk.take(1, order="8800", at=AT + timedelta(minutes=5))

    assert (before, desk.order()["conformity"]) == ("conforms", "undecided")


def test_what_came_after_a_running_agent_saw_the_clock_set_ahead_came_at_once(desk):
    later = AT + 5 * HOUR
    desk.store.sources.note_clock_ahead(["LOM-07"], 5 * HOUR - timedelta(minutes=1), at=later)
    stray(desk, "Image 3.tif", at=later + timedelta(minutes=1))

    assert "Image 3.tif belongs to no specimen" in missing(desk)


def test_a_clock_that_was_set_back_makes_hours_no_minutes(desk):
    for hours in (1, 2, 3):
        desk.take(hours, order="8800", at=AT + hours * HOUR)
    stray(desk, "Image 3.tif", at=AT + 2 * HOUR + timedelta(minutes=1))
    stray(desk, "Image 4.tif", at=AT + 9 * HOUR)

    assert desk.order()["conformity"] == "conforms"
    assert desk.order("8800")["conformity"] == "undecided"


def test_a_field_that_names_another_known_order_is_of_that_one(desk):
    for field in (1, 2, 3):
        desk.take(field, order="4712")
    stray(desk, "4712-01-4.tif")

    assert desk.order()["conformity"] == "conforms"


def test_a_misread_number_of_another_order_holds_that_one_alone(desk):
    desk.take(1, order="4800")
    stray(desk, "48OO_01_2.tif")

    assert desk.order()["conformity"] == "conforms"
    assert "48OO_01_2.tif belongs to no specimen" in missing(desk, "4800")


def test_a_reviewer_dismisses_a_field_for_every_order_in_one_act(desk):
    for field in (1, 2, 3):
        desk.confirm(desk.take(field, order="4800"))
    stray(desk, "Image 3.tif")
    before = [desk.order(number)["conformity"] for number in ("4711", "4800")]
    words = ("orders", "dismiss-file", "4711", "Image 3.tif", "--by", "Ada", "--reason")

    code = desk.agent(*words, "a test shot")

    assert before == ["undecided", "undecided"]
    assert code == 0
    assert [desk.order(number)["conformity"] for number in ("4711", "4800")] == ["conforms"] * 2
    assert any("Image 3.tif does not belong to it" in note for note in desk.order()["notes"])
    assert desk.agent(*words[:3], "Image 4.tif", *words[4:], "x") == 2


def test_a_reviewer_assigns_a_field_to_its_order(desk):
    public_id = stray(desk, "Image 3.tif")

    desk.agent("orders", "assign", public_id, "4711", "01", "--by", "Ada", "--reason", "slip",
               "--field", "4")  # fmt: skip

    assert "field 4: model says 7" in missing(desk)


def test_a_field_that_a_sure_reviewer_labelled_as_keeping_the_limit_holds_nothing(desk):
    fine, coarse = stray(desk, "Image 3.tif"), stray(desk, "Image 4.tif")
    for public_id, code in ((fine, "G8"), (coarse, "G7")):
        desk.store.labels.decide(public_id, Decision("code", "Ada", code=code, comment="x"), at=AT)

    assert "Image 3.tif" not in missing(desk)
    assert "Image 4.tif belongs to no specimen" in missing(desk)


def confirm_break(desk):
    """Take a field of no specimen that Ada labels as breaking the limit."""
    public_id = stray(desk, "Image 3.tif")
    desk.store.labels.decide(public_id, Decision("code", "Ada", code="G7"), at=AT)
    return public_id


def test_only_a_lead_dismisses_a_field_that_a_reviewer_labelled_as_breaking_the_limit(desk):
    confirm_break(desk)
    words = ("orders", "dismiss-file", "4711", "Image 3.tif", "--reason", "a test shot", "--by")

    by_bob, held = desk.agent(*words, "Bob"), missing(desk)
    by_lead = desk.agent(*words, "R. Stahl")

    assert (by_bob, by_lead) == (2, 0)
    assert "breaks its limit, labelled by Ada: a reviewer assigns it" in held
    assert desk.order()["conformity"] == "conforms"


def test_a_field_that_was_dismissed_holds_again_once_a_reviewer_labels_it_as_breaking(desk):
    public_id = stray(desk, "Image 3.tif")
    desk.agent("orders", "dismiss-file", "4711", "Image 3.tif", "--by", "Bob", "--reason", "a test")
    before = desk.order()["conformity"]

    desk.store.labels.decide(public_id, Decision("code", "Ada", code="G7"), at=AT)

    assert (before, desk.order()["conformity"]) == ("conforms", "undecided")


def test_one_more_reviewer_does_not_outweigh_the_break_of_a_field_of_no_specimen(desk):
    public_id = confirm_break(desk)
    keeping = [Decision("code", name, code="G8", comment="looked again") for name in ("Bob", "Cem")]

    desk.store.labels.decide(public_id, keeping[0], at=AT)
    after_one = desk.order()["conformity"]
    desk.store.labels.decide(public_id, keeping[1], at=AT)

    assert (after_one, desk.order()["conformity"]) == ("undecided", "conforms")


DISMISS = ("orders", "dismiss-file", "4711", "Image 3.tif", "--reason", "a test shot", "--by")


def label(desk, public_id, by, code):
    desk.store.labels.decide(public_id, Decision("code", by, code=code, comment="x"), at=AT)


def name_leads(desk, *names):
    text = (desk.folder / "agent.toml").read_text("utf-8")
    named = "leads = [" + ", ".join(f'"{name}"' for name in names) + "]"
    (desk.folder / "agent.toml").write_text(text.replace('leads = ["R. Stahl"]', named), "utf-8")


def write_loose_demand(desk):
    """Demand less of the product "washer"."""
    loose = DEMAND.replace('"ring-a"', '"loose"').replace("8 or finer", "7 or finer")
    loose = loose.replace('material = "100Cr6"', 'product = "washer"')
    (desk.folder / "specifications.toml").write_text(DEMAND + loose, encoding="utf-8")
    desk.store.orders.take_list([Entry("4800", product="washer")], "a.csv", by="x", at=AT)
    for field in (1, 2, 3):
        desk.confirm(desk.take(field, order="4800", keys={"material": ""}))


def test_a_lead_who_labelled_a_field_as_breaking_does_not_dismiss_it_but_a_second_lead_does(desk):
    name_leads(desk, "R. Stahl", "T. Kupfer")
    label(desk, stray(desk, "Image 3.tif"), "R. Stahl", "G7")

    by_author, held = desk.agent(*DISMISS, "r. stahl"), desk.order()["conformity"]
    by_author += desk.agent(*DISMISS, "R. Stahl")
    by_second = desk.agent(*DISMISS, "T. Kupfer")

    assert (by_author, held, by_second) == (4, "undecided", 0)
    assert desk.order()["conformity"] == "conforms"


def test_a_lead_who_dismissed_a_field_and_then_labels_it_as_breaking_holds_the_order(desk):
    public_id = stray(desk, "Image 3.tif")
    desk.agent(*DISMISS, "R. Stahl")
    before = desk.order()["conformity"]

    label(desk, public_id, "R. Stahl", "G7")

    assert (before, desk.order()["conformity"]) == ("conforms", "undecided")


@pytest.mark.parametrize("author", ["Ada", "R. Stahl"])
@pytest.mark.parametrize("target", ["4800", "4900"])
def test_who_labelled_a_field_as_breaking_assigns_it_to_no_other_order(desk, author, target):
    write_loose_demand(desk)
    public_id = stray(desk, "Image 3.tif")
    label(desk, public_id, author, "G7")
    words = ("orders", "assign", public_id, target, "01", "--reason", "slip", "--by")

    by_author, by_bob = desk.agent(*words, author), desk.agent(*words, "Bob")
    held = desk.order()["conformity"]
    name_leads(desk, "R. Stahl", "T. Kupfer")
    by_second = desk.agent(*words, "T. Kupfer")

    assert (by_author, by_bob, held, by_second) == (2, 2, "undecided", 0)
    assert desk.order()["conformity"] == "conforms"


def test_who_labelled_a_field_as_breaking_assigns_it_to_the_only_order_that_it_may_be_of(desk):
    public_id = stray(desk, "Image 3.tif")
    label(desk, public_id, "Ada", "G7")

    code = desk.agent("orders", "assign", public_id, "4711", "01", "--by", "Ada", "--reason",
                      "slip", "--field", "4")  # fmt: skip

    assert (code, desk.order()["conformity"]) == (0, "does_not_conform")


def test_a_lead_who_labelled_a_field_of_an_order_as_breaking_moves_it_to_no_other_order(desk):
    name_leads(desk, "R. Stahl", "T. Kupfer")
    write_loose_demand(desk)
    public_id = desk.take(4, "G7")
    label(desk, public_id, "R. Stahl", "G7")
    words = ("orders", "assign", public_id, "4800", "01", "--reason", "slip", "--by")

    by_author, word = desk.agent(*words, "R. Stahl"), desk.order()["conformity"]
    by_second = desk.agent(*words, "T. Kupfer")

    assert (by_author, word, by_second) == (2, "does_not_conform", 0)
    assert desk.order()["conformity"] == "conforms"


def test_an_order_of_an_alike_number_with_a_break_is_dismissed_by_a_second_lead_alone(desk):
    name_leads(desk, "R. Stahl", "T. Kupfer")
    label(desk, desk.take(4, "G7", order="47I1"), "R. Stahl", "G7")
    words = ("orders", "dismiss-file", "4711", "47I1", "--reason", "a series of I", "--by")

    refused = [desk.agent(*words, name) for name in ("Ada", "R. Stahl")]
    held = desk.order()["conformity"]

    assert (refused, held, desk.agent(*words, "T. Kupfer")) == ([2, 2], "undecided", 0)
    assert desk.order()["conformity"] == "conforms"


def test_where_no_lead_is_named_a_seen_break_is_taken_away_by_nobody(desk):
    name_leads(desk)
    label(desk, stray(desk, "Image 3.tif"), "Ada", "G7")

    assert desk.agent(*DISMISS, "R. Stahl") == 2
    assert desk.order()["conformity"] == "undecided"


def test_only_a_lead_begins_an_order_with_a_labelled_field_of_no_specimen(desk):
    public_id = confirm_break(desk)
    words = ("orders", "assign", public_id, "4900", "01", "--reason", "slip", "--by")

    by_bob, held = desk.agent(*words, "Bob"), desk.order()["conformity"]
    by_lead = desk.agent(*words, "R. Stahl")

    assert (by_bob, held, by_lead) == (2, "undecided", 0)
    assert desk.order()["conformity"] == "conforms"


def test_an_imported_label_that_keeps_the_limit_dismisses_no_field(desk):
    public_id = stray(desk, "Image 3.tif")
    imported = Decision("code", "Ada", code="G8", origin="import")

    desk.store.labels.decide(public_id, imported, at=AT)

    assert "Image 3.tif belongs to no specimen" in missing(desk)


def test_a_label_that_a_lead_suspects_dismisses_no_field(desk):
    public_id = stray(desk, "Image 3.tif")
    desk.store.labels.decide(public_id, Decision("code", "Ada", code="G8", comment="x"), at=AT)
    before = desk.order()["conformity"]

    desk.store.labels.mark_suspect(
        public_id,
        label_id=desk.store.results.find(public_id).label.id,
        sentence=LEADS_DOUBT,
        by="R. Stahl",
        at=AT,
    )

    assert before == "conforms"
    assert "Image 3.tif belongs to no specimen" in missing(desk)


@pytest.mark.parametrize("sends_notes", [True, False])
def test_where_notes_name_the_orders_a_file_without_one_holds_them(tmp_path, capsys, sends_notes):
    desk = Desk(tmp_path, capsys)
    text = (tmp_path / "agent.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("pattern")]
    (tmp_path / "agent.toml").write_text("\n".join(lines), encoding="utf-8")
    for field in (1, 2, 3):
        if sends_notes:
            desk.confirm(desk.take(field))
        else:
            public_id = desk.lab.take("G8", name=f"Image {field}.tif", at=AT, material="100Cr6")
            keys = ("4711", "01", "--field", field, "--by", "Ada", "--reason", "as written")
            desk.agent("orders", "assign", public_id, *keys)
            desk.confirm(public_id)

    stray(desk, "Image 9.tif")

    assert "Image 9.tif belongs to no specimen" in missing(desk)
    desk.store.close()


def test_an_order_that_a_letter_made_holds_the_order_that_it_may_be_until_a_reviewer_says_no(desk):
    desk.take(4, "G7", order="47I1")
    before = missing(desk)

    desk.agent("orders", "dismiss-file", "4711", "47I1", "--by", "Ada", "--reason", "a series of I")

    assert "order 47I1 might be this one, its number is alike" in before
    assert desk.order()["conformity"] == "conforms"
    assert "order 4711 might be this one" not in missing(desk, "47I1")


def test_what_a_pattern_left_of_a_misread_number_holds_the_order(desk):
    keys = {"order": "1", "specimen": "01", "field": "4", "material": "100Cr6"}
    desk.lab.take("G7", name="47I1_01_4.tif", at=AT, **keys)

    assert "order 1 might be this one, its number is alike" in missing(desk)


@pytest.mark.parametrize("slip", ["4717", "4771", "7411", "47111", "471"])
def test_an_order_that_a_slip_of_one_character_made_holds_the_order_until_a_reviewer_says_no(
    desk, slip
):
    desk.take(4, "G7", order=slip)
    before = missing(desk)

    desk.agent("orders", "dismiss-file", "4711", slip, "--by", "Ada", "--reason", "another order")

    assert f"order {slip} might be this one, its number is alike" in before
    assert desk.order()["conformity"] == "conforms"


@pytest.mark.parametrize("minutes", [-2, 2])
def test_a_slip_that_repeats_a_field_number_holds_until_its_order_has_all_fields(desk, minutes):
    at = AT + timedelta(minutes=minutes)
    desk.take(1, "G7", order="4712", at=at)
    alone = missing(desk)
    desk.take(2, order="4712", at=AT + 2 * HOUR)
    begun = missing(desk)
    desk.take(3, order="4712", at=AT + 2 * HOUR)

    assert "order 4712 might be this one" in alone
    assert "order 4712 might be this one" in begun
    assert desk.order()["conformity"] == "conforms"


def test_a_slip_that_repeats_a_field_number_is_dismissed_in_one_act(desk):
    desk.take(1, "G7", order="4712", at=AT + timedelta(minutes=2))

    desk.agent(
        "orders", "dismiss-file", "4711", "4712", "--by", "Ada", "--reason", "the next order"
    )

    assert desk.order()["conformity"] == "conforms"


def test_where_one_field_is_demanded_the_next_order_is_no_slip_but_one_between_two_shots_is(desk):
    write_demand(desk, fields=1)
    desk.take(1, order="4712", at=AT + timedelta(minutes=2))
    before = desk.order()["conformity"]
    desk.confirm(desk.take(5, at=AT + timedelta(minutes=3)))

    assert before == "conforms"
    assert "order 4712 might be this one" in missing(desk)


def test_an_order_of_another_material_is_no_slip(desk):
    desk.take(1, "G7", order="4712", at=AT + timedelta(minutes=2), keys={"material": "C45"})

    assert desk.order()["conformity"] == "conforms"


@pytest.mark.parametrize("number", ["4717", "471", "7411"])
def test_a_number_that_a_program_sends_one_character_off_without_a_specimen_holds(desk, number):
    stray(desk, "upload.tif", order=number)

    assert "upload.tif belongs to no specimen and might be of this order" in missing(desk)


@pytest.mark.parametrize("name", ["Image 2025.tif", "4712-01-1.tif"])
def test_a_number_of_an_order_of_long_ago_in_a_name_means_that_order_no_more(desk, name):
    for number in ("2025", "4712"):
        desk.take(1, order=number, at=AT - timedelta(days=200))

    stray(desk, name)

    assert f"{name} belongs to no specimen and might be of this order" in missing(desk)


def test_a_name_with_the_number_of_an_order_that_a_list_awaits_means_that_one(desk):
    at = AT - timedelta(days=20)
    desk.store.orders.take_list([Entry("4900", customer="A")], "a.csv", by="order list", at=at)

    stray(desk, "4900-01-1.tif")

    assert desk.order()["conformity"] == "conforms"


def test_an_order_of_a_list_or_with_all_its_fields_or_of_another_hour_is_no_slip(desk):
    desk.store.orders.take_list([Entry("4712", customer="A")], "a.csv", by="order list", at=AT)
    desk.take(4, "G7", order="4712")
    for field in (4, 5, 6):
        desk.take(field, "G7", order="4713")
    desk.take(4, "G7", order="4714", at=AT + 2 * HOUR)
    desk.take(4, "G7", order="4799")

    assert desk.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("Image 3.tif", {}),
        ("47l1_01_4.tif", {}),
        ("4717_01_4.tif", {"order": "4717", "specimen": "01", "field": "4"}),
    ],
)
def test_what_might_belong_to_an_order_touches_it_at_once(desk, name, keys):
    lab = read_order_policy(read(desk.folder / "agent.toml"), desk.store)
    _, position = list_touched(desk.store, lambda: lab, position=begin(desk.store), now=AT)

    stray(desk, name, at=AT + timedelta(minutes=1), **keys)
    touched, _ = list_touched(desk.store, lambda: lab, position=position, now=AT)

    assert "4711" in touched


def test_what_belongs_to_another_order_touches_that_one_alone(desk):
    lab = read_order_policy(read(desk.folder / "agent.toml"), desk.store)
    _, position = list_touched(desk.store, lambda: lab, position=begin(desk.store), now=AT)

    desk.take(1, order="8800")
    touched, _ = list_touched(desk.store, lambda: lab, position=position, now=AT)

    assert touched == ["8800"]


ONE_OFF = [
    ("4711", "4711a", True),
    ("4711", "471", True),
    ("47111", "4711", True),
    ("4711", "4771", True),
    ("4711", "7411", True),
    ("4711", "4722", False),
    ("4711", "4811", True),
    ("4711", "481", False),
    ("12", "13", False),
]


def test_one_letter_off():
    for one, other, is_off in ONE_OFF:
        assert is_one_off(one, other) is is_off, one
        assert is_one_off(other, one) is is_off, one


def test_letters_that_look_like_digits():
    assert has_lookalikes("4001", "4OOl", number_key)
    assert not has_lookalikes("4001", "4001", number_key)
    assert not has_lookalikes("4001", "4002", number_key)
