"""No act of somebody who is no lead makes an order conform; what a lead decides stays visible."""

import hashlib
from datetime import timedelta
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from labs import lab
from labs.ordering import AT, BUNDLE, DEMAND, SETTINGS, VALIDATED, OrderingLab, missing, notes, word

from agent.demo.micrograph import draw_micrograph
from agent.errors import UsageError
from agent.imaging import encode_landmarks
from agent.orders.facts import order_list
from agent.orders.facts.order_policy import load_policy
from agent.orders.facts.place_check import PlaceCheck
from agent.orders.judge.assessment import assess
from agent.orders.judge.method_validation import save_record, set_permission
from agent.orders.lead_acts import LeadAct, carry_out, list_possible_acts
from agent.orders.specifications.specification_history import reopen
from agent.settings import read
from agent.store import NOT_A_FILE, ClaimedPlace, Decision, Entry, MicrographResult, Store
from agent.triage import Handling, TriageVerdict
from agent.watch import ListedFile
from model import default_taxonomy

LEAD = "R. Stahl"


def three(ordering, *, order="4711", confirm=True):
    ids = [ordering.take(n, order=order) for n in (1, 2, 3)]
    for public_id in ids if confirm else ():
        ordering.confirm(public_id)
    return ids


def listed(ordering, number="4711", name="list.csv", **given):
    facts = {key: given.pop(key) for key in ("specimens", "count", "specification") if key in given}
    entry = Entry(number, facts=facts, **given)
    return ordering.store.orders.take_list([entry], name, by="order list", at=AT)


# --- what names an order holds it ----------------------------------------------------------------


def test_the_content_of_a_field_under_another_order_holds_both(ordering):
    (coarse,) = [ordering.take(4, "G7")]
    three(ordering)
    other = three(ordering, order="4712")
    content = ordering.store.results.find(coarse)
    claims = [ClaimedPlace("4712", "01", "copy", "4712_01_4.tif")]
    (row,) = [f for f in ordering.store.files.iter_status() if f.sha256 == content.sha256]

    torn = ordering.store.order_naming.claim_again(row.id, claims, "4712_01_4.tif", at=AT)

    assert torn == [coarse]
    assert (word(ordering), word(ordering, "4712")) == ("undecided", "undecided")
    assert coarse in missing(ordering)
    assert coarse in missing(ordering, "4712")
    assert len(other) == 3


def test_nobody_but_a_lead_assigns_what_two_orders_are_named_for(ordering):
    coarse = ordering.take(4, "G7")
    three(ordering)
    three(ordering, order="4712")
    (row,) = [
        f
        for f in ordering.store.files.iter_status()
        if f.sha256 == ordering.store.results.find(coarse).sha256
    ]
    claims = [ClaimedPlace("4712", "01", "copy", "4712_01_4.tif")]
    ordering.store.order_naming.claim_again(row.id, claims, "4712_01_4.tif", at=AT)
    words = ("orders", "assign", coarse, "4712", "01", "--field", "9", "--reason", "mine")

    by_ada, refusal = ordering.agent(*words, "--by", "Ada"), ordering.err
    by_lead = ordering.agent(*words, "--by", LEAD)

    assert (by_ada, by_lead) == (2, 0)
    assert "only a lead may assign it elsewhere" in refusal
    assert word(ordering) == "conforms"
    (note,) = notes(ordering)
    assert note.endswith("R. Stahl assigned it: mine")
    assert (
        word(ordering, "4712") == "undecided"
    )  # its fourth field is G7, and nobody has confirmed it


def test_moving_a_good_field_into_another_order_needs_a_lead_and_stays_visible(ordering):
    ids = three(ordering)
    words = ("orders", "assign", ids[0], "4712", "01", "--reason", "lent", "--by")

    by_ada, by_lead = ordering.agent(*words, "Ada"), ordering.agent(*words, LEAD)

    assert (by_ada, by_lead) == (2, 0)
    assert "was named for specimen 01 by its earlier place" in ordering.order()["notes"][0]


# --- numbers -------------------------------------------------------------------------------------


def test_orders_that_differ_by_case_spaces_or_zeros_are_one(ordering):
    ordering.take(1, order="2611A")
    ordering.take(2, order="2611a")
    ordering.take(3, order="02611 a\u200b")

    assert [line.number for line in ordering.store.orders.all()] == ["2611A"]
    assert len(ordering.order("2611a")["specimens"][0]["fields"]) == 3


def test_specimens_that_differ_by_zeros_are_one(ordering):
    listed(ordering, specimens=["1", "2"])
    ordering.take(1, specimen="01")
    ordering.take(2, specimen="1")

    assert [one["specimen"] for one in ordering.order()["specimens"]] == ["01"]
    assert "specimen 2: no images received" in missing(ordering)
    assert "specimen 1:" not in missing(ordering)


def test_a_lab_may_mean_every_spelling_as_an_order(tmp_path, capsys):
    ordering = OrderingLab(tmp_path, capsys)
    settings = tmp_path / "agent.toml"
    settings.write_text(
        settings.read_text("utf-8").replace("[orders]\n", "[orders]\nexact_numbers = true\n"),
        encoding="utf-8",
    )
    assert read(settings).orders.exact_numbers
    ordering.store.close()

    from agent.store import Store  # noqa: PLC0415

    with Store.open(
        f"sqlite:///{tmp_path}/exact.db", site="Plant 1", agent="test", exact_numbers=True
    ) as store:
        for number in ("2611A", "2611a"):
            store.orders.take_list([Entry(number)], "list.csv", by="Ada", at=AT)

        assert sorted(line.number for line in store.orders.all()) == ["2611A", "2611a"]


# --- lists ---------------------------------------------------------------------------------------


def test_a_list_with_fewer_specimens_waits_for_a_lead(ordering):
    listed(ordering, specimens=["01", "02"])
    three(ordering)
    listed(ordering, name="again.csv", specimens=["01"])

    before = missing(ordering)
    by_ada = ordering.agent(
        "orders", "amend", "4711", "--by", "Ada", "--reason", "one was scrapped"
    )
    by_lead = ordering.agent(
        "orders", "amend", "4711", "--by", LEAD, "--reason", "one was scrapped"
    )

    assert "specimen 02: no images received" in before
    assert "list again.csv changes specimens from 01, 02 to 01: a lead decides" in before
    assert (by_ada, by_lead) == (2, 0)
    assert word(ordering) == "conforms"
    assert notes(ordering) == ["change of specimens accepted by R. Stahl: one was scrapped"]


def test_a_dismissed_list_changes_nothing(ordering):
    listed(ordering, specimens=["01", "02"])
    listed(ordering, name="again.csv", specimens=["01"])

    ordering.agent("orders", "amend", "4711", "--dismiss", "--by", LEAD, "--reason", "typed wrong")
    ordering.take(1)

    assert "specimen 02: no images received" in missing(ordering)
    assert "a lead decides (agent orders amend)" not in missing(ordering)


@pytest.mark.parametrize(
    "change", [{"material": "C56E2"}, {"count": 1}, {"specification": "loose"}]
)
def test_a_list_that_changes_material_limit_or_number_waits(ordering, change):
    listed(ordering, material="100Cr6", count=2, specification="ring-a")
    three(ordering)

    listed(ordering, name="again.csv", **change)

    assert "list again.csv changes" in missing(ordering)


def test_a_list_that_names_a_looser_specification_after_the_first_field_waits(ordering):
    loose = DEMAND.replace('"ring-a"', '"loose"').replace("8 or finer", "7 or finer")
    loose = loose.replace('material = "100Cr6"', 'product = "washer"')
    (ordering.folder / "specifications.toml").write_text(DEMAND + loose, encoding="utf-8")
    ids = [ordering.take(n, "G7") for n in (1, 2, 3)]
    for public_id in ids:
        ordering.confirm(public_id, "G7")
    assert word(ordering) == "does_not_conform"

    listed(ordering, name="late.csv", specification="loose")

    assert word(ordering) == "does_not_conform"
    assert "makes loose of ring-a the specification: a lead decides" in missing(ordering)


AMEND = ("orders", "amend", "4711", "--reason", "the customer agreed", "--by")


def broken_by_the_lead_and_listed(ordering, *leads):
    """Take an order that the lead labelled as breaking; a later list names a looser limit."""
    name_leads(ordering, *leads)
    loose = DEMAND.replace('"ring-a"', '"loose"').replace("8 or finer", "7 or finer")
    loose = loose.replace('material = "100Cr6"', 'product = "washer"')
    (ordering.folder / "specifications.toml").write_text(DEMAND + loose, encoding="utf-8")
    for public_id in [ordering.take(n, "G7") for n in (1, 2, 3)]:
        ordering.store.labels.decide(public_id, Decision("code", LEAD, code="G7"), at=AT)
    listed(ordering, name="late.csv", specification="loose")


def test_who_labelled_the_break_accepts_no_looser_limit_of_a_list_where_there_is_another_lead(
    ordering,
):
    broken_by_the_lead_and_listed(ordering, LEAD, "T. Kupfer")

    by_author, why, held = ordering.agent(*AMEND, LEAD), ordering.err, word(ordering)
    by_second = ordering.agent(*AMEND, "T. Kupfer")

    assert (by_author, held, by_second) == (2, "does_not_conform", 0)
    assert "another lead decides about order 4711" in " ".join(why.split())
    assert word(ordering) == "conforms"


def test_where_there_is_one_lead_the_statement_says_that_who_labelled_the_break_accepted_the_list(
    ordering,
):
    broken_by_the_lead_and_listed(ordering, LEAD)

    assert ordering.agent(*AMEND, LEAD) == 0
    assert word(ordering) == "conforms"
    assert any(
        note.startswith("R. Stahl labelled field 1, 2, 3 as breaking the limit before")
        for note in notes(ordering)
    )


def test_who_labelled_the_break_dismisses_a_looser_limit_of_a_list(ordering):
    broken_by_the_lead_and_listed(ordering, LEAD, "T. Kupfer")

    assert ordering.agent(*AMEND, LEAD, "--dismiss") == 0
    assert word(ordering) == "does_not_conform"


def test_until_a_lead_decides_an_order_is_judged_by_the_specification_before_a_late_list(ordering):
    stricter = DEMAND.replace('"ring-a"', '"more"').replace("fields = 3", "fields = 5")
    stricter = stricter.replace('material = "100Cr6"', 'product = "washer"')
    (ordering.folder / "specifications.toml").write_text(DEMAND + stricter, encoding="utf-8")
    three(ordering)

    listed(ordering, name="late.csv", specification="more")
    before = missing(ordering)
    ordering.store.order_corrections.amend("4711", accept=True, by=LEAD, reason="asked for", at=AT)

    assert "makes more of ring-a the specification: a lead decides" in before
    assert "of 5 fields" not in before
    assert "3 of 5 fields" in missing(ordering)


def test_a_list_is_late_where_a_field_of_the_order_was_torn_from_it_before(ordering):
    loose = DEMAND.replace('"ring-a"', '"loose"').replace("8 or finer", "7 or finer")
    loose = loose.replace('material = "100Cr6"', 'product = "washer"')
    (ordering.folder / "specifications.toml").write_text(DEMAND + loose, encoding="utf-8")
    coarse = ordering.take(1, "G7")
    (row,) = ordering.store.files.iter_status()
    claims = [ClaimedPlace("4712", "01", "copy", "4712_01_4.tif")]
    ordering.store.order_naming.claim_again(row.id, claims, "4712_01_4.tif", at=AT)

    listed(ordering, name="first.csv", specification="loose")
    listed(ordering, "4712", name="first.csv", specification="loose")
    keys = {"order": "4711", "specimen": "01"}
    ordering.store.order_corrections.assign(coarse, keys, by=LEAD, reason="mine", at=AT, lead=True)

    assert "makes loose of ring-a the specification: a lead decides" in missing(ordering)
    view = ordering.store.orders.order("4712")
    assert view.facts["late"] == ["specification"]


def test_a_late_list_that_names_an_unknown_specification_keeps_the_order_open(ordering):
    three(ordering)

    listed(ordering, name="late.csv", specification="none-such")

    assert word(ordering) == "undecided"
    assert "none-such" in missing(ordering)


def test_a_second_list_names_no_looser_specification_either(ordering):
    loose = DEMAND.replace('"ring-a"', '"ring-c"').replace("8 or finer", "7 or finer")
    loose = loose.replace('material = "100Cr6"', 'customer = "Easy"')
    (ordering.folder / "specifications.toml").write_text(DEMAND + loose, encoding="utf-8")
    listed(ordering, material="100Cr6")
    listed(ordering, name="second.csv", material="100Cr6", specification="ring-c")
    for public_id in [ordering.take(n, "G7") for n in (1, 2, 3)]:
        ordering.confirm(public_id, "G7")

    assert word(ordering) != "conforms"
    assert "a later list makes ring-c of ring-a the specification" in missing(ordering)


def test_a_list_that_comes_late_and_changes_no_limit_does_no_harm(ordering):
    three(ordering)

    listed(ordering, name="late.csv", customer="Adler", material="100Cr6", specimens=["01"])

    assert word(ordering) == "conforms"


# --- rules have dates ----------------------------------------------------------------------------


def loosen(ordering, limit="7 or finer"):
    text = DEMAND.replace("8 or finer", limit)
    (ordering.folder / "specifications.toml").write_text(text, encoding="utf-8")


def broken(ordering):
    for public_id in [ordering.take(n, "G7") for n in (1, 2, 3)]:
        ordering.confirm(public_id, "G7")


def test_an_edit_in_place_does_not_change_an_order_that_was_released_before(ordering):
    ordering.agent("spec", "list")
    broken(ordering)
    assert word(ordering) == "does_not_conform"

    loosen(ordering)
    document = ordering.order()

    assert (document["conformity"], document["specification_version"]) == ("does_not_conform", 1)
    (note,) = notes(ordering)
    assert note.startswith("version 1 of ring-a applies, as it was valid when the order was")
    assert note.endswith("now valid: ring-a 2")


def test_nor_does_another_name_for_the_looser_rule(ordering):
    ordering.agent("spec", "list")
    broken(ordering)
    ordering.order()

    text = DEMAND.replace("8 or finer", "7 or finer").replace('"ring-a"', '"ring-b"')
    (ordering.folder / "specifications.toml").write_text(text, encoding="utf-8")

    assert word(ordering) == "does_not_conform"


def test_a_lead_reopens_an_order_with_a_reason_and_both_are_shown(ordering):
    ordering.agent("spec", "list")
    broken(ordering)
    ordering.order()
    loosen(ordering)
    words = ("orders", "reopen", "4711", "--reason", "the customer agreed", "--by")

    by_ada, unreasoned = (
        ordering.agent(*words, "Ada"),
        ordering.agent("orders", "reopen", "4711", "--by", LEAD),
    )
    by_lead = ordering.agent(*words, LEAD)
    document = ordering.order()

    assert (by_ada, unreasoned, by_lead) == (2, 2, 0)
    assert (document["conformity"], document["specification_version"]) == ("conforms", 2)
    assert notes(ordering) == [
        "reopened by R. Stahl: the customer agreed; version 2 of ring-a applies"
    ]


REOPEN = ("orders", "reopen", "4711", "--reason", "the customer agreed", "--by")


def name_leads(ordering, *leads):
    named = "leads = [" + ", ".join(f'"{name}"' for name in leads) + "]"
    text = SETTINGS.replace('leads = ["R. Stahl"]', named)
    (ordering.folder / "agent.toml").write_text(text, encoding="utf-8")


def broken_by_the_lead(ordering, *leads):
    """Take an order of which the lead labelled each field as breaking, and loosen its limit."""
    name_leads(ordering, *leads)
    ordering.agent("spec", "list")
    for public_id in [ordering.take(n, "G7") for n in (1, 2, 3)]:
        ordering.store.labels.decide(public_id, Decision("code", LEAD, code="G7"), at=AT)
    loosen(ordering)


def test_who_labelled_the_break_reopens_no_order_by_a_looser_limit_where_there_is_another_lead(
    ordering,
):
    broken_by_the_lead(ordering, LEAD, "T. Kupfer")

    by_author, why, held = ordering.agent(*REOPEN, "r. stahl"), "", word(ordering)
    by_author, why = (by_author, ordering.agent(*REOPEN, LEAD)), ordering.err
    by_second = ordering.agent(*REOPEN, "T. Kupfer")

    assert (by_author, held, by_second) == ((2, 2), "does_not_conform", 0)
    assert "another lead decides about order 4711" in " ".join(why.split())
    assert word(ordering) == "conforms"


def test_who_labelled_the_break_reopens_an_order_by_a_stricter_limit(ordering):
    broken_by_the_lead(ordering, LEAD, "T. Kupfer")
    loosen(ordering, "9-10 or finer")

    assert ordering.agent(*REOPEN, LEAD) == 0
    assert word(ordering) == "does_not_conform"


def test_where_there_is_one_lead_the_statement_says_that_who_labelled_the_break_reopened_it(
    ordering,
):
    broken_by_the_lead(ordering, LEAD)

    assert ordering.agent(*REOPEN, LEAD) == 0
    assert word(ordering) == "conforms"
    assert any(
        note.startswith("R. Stahl labelled field 1, 2, 3 as breaking the limit before")
        for note in notes(ordering)
    )


def test_a_later_order_is_judged_by_the_later_version(ordering):
    ordering.agent("spec", "list")
    loosen(ordering)
    ordering.agent("spec", "list")
    keys = {"order": "4711", "specimen": "01", "material": "100Cr6"}
    for n in (1, 2, 3):
        public_id = ordering.lab.take("G7", at=AT + timedelta(days=30000), field=str(n), **keys)
        ordering.confirm(public_id, "G7")

    assert word(ordering) == "conforms"


def read_at(ordering, at):
    """Assess the order as an agent whose clock shows a time."""
    rules = load_policy(
        read(ordering.folder / "agent.toml"), ordering.store, default_taxonomy(), now=at
    )
    return str(assess(ordering.store, "4711", rules).statement.conformity)


def test_an_edit_is_no_older_than_an_order_because_the_clock_was_set_back(ordering):
    read_at_first = load_policy(
        read(ordering.folder / "agent.toml"),
        ordering.store,
        default_taxonomy(),
        now=AT - timedelta(hours=2),
    )
    broken(ordering)
    loosen(ordering)

    assert read_at_first.specifications
    assert read_at(ordering, AT - timedelta(hours=1)) == "does_not_conform"


DEMANDS = {
    "scale_valid_months = 12": "scale not traced to a stage micrometer",
    "second_look_at_limit = true": "a second reviewer is needed",
    "max_false_conform = 0.01": "up to 1.99% of G 8 or finer could be called conforming falsely",
}


def permit(ordering):
    """Let the model alone say "conforms", by a validation whose bound is 1.99 %."""
    given = {"by": LEAD, "at": AT - timedelta(days=2)}
    save_record(ordering.store, "100Cr6", BUNDLE, VALIDATED, **given)
    set_permission(
        ordering.store, "100Cr6", on=True, bundle=BUNDLE, most=0.02, reason="valid", **given
    )
    ordering.promote()
    ordering.check()


@pytest.mark.parametrize("demand", DEMANDS)
def test_a_setting_that_is_loosened_or_tightened_changes_no_order_that_was_released_before(
    ordering, demand
):
    loose, file = SETTINGS, ordering.folder / "agent.toml"
    file.write_text(f"{loose}{demand}\n", encoding="utf-8")
    is_automatic = demand.startswith("max_false_conform")
    if is_automatic:
        permit(ordering)
    three(ordering, confirm=not is_automatic)
    held = word(ordering), missing(ordering)
    file.write_text(loose, encoding="utf-8")
    still = word(ordering), missing(ordering)
    three(ordering, order="4712", confirm=not is_automatic)
    later = word(ordering, "4712")
    ordering.agent("orders", "reopen", "4711", "--by", LEAD, "--reason", "no longer demanded")
    reopened = word(ordering)
    file.write_text(f"{loose}{demand}\n", encoding="utf-8")

    assert held[0] == "undecided"
    assert DEMANDS[demand] in held[1]
    assert still == held
    assert (later, reopened) == ("conforms", "conforms")
    assert (word(ordering), word(ordering, "4712")) == ("conforms", "conforms")
    assert any("the settings of the order's release apply" in note for note in notes(ordering))


MONTH = timedelta(days=30)


def take_by_a_clock_set_back(ordering, code="G7"):
    """Take an order by a clock that is a month back, when another limit was valid."""
    newer = DEMAND.replace("2026-01-01", "2026-11-10")
    older = DEMAND.replace("8 or finer", "7 or finer")
    older = older.replace("fields = 3", "fields = 3\nvalid_until = 2026-11-09")
    (ordering.folder / "specifications.toml").write_text(older + newer, encoding="utf-8")
    ordering.take(1, order="8800")
    for n in (1, 2, 3):
        ordering.confirm(ordering.take(n, code, at=AT - MONTH), code)


def test_an_order_that_arrives_by_a_clock_set_back_has_no_expired_limit_until_a_lead_decides(
    ordering,
):
    take_by_a_clock_set_back(ordering)
    before, why = word(ordering), missing(ordering)
    words = ("orders", "reopen", "4711", "--reason", "the clock was a month back", "--by")

    by_ada, by_lead = ordering.agent(*words, "Ada"), ordering.agent(*words, LEAD)

    assert before == "undecided"
    assert "the clock was behind when the order arrived, at 2026-10-25 09:00 UTC" in why
    assert "an act of 2026-11-24 09:00 UTC" in why
    assert (by_ada, by_lead) == (2, 0)
    assert word(ordering) == "does_not_conform"


def test_an_order_that_arrives_by_a_clock_set_back_to_the_same_limit_is_not_held(ordering):
    ordering.take(1, order="8800")
    for n in (1, 2, 3):
        ordering.confirm(ordering.take(n, at=AT - MONTH))

    assert word(ordering) == "conforms"


def take_by_a_clock_ahead(ordering, *, by_list, code="G7"):
    """Take an order by a clock that is two months ahead, when another limit is valid."""
    older = DEMAND.replace("fields = 3", "fields = 3\nvalid_until = 2026-12-31")
    newer = DEMAND.replace("2026-01-01", "2027-01-01").replace("8 or finer", "7 or finer")
    (ordering.folder / "specifications.toml").write_text(older + newer, encoding="utf-8")
    ahead = AT + 2 * MONTH
    if by_list:
        ordering.store.orders.take_list(
            [Entry("4711", material="100Cr6")], "l", by="list", at=ahead
        )
    for n in (1, 2, 3):
        ordering.confirm(ordering.take(n, code, at=AT if by_list or n > 1 else ahead), code)


@pytest.mark.parametrize("by_list", [True, False])
def test_an_order_that_arrives_by_a_clock_ahead_has_no_later_limit_until_a_lead_decides(
    ordering, by_list
):
    take_by_a_clock_ahead(ordering, by_list=by_list)
    before, why = word(ordering), missing(ordering)

    reopen(ordering.store, "4711", by=LEAD, reason="the clock was ahead", at=AT + 3 * MONTH)

    assert before == "undecided"
    assert "the order arrived at 2027-01-23 09:00 UTC, after the time of a field or label" in why
    assert "2026-11-24 09:00 UTC" in why
    assert word(ordering) == "conforms"


def test_after_a_clock_was_ahead_a_lead_who_confirms_the_present_one_reopens_the_order(ordering):
    take_by_a_clock_ahead(ordering, by_list=False)
    now, store = AT + timedelta(hours=1), ordering.store
    policy = load_policy(read(ordering.folder / "agent.toml"), store, default_taxonomy(), now=now)
    shown = list_possible_acts(store, assess(store, "4711", policy), policy, at=now)
    (possible,) = [act for act in shown if act.act is LeadAct.REOPEN]
    given = {"by": LEAD, "reason": "the clock was ahead", "at": now}

    with pytest.raises(UsageError, match="--despite 2027-01-23T09:00"):
        carry_out(store, policy, "4711", LeadAct.REOPEN, **given)
    carry_out(store, policy, "4711", LeadAct.REOPEN, about=possible.about, **given)

    assert "that the clock of this PC is right, 2026-11-24 10:00 UTC" in possible.effect
    assert word(ordering) == "does_not_conform"
    assert any("although an act is dated 2027-01-23T09:00" in note for note in notes(ordering))


def test_an_order_that_arrives_by_a_clock_ahead_with_the_same_limit_is_not_held(ordering):
    for n in (1, 2, 3):
        ordering.confirm(ordering.take(n, at=AT + MONTH * (n == 1)))

    assert word(ordering) == "conforms"


def test_no_lead_reopens_an_order_by_a_clock_that_was_set_back(ordering):
    take_by_a_clock_set_back(ordering)

    with pytest.raises(UsageError, match="Set the clock"):
        reopen(ordering.store, "4711", by=LEAD, reason="late", at=AT - MONTH)


# --- what was lost, and who says what -------------------------------------------------------------


def test_a_file_that_could_not_be_used_keeps_its_order_open_until_a_lead_dismisses_it(ordering):
    three(ordering)
    ordering.lab.set_aside("4711_01_4.tif", "truncated", "it ends early")

    before = missing(ordering)
    words = ("orders", "dismiss-file", "4711", "4711_01_4.tif", "--reason", "a test shot", "--by")
    by_ada, by_lead = ordering.agent(*words, "Ada"), ordering.agent(*words, LEAD)

    assert before.startswith("4711_01_4.tif could not be used")
    assert (by_ada, by_lead) == (2, 0)
    assert word(ordering) == "conforms"
    assert "dismissed by R. Stahl: a test shot" in ordering.order()["notes"][0]


# --- names mean what they meant when they were listed ---------------------------------------------


EDITS = {
    "taken out": lambda toml: toml.replace(
        toml[toml.index("[[sources]]") : toml.index("[orders]")], ""
    ),
    "renamed": lambda toml: toml.replace('name = "LOM-07"', 'name = "LOM-7b"'),
    "another pattern": lambda toml: toml.replace("(?P<field>", "X(?P<field>"),
    "another order": lambda toml: toml.replace("(?P<order>", r"(?P<order>\\d)(?:"),
}
"""What may become of a source in the settings."""


def list_file(ordering, name, source="LOM-07", at=AT):
    """List a file of a source as its watch does: how its names are read is recorded first."""
    ordering.store.sources.note_reading(
        source,
        "/export",
        pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)",
        fixed={"material": "100Cr6"},
    )
    ordering.store.files.add([ListedFile(source, Path("/export"), name, 10, 1)], at=at)


def edit_settings(ordering, edit):
    path = ordering.folder / "agent.toml"
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("is_unusable", [True, False], ids=["unusable", "unread"])
def test_an_edit_of_a_source_takes_no_hold_of_its_files_back(ordering, edit, is_unusable):
    three(ordering)
    list_file(ordering, "4711_01_4.tif")
    if is_unusable:
        (claim,) = ordering.store.work_queue.claim(1, at=AT, lease_s=60)
        ordering.store.work_queue.set_aside(claim, "truncated", "it ends early", at=AT)
    before = word(ordering)

    edit_settings(ordering, edit)

    assert (before, word(ordering)) == ("undecided", "undecided")


def test_a_lead_dismisses_an_unread_file_of_a_source_that_the_settings_no_longer_name(ordering):
    three(ordering)
    list_file(ordering, "4711_01_4.tif")
    edit_settings(ordering, EDITS["taken out"])
    words = ("orders", "dismiss-file", "4711", "4711_01_4.tif", "--reason", "a test shot", "--by")

    before = missing(ordering)
    by_ada, by_lead = ordering.agent(*words, "Ada"), ordering.agent(*words, LEAD)

    assert before == (
        "4711_01_4.tif has no result, and the settings of this PC no longer name its source "
        "LOM-07: a PC that watches it reads it, or a lead dismisses it (agent orders dismiss-file)"
    )
    assert (by_ada, by_lead) == (2, 0)
    assert word(ordering) == "conforms"


def test_an_unread_file_that_a_pattern_names_for_another_order_now_is_dismissed_for_the_first(
    ordering,
):
    three(ordering)
    list_file(ordering, "4711_01_4.tif")
    (claim,) = ordering.store.work_queue.claim(1, at=AT, lease_s=60)
    ordering.store.work_queue.set_aside(claim, "truncated", "it ends early", at=AT)
    edit_settings(ordering, EDITS["another order"])

    ended = ordering.agent(
        "orders", "dismiss-file", "4711", "4711_01_4.tif", "--reason", "of 9", "--by", LEAD
    )

    assert (ended, word(ordering)) == (0, "conforms")


def test_a_file_listed_after_an_edit_means_only_what_the_settings_say_since(ordering):
    three(ordering)
    list_file(ordering, "4711_01_1.tif")  # an unread one, under the earlier pattern
    later = AT + timedelta(hours=1)
    ordering.store.sources.note_reading("LOM-07", "/export", pattern="", fixed={})
    edit_settings(ordering, lambda toml: toml.replace("(?P<order>", "(?P<batch>"))
    ordering.store.files.add(
        [ListedFile("LOM-07", Path("/export"), "4711_01_5.tif", 10, 1)],
        at=later + timedelta(minutes=1),
    )

    assert missing(ordering) == "specimen 01: 1 file still to be read"


def test_the_order_of_edit_and_listing_is_that_of_their_numbers_not_of_a_clock(ordering):
    three(ordering)
    list_file(ordering, "4711_01_4.tif", at=AT + timedelta(hours=9))  # the clock was set back since
    ordering.store.sources.note_reading("LOM-07", "/export", pattern="", fixed={})
    edit_settings(ordering, lambda toml: toml.replace("(?P<order>", "(?P<batch>"))

    assert missing(ordering) == "specimen 01: 1 file still to be read"


def test_a_source_that_another_pc_watches_holds_what_its_unread_files_name(ordering):
    three(ordering)
    other = Store.open(
        f"sqlite:///{ordering.lab.folder / 'martensight.db'}", site="Plant 1", agent="PC-B"
    )
    other.sources.note_reading("Y", "/y", pattern="", fixed={"order": "4711"})
    other.files.add([ListedFile("Y", Path("/y"), "Image 1.tif", 10, 1)], at=AT)
    other.close()

    assert word(ordering) == "undecided"
    assert "Image 1.tif has no result" in missing(ordering)


def test_a_link_with_the_name_of_a_micrograph_holds_the_order_until_a_lead_dismisses_it(ordering):
    three(ordering)
    link = ListedFile("LOM-07", Path("/export"), "4711_01_4.tif", 10, 1)
    ordering.store.files.add_ignored([link], NOT_A_FILE, "it is a link", at=AT)
    before = missing(ordering)

    words = ("orders", "dismiss-file", "4711", "4711_01_4.tif", "--reason", "a link", "--by", LEAD)
    ended = ordering.agent(*words)

    assert before.startswith("4711_01_4.tif could not be used")
    assert (ended, word(ordering)) == (0, "conforms")


def test_a_source_under_a_new_name_whose_files_were_listed_again_holds_nothing_twice(ordering):
    three(ordering)
    list_file(ordering, "4711_01_4.tif")
    edit_settings(ordering, EDITS["renamed"])
    list_file(ordering, "4711_01_4.tif", "LOM-7b", AT + timedelta(hours=1))

    assert missing(ordering) == "specimen 01: 1 file still to be read"
    assert "4711_01_4.tif was listed again in source LOM-7b" in notes(ordering)


# --- statements -----------------------------------------------------------------------------------


def test_a_statement_names_its_rule_and_what_is_not_known_of_its_errors(ordering):
    three(ordering)

    rule = ordering.order()["decision_rule"]

    assert rule["name"] == "guarded acceptance"
    assert rule["sources"] == ["JCGM 106:2012", "ILAC-G8:09/2019"]
    assert rule["reviewers"] == ["Ada"]
    assert rule["false_conform_upper95"] is None
    assert rule["false_conform"].startswith('risk of a false "conforms": not yet known')


def test_a_confirmed_break_is_set_aside_by_a_second_person_with_a_picture(ordering):
    ids = three(ordering)
    coarse = ordering.take(4, "G7")
    ordering.store.labels.decide(coarse, Decision("code", LEAD, code="G7"), at=AT)
    (ordering.folder / "agent.toml").write_text(
        (ordering.folder / "agent.toml")
        .read_text("utf-8")
        .replace('["R. Stahl"]', '["R. Stahl", "M. Erz"]'),
        encoding="utf-8",
    )
    picture = ordering.folder / "stain.png"
    picture.write_bytes(_png())
    words = ("orders", "supersede", coarse, "--reason", "a stain", "--defect", "stained")

    own = ordering.agent(*words, "--by", LEAD, "--picture", picture)
    bare = ordering.agent(*words, "--by", "M. Erz")
    by_reviewer = ordering.agent(*words, "--by", "Ada", "--picture", picture)
    text = ordering.agent(*words, "--by", "M. Erz", "--picture", ordering.folder / "agent.toml")
    shown = ordering.agent(*words, "--by", "M. Erz", "--picture", picture)

    assert (own, bare, by_reviewer, text, shown) == (2, 2, 2, 2, 0)
    assert word(ordering) == "conforms"
    gone = ordering.order()["specimens"][0]["superseded"][0]["superseded"]
    assert (gone["by"], gone["defect"], len(gone["picture"])) == ("M. Erz", "stained", 64)
    assert len(ids) == 3


def _png():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_a_broken_label_that_is_taken_back_at_once_was_a_slip_and_later_it_was_not(ordering):
    ids = three(ordering, confirm=False)
    for public_id in ids[:2]:
        ordering.confirm(public_id)
    slip, late = timedelta(seconds=20), timedelta(hours=1)

    ordering.confirm(ids[2], "G7")
    ordering.store.labels.undo(ids[2], by="Ada", at=AT + slip)
    ordering.confirm(ids[2])
    at_once = word(ordering)
    other = three(ordering, order="4712", confirm=False)
    for public_id in other[:2]:
        ordering.confirm(public_id)
    ordering.confirm(other[2], "G7")
    ordering.store.labels.undo(other[2], by="Ada", at=AT + late)
    ordering.confirm(other[2])

    assert (at_once, word(ordering, "4712")) == ("conforms", "undecided")
    assert "field 3 was G7, labelled by Ada" in missing(ordering, "4712")


def test_a_break_that_is_taken_back_in_a_leads_name_stays_until_a_lead_gives_the_code(ordering):
    ids = three(ordering, confirm=False)
    for public_id in ids[:2]:
        ordering.confirm(public_id)
    ordering.confirm(ids[2], "G7")
    ordering.store.labels.undo(ids[2], by=LEAD, at=AT + timedelta(minutes=1))
    ordering.confirm(ids[2])

    before = word(ordering), missing(ordering)
    keeps = Decision("code", LEAD, code="G8", comment="the label was of the next field")
    ordering.store.labels.decide(ids[2], keeps, at=AT + timedelta(minutes=2))

    assert before[0] == "undecided"
    assert "field 3 was G7, labelled by Ada" in before[1]
    assert word(ordering) == "conforms"


def test_a_label_that_is_taken_back_after_the_clock_was_set_back_is_no_slip(ordering):
    ids = three(ordering, confirm=False)
    for public_id in ids[:2]:
        ordering.confirm(public_id)

    ordering.confirm(ids[2], "G7")
    ordering.store.labels.undo(ids[2], by="Ada", at=AT - timedelta(hours=1))
    ordering.confirm(ids[2])

    assert word(ordering) == "undecided"
    assert "field 3 was G7, labelled by Ada" in missing(ordering)


def test_order_lists_of_the_folder_wait_in_the_same_way(ordering):
    first, again = ordering.folder / "first.csv", ordering.folder / "again.csv"
    first.write_text("order,specimen\n4711,01\n4711,02\n", encoding="utf-8")
    again.write_text("order,specimen\n4711,01\n", encoding="utf-8")

    for path in (first, again):
        order_list.import_list(ordering.store, path, subtypes=["G"], by="order list", at=AT)
    three(ordering)

    assert "list again.csv changes specimens" in missing(ordering)


# --- one place is one field ----------------------------------------------------------------------


@cache
def steel(seed):
    """Draw a place; the same seed shows the same one."""
    return draw_micrograph(
        "G8", seed=seed, um_per_px=0.2, size=(480, 360), bar=None, border=False
    ).pixels


def show(ordering, field, pixels, *, order="4711", confirm=True):
    public_id = ordering.take(field, order=order, pixels=pixels)
    if confirm:
        ordering.confirm(public_id)
    return public_id


TRICKS = {
    "turned": lambda pixels: np.ascontiguousarray(np.rot90(pixels)),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
    "brighter": lambda pixels: np.clip(pixels.astype(int) + 3, 0, 255).astype(np.uint8) // 4 * 4,
    "shifted": lambda pixels: np.ascontiguousarray(pixels[:, 100:]),
    "saved again": lambda pixels: cv2.imdecode(
        cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR
    ),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_two_micrographs_of_one_place_count_once_and_the_statement_names_them(ordering, trick):
    show(ordering, 1, steel(1))
    show(ordering, 2, steel(2))
    show(ordering, 3, TRICKS[trick](steel(1)))

    document = ordering.order()

    assert document["conformity"] == "undecided"
    assert "2 of 3 fields; field 1 and field 3 show one place" in "; ".join(document["missing"])
    assert "counted once" in document["specimens"][0]["notes"][0]


def test_a_mosaic_whose_tiles_overlap_by_a_tenth_is_three_places(ordering):
    wide = draw_micrograph(
        "G8", seed=5, um_per_px=0.2, size=(1344, 360), bar=None, border=False
    ).pixels
    for n in (1, 2, 3):
        left = (n - 1) * 432
        show(ordering, n, np.ascontiguousarray(wide[:, left : left + 480]))

    assert word(ordering) == "conforms"
    assert "field 1 and field 2 overlap by 10%" in ordering.order()["specimens"][0]["notes"][0]


def test_three_places_of_one_specimen_are_three(ordering):
    for n in (1, 2, 3):
        show(ordering, n, steel(n))

    assert word(ordering) == "conforms"
    assert ordering.order()["specimens"][0]["notes"] == []


def test_a_place_of_another_order_holds_both_until_a_lead_decides(ordering):
    own = [show(ordering, n, steel(n)) for n in (1, 2, 3)]
    copy = show(ordering, 1, TRICKS["brighter"](steel(2)), order="4712")
    for n in (4, 5):
        show(ordering, n, steel(n), order="4712")
    words = ("orders", "same-place", own[1], copy, "--reason", "the export was mixed up", "--by")

    before = (word(ordering), word(ordering, "4712"))
    by_ada, by_lead = (
        ordering.agent(*words, "Ada", "--belongs"),
        ordering.agent(*words, LEAD, "--belongs"),
    )

    assert before == ("undecided", "undecided")
    assert (by_ada, by_lead) == (2, 0)
    assert (word(ordering), word(ordering, "4712")) == ("conforms", "undecided")
    assert "field 1 shows the place of field 2 of order 4711, specimen 01" in missing(
        ordering, "4712"
    )
    (note,) = ordering.order()["specimens"][0]["notes"]
    assert note.startswith("field 2 keeps the place that field 1 of order 4712, specimen 01 shows")
    assert note.endswith("decided by R. Stahl: the export was mixed up")


def test_a_lead_may_decide_that_two_places_are_two(ordering):
    own = [show(ordering, n, steel(n)) for n in (1, 2)]
    again = show(ordering, 3, TRICKS["turned"](steel(1)))
    words = ("orders", "same-place", own[0], again, "--by", LEAD)

    unreasoned = ordering.agent(*words, "--different")
    both = ordering.agent(*words, "--different", "--belongs", "--reason", "looked at both")
    strangers = ordering.agent(
        "orders", "same-place", own[0], own[1], "--by", LEAD, "--different", "--reason", "x"
    )
    decided = ordering.agent(*words, "--different", "--reason", "looked at both")

    assert (unreasoned, both, strangers, decided) == (2, 2, 2, 0)
    assert word(ordering) == "conforms"
    assert (
        "show different places, decided by R. Stahl" in ordering.order()["specimens"][0]["notes"][0]
    )


def store_uncompared(ordering, name, pixels, *, origin="watch", claims=(), **keys):
    """Take a micrograph that lab.take does not: not compared, imported, or of no specimen."""
    claim = ordering.lab.arrive(name, at=AT)
    crop = lab.crop_of(hashlib.sha256(name.encode()).hexdigest(), pixels)
    finding = MicrographResult(
        lab.facts_of(crop),
        keys,
        {},
        lab.prediction_of("G8"),
        TriageVerdict(Handling.AUTOMATIC, ()),
        landmarks=encode_landmarks(crop),
        origin=origin,
        unassigned="it claims two orders" if claims else "",
        claims=claims,
    )
    ordering.store.work_queue.finish(claim, [finding], at=AT)
    return crop.id


def store_directly(ordering, name, pixels, **given):
    store_uncompared(ordering, name, pixels, **given)
    ordering.lab.places.compare_pending(at=AT)


def test_a_field_counts_only_after_it_was_compared(ordering):
    three(ordering)
    keys = {"order": "4711", "specimen": "01", "field": "4", "material": "100Cr6"}
    ordering.confirm(store_uncompared(ordering, "4711_01_4.tif", steel(4), **keys))

    before = missing(ordering)
    ordering.lab.places.compare_pending(at=AT)

    assert "field 4 is not yet compared with the other micrographs" in before
    assert word(ordering) == "conforms"


def test_what_another_agent_wrote_meanwhile_is_compared_too(ordering):
    show(ordering, 1, steel(1))
    other = PlaceCheck(ordering.store)
    other.compare_pending(at=AT)
    show(ordering, 2, steel(2))
    keys = {"order": "4712", "specimen": "01", "field": "1", "material": "100Cr6"}
    store_uncompared(ordering, "4712_01_1.tif", TRICKS["mirrored"](steel(2)), **keys)

    other.compare_pending(at=AT)

    assert "shows the place of field 2 of order 4711" in missing(ordering, "4712")


def test_a_trial_shot_that_belongs_to_no_specimen_does_no_harm_once_a_reviewer_dismissed_it(
    ordering,
):
    store_directly(ordering, "trial.tif", TRICKS["brighter"](steel(1)))
    for n in (1, 2, 3):
        show(ordering, n, steel(n))
    before = missing(ordering)

    ordering.agent(
        "orders", "dismiss-file", "4711", "trial.tif", "--by", "Ada", "--reason", "a trial"
    )

    assert before.startswith("trial.tif belongs to no specimen")
    assert "; " not in before
    assert word(ordering) == "conforms"


def test_an_imported_micrograph_is_no_field_and_a_later_import_changes_nothing(ordering):
    store_directly(ordering, "g8/old.tif", TRICKS["mirrored"](steel(1)), origin="import")
    for n in (1, 2, 3):
        show(ordering, n, steel(n))
        show(ordering, n, steel(n + 10), order="4712")
    store_directly(ordering, "g8/new.tif", TRICKS["brighter"](steel(12)), origin="import")

    assert "field 1 shows the place of the imported micrograph" in missing(ordering)
    assert word(ordering, "4712") == "conforms"


def test_the_place_of_a_control_specimen_is_lent_to_no_order(ordering):
    checked = PlaceCheck(ordering.store, control=("CTRL",))
    ordering.lab.places = checked
    for n in (1, 2):
        show(ordering, n, TRICKS["brighter"](steel(1)) if n > 1 else steel(1), order="CTRL")
    for n in (1, 2, 3):
        show(ordering, n, steel(n))

    assert "field 1 shows the place of field" in missing(ordering)
    assert (
        len(
            ordering.store.places.known(
                {view.id for view in ordering.store.results.iter_all()}
            ).pairs
        )
        == 2
    )


@pytest.fixture
def other_site(ordering):
    """Another site that shares the database of the desk."""
    other = lab.Lab(ordering.folder / "data")
    other.store.close()
    url = f"sqlite:///{ordering.folder / 'data' / 'martensight.db'}"
    other.store = Store.open(url, site="Plant 2", agent="other")
    other.places = PlaceCheck(other.store)
    yield other
    other.store.close()


def take_there(other_site, order="8001"):
    keys = {"order": order, "specimen": "01", "field": "1"} if order else {}
    return other_site.take(
        "G8", name=f"there_{order}.tif", at=AT, pixels=steel(1), material="100Cr6", **keys
    )


def test_a_place_of_another_site_of_the_database_proves_nothing_until_a_lead_decides(
    ordering, other_site
):
    theirs = take_there(other_site)
    own = show(ordering, 1, TRICKS["brighter"](steel(1)))
    for n in (2, 3):
        show(ordering, n, steel(n))
    before, page = missing(ordering), ordering.browser().get("/order/4711")
    words = ("orders", "same-place", own, f"Plant 2/{theirs}", "--different", "--reason", "seen")

    refused = ordering.agent(*words, "--by", "Ada")
    code = ordering.agent(*words, "--by", "R. Stahl")

    assert f"field 1 shows the place of the micrograph Plant 2/{theirs} of another site" in before
    assert "8001" not in before
    assert page.status_code == 200
    assert (refused, code) == (2, 0)
    assert word(ordering) == "conforms"
    assert ordering.agent("verify") == 0, ordering.out


def test_one_file_at_two_sites_is_one_place(ordering, other_site):
    take_there(other_site)
    ordering.lab.take("G8", name="there_8001.tif", at=AT, pixels=steel(1), material="100Cr6",
                  order="4711", specimen="01", field="1")  # fmt: skip

    assert "field 1 shows the place of the micrograph Plant 2/" in missing(ordering)


def test_a_micrograph_of_another_site_that_names_no_order_holds_nothing(ordering, other_site):
    take_there(other_site, order="")
    for n in (1, 2, 3):
        show(ordering, n, TRICKS["brighter"](steel(n)))

    assert word(ordering) == "conforms"


def test_a_place_that_two_orders_claim_is_lent_to_no_third_one(ordering):
    claims = [ClaimedPlace("4712", "01", "path"), ClaimedPlace("4713", "01", "note")]
    store_directly(ordering, "4712_01_1.tif", steel(1), order="4712", claims=claims)
    show(ordering, 1, TRICKS["brighter"](steel(1)))
    for n in (2, 3):
        show(ordering, n, steel(n))

    assert word(ordering) == "undecided"
    assert "field 1 shows the place of the micrograph" in missing(ordering)


# --- the page of a pair --------------------------------------------------------------------------


def test_a_lead_sees_both_in_one_frame_and_decides_at_the_page(ordering):
    first = show(ordering, 1, steel(1))
    show(ordering, 2, steel(2))
    copy = show(ordering, 3, TRICKS["mirrored"](steel(1)))
    browser = ordering.browser()
    address = f"/places/{copy}/{first}"
    form = {"verdict": "different", "reason": "two rows of needles"}

    order = browser.get("/order/4711").text
    page = browser.get(address)
    picture = browser.get(f"/pictures/{copy}/over/{first}.jpg")
    by_ada = browser.post(address, data={**form, "by": "Ada"}, follow_redirects=False)
    unreasoned = browser.post(address, data={"verdict": "different", "by": LEAD})
    odd = browser.post(address, data={**form, "verdict": "maybe", "by": LEAD})
    by_lead = browser.post(address, data={**form, "by": LEAD}, follow_redirects=False)

    assert f'href="/places/{first}/{copy}"' in order or f'href="{address}"' in order
    assert "They share 100% of the smaller one." in page.text
    drawn = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    shown = TRICKS["mirrored"](steel(1)).mean(axis=2)
    assert np.corrcoef(drawn[20:-20, 20:-20].ravel(), shown[20:-20, 20:-20].ravel())[0, 1] > 0.9
    assert (by_ada.status_code, by_lead.status_code) == (422, 303)
    assert (unreasoned.status_code, odd.status_code) == (422, 422)
    assert word(ordering) == "conforms"


def test_a_pair_that_is_none_has_no_page(ordering):
    own = [show(ordering, n, steel(n)) for n in (1, 2)]
    browser = ordering.browser()

    assert browser.get(f"/places/{own[0]}/{own[1]}").status_code == 404
    assert browser.get(f"/pictures/{own[0]}/over/{own[1]}.jpg").status_code == 404
