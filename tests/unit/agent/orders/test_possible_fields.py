"""A field of no specimen holds each order that it might belong to, until a reviewer acts."""

from datetime import timedelta

import pytest
from labs.ordering import AT, DEMAND, OrderingLab, missing

from agent.cli.options import read_order_policy
from agent.orders.facts.possible_fields import has_lookalikes, is_one_off, list_possible_orders
from agent.orders.judge.assessment import begin, list_touched
from agent.settings import read
from agent.store import LEADS_DOUBT, Decision, Entry, number_key

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A lab with an order that conforms; each test has a copy."""
    ordering = OrderingLab(tmp_path_factory.mktemp("filled"), None)
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    ordering.store.close()
    return ordering.lab


@pytest.fixture
def ordering(filled, tmp_path, capsys):
    ordering = OrderingLab(tmp_path, capsys, filled)
    yield ordering
    ordering.store.close()


def stray(ordering, name, *, at=AT, **told):
    """Take a coarse field that belongs to no specimen."""
    return ordering.lab.take("G7", name=name, at=at, material="100Cr6", **told)


def write_demand(ordering, *, fields):
    text = DEMAND.replace("fields = 3", f"fields = {fields}")
    (ordering.folder / "specifications.toml").write_text(text, encoding="utf-8")


def test_an_order_without_strays_conforms(ordering):
    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    "name", ["47ll_01_4.tif", "47II 01 4.tif", "4711-01-4.tif", "a/471_01_4.tif", "47l1_01_4.tif"]
)
def test_a_name_that_could_mean_the_number_holds_it(ordering, name):
    stray(ordering, name, at=AT + 5 * HOUR)

    assert ordering.order()["conformity"] == "undecided"
    assert "might be of this order (its number is alike)" in missing(ordering)


def test_a_number_that_a_program_sends_with_a_letter_holds_the_order_without_a_specimen(ordering):
    stray(ordering, "upload.tif", order="47I1")

    assert "upload.tif belongs to no specimen and might be of this order" in missing(ordering)


def test_a_name_without_any_number_holds_the_orders_of_its_source_and_hour(ordering):
    stray(ordering, "Image 3.tif", at=AT + timedelta(minutes=59))

    assert "might be of this order (it came from the same source within the hour)" in missing(
        ordering
    )


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("Image 3.tif", AT + HOUR + timedelta(minutes=1)),
        ("9999-01-4.tif", AT + 5 * HOUR),
        ("47l1_01_4.tif", AT + timedelta(days=2)),
    ],
)
def test_what_came_at_another_time_or_names_another_number_holds_nothing(ordering, name, at):
    stray(ordering, name, at=at)

    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize("back", [3 * HOUR, timedelta(days=30)])
@pytest.mark.parametrize("name", ["Image 3.tif", "47l1_01_4.tif"])
def test_what_came_after_the_clock_was_set_back_came_at_once(ordering, name, back):
    ordering.take(1, order="8800", at=AT - back)
    stray(ordering, name, at=AT - back + timedelta(minutes=1))

    assert f"{name} belongs to no specimen" in missing(ordering)


@pytest.mark.parametrize("back", [3 * HOUR, timedelta(days=30)])
def test_a_slip_that_came_after_the_clock_was_set_back_came_at_once(ordering, back):
    ordering.take(1, order="8800", at=AT - back)
    policy = read_order_policy(read(ordering.folder / "agent.toml"), ordering.store)
    position = begin(ordering.store)
    ordering.take(4, "G7", order="4717", at=AT - back + timedelta(minutes=1))
    touched, _ = list_touched(ordering.store, lambda: policy, position=position, now=AT)

    assert "order 4717 might be this one" in missing(ordering)
    assert "4711" in touched


@pytest.mark.parametrize("back", [3 * HOUR, timedelta(days=30)])
def test_a_field_that_came_after_the_clock_was_set_back_touches_the_orders_before(ordering, back):
    ordering.take(1, order="8800", at=AT - back)
    policy = read_order_policy(read(ordering.folder / "agent.toml"), ordering.store)
    position = begin(ordering.store)
    stray(ordering, "Image 3.tif", at=AT - back + timedelta(minutes=1))
    touched, _ = list_touched(ordering.store, lambda: policy, position=position, now=AT)

    assert "4711" in touched


def test_a_field_that_came_after_the_clock_was_set_back_is_of_one_of_the_orders_before(ordering):
    ordering.take(1, order="8800", at=AT - timedelta(days=30))
    public_id = stray(ordering, "Image 3.tif", at=AT - timedelta(days=30))

    assert list_possible_orders(ordering.store, [public_id]) == {public_id: ["4711", "8800"]}


def test_what_came_while_a_clock_was_ahead_came_within_the_hour(ordering):
    stray(ordering, "Image 3.tif", at=AT + 5 * HOUR)
    before = ordering.order()["conformity"]
    ordering.take(1, order="8800", at=AT + timedelta(minutes=5))

    assert (before, ordering.order()["conformity"]) == ("conforms", "undecided")


def test_what_came_after_a_running_agent_saw_the_clock_set_ahead_came_at_once(ordering):
    later = AT + 5 * HOUR
    ordering.store.sources.note_clock_ahead(["LOM-07"], 5 * HOUR - timedelta(minutes=1), at=later)
    stray(ordering, "Image 3.tif", at=later + timedelta(minutes=1))

    assert "Image 3.tif belongs to no specimen" in missing(ordering)


def test_a_clock_that_was_set_back_makes_hours_no_minutes(ordering):
    for hours in (1, 2, 3):
        ordering.take(hours, order="8800", at=AT + hours * HOUR)
    stray(ordering, "Image 3.tif", at=AT + 2 * HOUR + timedelta(minutes=1))
    stray(ordering, "Image 4.tif", at=AT + 9 * HOUR)

    assert ordering.order()["conformity"] == "conforms"
    assert ordering.order("8800")["conformity"] == "undecided"


def test_a_field_that_names_another_known_order_is_of_that_one(ordering):
    for field in (1, 2, 3):
        ordering.take(field, order="4712")
    stray(ordering, "4712-01-4.tif")

    assert ordering.order()["conformity"] == "conforms"


def test_a_misread_number_of_another_order_holds_that_one_alone(ordering):
    ordering.take(1, order="4800")
    stray(ordering, "48OO_01_2.tif")

    assert ordering.order()["conformity"] == "conforms"
    assert "48OO_01_2.tif belongs to no specimen" in missing(ordering, "4800")


def test_a_reviewer_dismisses_a_field_for_every_order_in_one_act(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field, order="4800"))
    stray(ordering, "Image 3.tif")
    before = [ordering.order(number)["conformity"] for number in ("4711", "4800")]
    words = ("orders", "dismiss-file", "4711", "Image 3.tif", "--by", "Ada", "--reason")

    code = ordering.agent(*words, "a test shot")

    assert before == ["undecided", "undecided"]
    assert code == 0
    assert [ordering.order(number)["conformity"] for number in ("4711", "4800")] == ["conforms"] * 2
    assert any("Image 3.tif does not belong to it" in note for note in ordering.order()["notes"])
    assert ordering.agent(*words[:3], "Image 4.tif", *words[4:], "x") == 2


def test_a_reviewer_assigns_a_field_to_its_order(ordering):
    public_id = stray(ordering, "Image 3.tif")

    ordering.agent("orders", "assign", public_id, "4711", "01", "--by", "Ada", "--reason", "slip",
               "--field", "4")  # fmt: skip

    assert "field 4: model says 7" in missing(ordering)


def test_a_field_that_a_sure_reviewer_labelled_as_keeping_the_limit_holds_nothing(ordering):
    fine, coarse = stray(ordering, "Image 3.tif"), stray(ordering, "Image 4.tif")
    for public_id, code in ((fine, "G8"), (coarse, "G7")):
        ordering.store.labels.decide(
            public_id, Decision("code", "Ada", code=code, comment="x"), at=AT
        )

    assert "Image 3.tif" not in missing(ordering)
    assert "Image 4.tif belongs to no specimen" in missing(ordering)


def confirm_break(ordering):
    """Take a field of no specimen that Ada labels as breaking the limit."""
    public_id = stray(ordering, "Image 3.tif")
    ordering.store.labels.decide(public_id, Decision("code", "Ada", code="G7"), at=AT)
    return public_id


def test_only_a_lead_dismisses_a_field_that_a_reviewer_labelled_as_breaking_the_limit(ordering):
    confirm_break(ordering)
    words = ("orders", "dismiss-file", "4711", "Image 3.tif", "--reason", "a test shot", "--by")

    by_bob, held = ordering.agent(*words, "Bob"), missing(ordering)
    by_lead = ordering.agent(*words, "R. Stahl")

    assert (by_bob, by_lead) == (2, 0)
    assert "breaks its limit, labelled by Ada: a reviewer assigns it" in held
    assert ordering.order()["conformity"] == "conforms"


def test_a_field_that_was_dismissed_holds_again_once_a_reviewer_labels_it_as_breaking(ordering):
    public_id = stray(ordering, "Image 3.tif")
    ordering.agent(
        "orders", "dismiss-file", "4711", "Image 3.tif", "--by", "Bob", "--reason", "a test"
    )
    before = ordering.order()["conformity"]

    ordering.store.labels.decide(public_id, Decision("code", "Ada", code="G7"), at=AT)

    assert (before, ordering.order()["conformity"]) == ("conforms", "undecided")


def test_one_more_reviewer_does_not_outweigh_the_break_of_a_field_of_no_specimen(ordering):
    public_id = confirm_break(ordering)
    keeping = [Decision("code", name, code="G8", comment="looked again") for name in ("Bob", "Cem")]

    ordering.store.labels.decide(public_id, keeping[0], at=AT)
    after_one = ordering.order()["conformity"]
    ordering.store.labels.decide(public_id, keeping[1], at=AT)

    assert (after_one, ordering.order()["conformity"]) == ("undecided", "conforms")


DISMISS = ("orders", "dismiss-file", "4711", "Image 3.tif", "--reason", "a test shot", "--by")


def label(ordering, public_id, by, code):
    ordering.store.labels.decide(public_id, Decision("code", by, code=code, comment="x"), at=AT)


def name_leads(ordering, *names):
    text = (ordering.folder / "agent.toml").read_text("utf-8")
    named = "leads = [" + ", ".join(f'"{name}"' for name in names) + "]"
    (ordering.folder / "agent.toml").write_text(
        text.replace('leads = ["R. Stahl"]', named), "utf-8"
    )


def write_loose_demand(ordering):
    """Demand less of the product "washer"."""
    loose = DEMAND.replace('"ring-a"', '"loose"').replace("8 or finer", "7 or finer")
    loose = loose.replace('material = "100Cr6"', 'product = "washer"')
    (ordering.folder / "specifications.toml").write_text(DEMAND + loose, encoding="utf-8")
    ordering.store.orders.take_list([Entry("4800", product="washer")], "a.csv", by="x", at=AT)
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field, order="4800", keys={"material": ""}))


def test_a_lead_who_labelled_a_field_as_breaking_does_not_dismiss_it_but_a_second_lead_does(
    ordering,
):
    name_leads(ordering, "R. Stahl", "T. Kupfer")
    label(ordering, stray(ordering, "Image 3.tif"), "R. Stahl", "G7")

    by_author, held = ordering.agent(*DISMISS, "r. stahl"), ordering.order()["conformity"]
    by_author += ordering.agent(*DISMISS, "R. Stahl")
    by_second = ordering.agent(*DISMISS, "T. Kupfer")

    assert (by_author, held, by_second) == (4, "undecided", 0)
    assert ordering.order()["conformity"] == "conforms"


def test_a_lead_who_dismissed_a_field_and_then_labels_it_as_breaking_holds_the_order(ordering):
    public_id = stray(ordering, "Image 3.tif")
    ordering.agent(*DISMISS, "R. Stahl")
    before = ordering.order()["conformity"]

    label(ordering, public_id, "R. Stahl", "G7")

    assert (before, ordering.order()["conformity"]) == ("conforms", "undecided")


@pytest.mark.parametrize("author", ["Ada", "R. Stahl"])
@pytest.mark.parametrize("target", ["4800", "4900"])
def test_who_labelled_a_field_as_breaking_assigns_it_to_no_other_order(ordering, author, target):
    write_loose_demand(ordering)
    public_id = stray(ordering, "Image 3.tif")
    label(ordering, public_id, author, "G7")
    words = ("orders", "assign", public_id, target, "01", "--reason", "slip", "--by")

    by_author, by_bob = ordering.agent(*words, author), ordering.agent(*words, "Bob")
    held = ordering.order()["conformity"]
    name_leads(ordering, "R. Stahl", "T. Kupfer")
    by_second = ordering.agent(*words, "T. Kupfer")

    assert (by_author, by_bob, held, by_second) == (2, 2, "undecided", 0)
    assert ordering.order()["conformity"] == "conforms"


def test_who_labelled_a_field_as_breaking_assigns_it_to_the_only_order_that_it_may_be_of(ordering):
    public_id = stray(ordering, "Image 3.tif")
    label(ordering, public_id, "Ada", "G7")

    code = ordering.agent("orders", "assign", public_id, "4711", "01", "--by", "Ada", "--reason",
                      "slip", "--field", "4")  # fmt: skip

    assert (code, ordering.order()["conformity"]) == (0, "does_not_conform")


def test_a_lead_who_labelled_a_field_of_an_order_as_breaking_moves_it_to_no_other_order(ordering):
    name_leads(ordering, "R. Stahl", "T. Kupfer")
    write_loose_demand(ordering)
    public_id = ordering.take(4, "G7")
    label(ordering, public_id, "R. Stahl", "G7")
    words = ("orders", "assign", public_id, "4800", "01", "--reason", "slip", "--by")

    by_author, word = ordering.agent(*words, "R. Stahl"), ordering.order()["conformity"]
    by_second = ordering.agent(*words, "T. Kupfer")

    assert (by_author, word, by_second) == (2, "does_not_conform", 0)
    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize("by", ["Ada", "R. Stahl"])
def test_a_field_that_was_assigned_elsewhere_holds_again_once_it_is_labelled_as_breaking(
    ordering, by
):
    name_leads(ordering, "R. Stahl", "T. Kupfer")
    write_loose_demand(ordering)
    public_id = stray(ordering, "Image 3.tif")
    ordering.agent("orders", "assign", public_id, "4800", "01", "--field", "9", "--reason",
                   "its washer", "--by", by)  # fmt: skip
    before, told = ordering.order()["conformity"], "; ".join(ordering.order()["notes"])

    label(ordering, public_id, by, "G7")
    held, why = ordering.order()["conformity"], missing(ordering)
    refused = ordering.agent(*DISMISS, by)
    dismissed = ordering.agent(*DISMISS, "T. Kupfer")

    assert (before, held, refused, dismissed) == ("conforms", "undecided", 2, 0)
    assert f"Image 3.tif might be of this order, assigned to order 4800 by {by}" in told
    assert "Image 3.tif was assigned to order 4800, might be of this order and breaks" in why
    assert ordering.order()["conformity"] == "conforms"


def test_an_order_of_an_alike_number_with_a_break_is_dismissed_by_a_second_lead_alone(ordering):
    name_leads(ordering, "R. Stahl", "T. Kupfer")
    label(ordering, ordering.take(4, "G7", order="47I1"), "R. Stahl", "G7")
    words = ("orders", "dismiss-file", "4711", "47I1", "--reason", "a series of I", "--by")

    refused = [ordering.agent(*words, name) for name in ("Ada", "R. Stahl")]
    held = ordering.order()["conformity"]

    assert (refused, held, ordering.agent(*words, "T. Kupfer")) == ([2, 2], "undecided", 0)
    assert ordering.order()["conformity"] == "conforms"


def test_where_no_lead_is_named_a_seen_break_is_taken_away_by_nobody(ordering):
    name_leads(ordering)
    label(ordering, stray(ordering, "Image 3.tif"), "Ada", "G7")

    assert ordering.agent(*DISMISS, "R. Stahl") == 2
    assert ordering.order()["conformity"] == "undecided"


def test_only_a_lead_begins_an_order_with_a_labelled_field_of_no_specimen(ordering):
    public_id = confirm_break(ordering)
    words = ("orders", "assign", public_id, "4900", "01", "--reason", "slip", "--by")

    by_bob, held = ordering.agent(*words, "Bob"), ordering.order()["conformity"]
    by_lead = ordering.agent(*words, "R. Stahl")

    assert (by_bob, held, by_lead) == (2, "undecided", 0)
    assert ordering.order()["conformity"] == "conforms"


def test_an_imported_label_that_keeps_the_limit_dismisses_no_field(ordering):
    public_id = stray(ordering, "Image 3.tif")
    imported = Decision("code", "Ada", code="G8", origin="import")

    ordering.store.labels.decide(public_id, imported, at=AT)

    assert "Image 3.tif belongs to no specimen" in missing(ordering)


def test_a_label_that_a_lead_suspects_dismisses_no_field(ordering):
    public_id = stray(ordering, "Image 3.tif")
    ordering.store.labels.decide(public_id, Decision("code", "Ada", code="G8", comment="x"), at=AT)
    before = ordering.order()["conformity"]

    ordering.store.labels.mark_suspect(
        public_id,
        label_id=ordering.store.results.find(public_id).label.id,
        sentence=LEADS_DOUBT,
        by="R. Stahl",
        at=AT,
    )

    assert before == "conforms"
    assert "Image 3.tif belongs to no specimen" in missing(ordering)


@pytest.mark.parametrize("sends_notes", [True, False])
def test_where_notes_name_the_orders_a_file_without_one_holds_them(tmp_path, capsys, sends_notes):
    ordering = OrderingLab(tmp_path, capsys)
    text = (tmp_path / "agent.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("pattern")]
    (tmp_path / "agent.toml").write_text("\n".join(lines), encoding="utf-8")
    for field in (1, 2, 3):
        if sends_notes:
            ordering.confirm(ordering.take(field))
        else:
            public_id = ordering.lab.take("G8", name=f"Image {field}.tif", at=AT, material="100Cr6")
            keys = ("4711", "01", "--field", field, "--by", "Ada", "--reason", "as written")
            ordering.agent("orders", "assign", public_id, *keys)
            ordering.confirm(public_id)

    stray(ordering, "Image 9.tif")

    assert "Image 9.tif belongs to no specimen" in missing(ordering)
    ordering.store.close()


def test_an_order_that_a_letter_made_holds_the_order_that_it_may_be_until_a_reviewer_says_no(
    ordering,
):
    ordering.take(4, "G7", order="47I1")
    before = missing(ordering)

    ordering.agent(
        "orders", "dismiss-file", "4711", "47I1", "--by", "Ada", "--reason", "a series of I"
    )

    assert "order 47I1 might be this one, its number is alike" in before
    assert ordering.order()["conformity"] == "conforms"
    assert "order 4711 might be this one" not in missing(ordering, "47I1")


def test_what_a_pattern_left_of_a_misread_number_holds_the_order(ordering):
    keys = {"order": "1", "specimen": "01", "field": "4", "material": "100Cr6"}
    ordering.lab.take("G7", name="47I1_01_4.tif", at=AT, **keys)

    assert "order 1 might be this one, its number is alike" in missing(ordering)


@pytest.mark.parametrize("slip", ["4717", "4771", "7411", "47111", "471"])
def test_an_order_that_a_slip_of_one_character_made_holds_the_order_until_a_reviewer_says_no(
    ordering, slip
):
    ordering.take(4, "G7", order=slip)
    before = missing(ordering)

    ordering.agent(
        "orders", "dismiss-file", "4711", slip, "--by", "Ada", "--reason", "another order"
    )

    assert f"order {slip} might be this one, its number is alike" in before
    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize("minutes", [-2, 2])
def test_a_slip_that_repeats_a_field_number_holds_until_its_order_has_all_fields(ordering, minutes):
    at = AT + timedelta(minutes=minutes)
    ordering.take(1, "G7", order="4712", at=at)
    alone = missing(ordering)
    ordering.take(2, order="4712", at=AT + 2 * HOUR)
    begun = missing(ordering)
    ordering.take(3, order="4712", at=AT + 2 * HOUR)

    assert "order 4712 might be this one" in alone
    assert "order 4712 might be this one" in begun
    assert ordering.order()["conformity"] == "conforms"


def test_a_slip_that_repeats_a_field_number_is_dismissed_in_one_act(ordering):
    ordering.take(1, "G7", order="4712", at=AT + timedelta(minutes=2))

    ordering.agent(
        "orders", "dismiss-file", "4711", "4712", "--by", "Ada", "--reason", "the next order"
    )

    assert ordering.order()["conformity"] == "conforms"


def test_where_one_field_is_demanded_the_next_order_is_no_slip_but_one_between_two_shots_is(
    ordering,
):
    write_demand(ordering, fields=1)
    ordering.take(1, order="4712", at=AT + timedelta(minutes=2))
    before = ordering.order()["conformity"]
    ordering.confirm(ordering.take(5, at=AT + timedelta(minutes=3)))

    assert before == "conforms"
    assert "order 4712 might be this one" in missing(ordering)


def test_an_order_of_another_material_is_no_slip(ordering):
    ordering.take(1, "G7", order="4712", at=AT + timedelta(minutes=2), keys={"material": "C45"})

    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize("number", ["4717", "471", "7411"])
def test_a_number_that_a_program_sends_one_character_off_without_a_specimen_holds(ordering, number):
    stray(ordering, "upload.tif", order=number)

    assert "upload.tif belongs to no specimen and might be of this order" in missing(ordering)


@pytest.mark.parametrize("name", ["Image 2025.tif", "4712-01-1.tif"])
def test_a_number_of_an_order_of_long_ago_in_a_name_means_that_order_no_more(ordering, name):
    for number in ("2025", "4712"):
        ordering.take(1, order=number, at=AT - timedelta(days=200))

    stray(ordering, name)

    assert f"{name} belongs to no specimen and might be of this order" in missing(ordering)


def test_a_name_with_the_number_of_an_order_that_a_list_awaits_means_that_one(ordering):
    at = AT - timedelta(days=20)
    ordering.store.orders.take_list([Entry("4900", customer="A")], "a.csv", by="order list", at=at)

    stray(ordering, "4900-01-1.tif")

    assert ordering.order()["conformity"] == "conforms"


def test_an_order_of_a_list_or_with_all_its_fields_or_of_another_hour_is_no_slip(ordering):
    ordering.store.orders.take_list([Entry("4712", customer="A")], "a.csv", by="order list", at=AT)
    ordering.take(4, "G7", order="4712")
    for field in (4, 5, 6):
        ordering.take(field, "G7", order="4713")
    ordering.take(4, "G7", order="4799")
    ordering.take(4, "G7", order="4714", at=AT + 2 * HOUR)

    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("Image 3.tif", {}),
        ("47l1_01_4.tif", {}),
        ("4717_01_4.tif", {"order": "4717", "specimen": "01", "field": "4"}),
    ],
)
def test_what_might_belong_to_an_order_touches_it_at_once(ordering, name, keys):
    lab = read_order_policy(read(ordering.folder / "agent.toml"), ordering.store)
    _, position = list_touched(ordering.store, lambda: lab, position=begin(ordering.store), now=AT)

    stray(ordering, name, at=AT + timedelta(minutes=1), **keys)
    touched, _ = list_touched(ordering.store, lambda: lab, position=position, now=AT)

    assert "4711" in touched


def test_what_belongs_to_another_order_touches_that_one_alone(ordering):
    lab = read_order_policy(read(ordering.folder / "agent.toml"), ordering.store)
    _, position = list_touched(ordering.store, lambda: lab, position=begin(ordering.store), now=AT)

    ordering.take(1, order="8800")
    touched, _ = list_touched(ordering.store, lambda: lab, position=position, now=AT)

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
