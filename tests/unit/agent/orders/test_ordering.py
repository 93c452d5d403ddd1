"""What the shell says of orders: whether they conform, what is missing, and what to do about it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from labs.ordering import AT, BUNDLE, DEMAND, VALIDATED

from agent.orders.judge import method_validation


def test_the_json_of_an_order_is_what_the_contract_says(ordering):
    ids = [ordering.take(n) for n in (1, 2)]

    document = ordering.order()

    specimen = document["specimens"][0]
    assert document["order"] == "4711"
    assert document["conformity"] == "undecided"
    assert document["missing"][0].startswith("specimen 01: 2 of 3 fields; ")
    assert specimen["specimen"] == "01"
    assert specimen["preparation"] == "1"
    assert specimen["specification"] == "ring-a"
    assert specimen["missing"][0] == "2 of 3 fields"
    assert [field["id"] for field in specimen["fields"]] == ids
    assert {"structure_code", "prediction_set", "handling", "reasons"} <= set(specimen["fields"][0])


def test_the_table_says_in_words_what_is_missing(ordering):
    ordering.check()
    ordering.take(1)
    ordering.take(2, reasons=("uncertain",))

    assert ordering.agent("orders", "show", "4711") == 0

    assert "Order 4711: undecided" in ordering.out
    assert "2 of 3 fields" in ordering.out
    assert "field 2 awaits review (uncertain)" in ordering.out
    assert "G, 8 or finer (mean) (ring-a, version 1)" in ordering.out


def test_an_order_nobody_has_heard_of_is_said(ordering):
    assert ordering.agent("orders", "show", "1") == 2
    assert "Unknown order '1'" in ordering.err


def test_what_people_confirmed_conforms_and_one_coarse_field_does_not(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    fine = ordering.order()["conformity"]
    ordering.confirm(ordering.take(4, "G7"), "G7")
    coarse = ordering.order()

    assert fine == "conforms"
    assert coarse["conformity"] == "does_not_conform"
    assert coarse["because"] == [
        "specimen 01: field 4 is G7, confirmed by Ada: 8 or finer is demanded"
    ]


def automatic(ordering, *words, by="R. Stahl"):
    return ordering.agent("spec", "automatic", "100Cr6", "--by", by, "--reason", "valid", *words)


def test_the_model_alone_says_conforms_only_once_a_lead_switched_it_on(ordering):
    ordering.promote()
    nobody, refused = automatic(ordering, by="Ada"), automatic(ordering)
    why = ordering.err
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, VALIDATED, by="Ada", at=AT)
    switched = automatic(ordering)
    later = datetime.now(UTC) + timedelta(hours=1)
    ordering.check(at=later)
    for field in (1, 2, 3):
        ordering.take(field, at=later)

    assert (nobody, refused, switched) == (2, 2, 0)
    assert "no validation record for the bundle in use" in why
    assert ordering.order()["conformity"] == "conforms"
    assert automatic(ordering, "--off") == 0
    assert ordering.order()["specimens"][0]["missing"] == [
        "3 fields rest on the model alone, and automatic conformity is off for 100Cr6"
    ]
    assert ordering.order()["conformity"] == "undecided"


def test_no_permission_is_given_by_a_clock_that_was_set_back(ordering):
    ordering.promote()
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, VALIDATED, by="Ada", at=AT)
    ordering.check(at=datetime.now(UTC) + timedelta(hours=1))

    assert automatic(ordering) == 2
    assert "Set the clock" in ordering.err


def test_switching_it_on_covers_no_result_made_before(ordering):
    ordering.promote()
    ordering.check()
    for field in (1, 2, 3):
        ordering.take(field)
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, VALIDATED, by="Ada", at=AT)

    assert automatic(ordering) == 0

    (missing,) = ordering.order()["specimens"][0]["missing"]
    assert "not made after automatic conformity was switched on" in missing


def test_a_second_act_takes_nothing_back_and_switching_off_takes_all(ordering):
    first, second = AT - timedelta(days=2), AT + timedelta(days=2)
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, VALIDATED, by="Ada", at=first)
    said = {"bundle": BUNDLE, "most": 0.02, "by": "R. Stahl", "reason": "valid"}
    method_validation.set_permission(ordering.store, "100Cr6", on=True, at=first, **said)
    method_validation.set_permission(ordering.store, "100Cr6", on=True, at=second, **said)

    spans = [
        (allowance.since, allowance.until)
        for allowance in method_validation.load_allowances(ordering.store)
    ]
    method_validation.set_permission(ordering.store, "100Cr6", on=False, at=second, **said)

    assert spans == [(first, second), (second, None)]
    assert method_validation.load_allowances(ordering.store) == ()


def test_a_record_whose_bound_is_too_large_switches_nothing_on_and_says_what_is_needed(ordering):
    ordering.promote()
    limit = VALIDATED["limits"]["G 8 or finer"]
    few = {"n": 59, "wrong": 0, "upper95": 0.0495}
    short = limit | {"other_subtype": few, "bound95": 0.0495}
    facts = VALIDATED | {"limits": {"G 8 or finer": short}}
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, facts, by="Ada", at=AT)

    assert automatic(ordering) == 2
    assert "at most 4.95%" in " ".join(ordering.err.split())
    assert "0 wrong of 59 of other subtypes (needed: 0 of 149)" in " ".join(ordering.err.split())
    assert method_validation.load_allowances(ordering.store) == ()


def test_a_record_without_scales_switches_nothing_on(ordering):
    ordering.promote()
    facts = {"limits": {"G 8 or finer": {"n": 500, "wrong": 0, "upper95": 0.006}}, "images": 900}
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, facts, by="Ada", at=AT)

    assert automatic(ordering) == 2
    assert "validate again" in " ".join(ordering.err.split())


def test_where_some_limits_reach_the_bound_it_says_which(ordering):
    ordering.promote()
    limit = VALIDATED["limits"]["G 8 or finer"]
    wrong = limit | {"n": 4, "wrong": 3, "upper95": 0.987, "bound95": 0.987}
    facts = VALIDATED | {"limits": {"G 8 or finer": limit, "G 9 or finer": wrong}}
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, facts, by="Ada", at=AT)

    assert automatic(ordering) == 0

    out = " ".join(ordering.out.split())
    assert "on: G 8 or finer: at most 1.99%, 0 wrong of 149" in out
    assert "off: G 9 or finer: at most 98.70%, 3 wrong of 4 that break it" in out


def test_a_file_still_in_the_queue_keeps_its_order_open(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    ordering.lab.arrive("4711_01_4.tif", at=AT)
    ordering.lab.arrive("4711_02_1.tif", at=AT)

    document = ordering.order()

    assert document["conformity"] == "undecided"
    assert document["specimens"][0]["missing"] == ["1 file still to be read"]
    assert "1 file still to be read" in document["missing"]


def test_an_order_list_says_what_is_required_and_a_broken_row_is_named(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    listed = ordering.folder / "monday.csv"
    listed.write_text(
        "Auftrag;Werkstoff;Schliff;Eilig;subtype\n4711;100Cr6;01;ja;G\n4711;100Cr6;02;ja;G\n"
        "4712;C56E2;01;vielleicht;M\n;100Cr6;01;;G\n4713;100Cr6;01;;X\n",
        encoding="cp1252",
    )

    code = ordering.agent("orders", "import", listed)
    broken = ordering.err
    document = ordering.order()
    ordering.agent("orders", "list", "--json")

    assert code == 1
    assert "monday.csv, line 4: urgent: write yes or no, found 'vielleicht'" in broken
    assert "line 5: names no order" in broken
    assert "line 6: there is no subtype 'X'; known are B, G, M" in broken
    assert document["missing"] == ["specimen 02: no images received"]
    assert [order["order"] for order in json.loads(ordering.out)] == ["4711"]
    assert json.loads(ordering.out)[0]["urgent"] is True


def test_rows_of_one_order_that_disagree_are_not_chosen_between(ordering):
    listed = ordering.folder / "monday.csv"
    listed.write_text("order,material\n4711,100Cr6\n4711,C56E2\n4712,C56E2\n", encoding="utf-8")

    assert ordering.agent("orders", "import", listed) == 1
    assert "order 4711: material is '100Cr6', and 'C56E2' in line 3" in ordering.err
    assert ordering.agent("orders", "list") == 0
    assert "4712" in ordering.out
    assert "4711" not in ordering.out


def test_a_list_that_says_one_thing_in_two_columns_is_refused(ordering):
    file = ordering.folder / "orders.csv"
    file.write_text("Auftrag;Charge;batch\n4711;A;B\n", encoding="utf-8")

    assert ordering.agent("orders", "import", file) == 2
    assert "two columns say batch: 'Charge' and 'batch'" in ordering.err


def test_an_order_list_does_not_ask_for_fewer_specimens_than_its_limit(ordering):
    (ordering.folder / "specifications.toml").write_text(
        DEMAND + "specimens = 2\n", encoding="utf-8"
    )
    file = ordering.folder / "orders.csv"
    file.write_text("order;specimens\n4711;1\n4712;3\n", encoding="utf-8")
    ordering.agent("orders", "import", file)
    for number in ("4711", "4712"):
        ordering.take(1, order=number)

    assert "1 of 2 specimens" in ordering.order()["missing"]
    assert "1 of 3 specimens" in ordering.order("4712")["missing"]


@pytest.mark.parametrize(
    "rest",
    ['4711,"100Cr6\n4712,100Cr6\n', '4711,"100Cr6\n4712,"100Cr6"\n4713,C56E2\n'],
)
def test_a_quote_that_is_not_closed_is_named_where_its_record_begins(ordering, rest):
    listed = ordering.folder / "monday.csv"
    listed.write_text(f"order,material\n{rest}", encoding="utf-8")

    assert ordering.agent("orders", "import", listed) == 2
    assert "line 2 is no CSV" in ordering.err


def test_a_broken_record_of_two_lines_is_named_where_it_begins(ordering):
    listed = ordering.folder / "monday.csv"
    listed.write_text('order,customer,urgent\n\n4711,"A\nB",no\n', encoding="utf-8")

    assert ordering.agent("orders", "import", listed) == 1
    assert "monday.csv, line 3: customer" in ordering.err


@pytest.mark.parametrize("name", ["Müller", "Wärmetechnik", "Döring", "Übler KG für Öfen"])
def test_a_list_in_the_letters_of_dos_is_refused(ordering, name):
    listed = ordering.folder / "monday.csv"
    listed.write_bytes(f"order,customer\n4710,Meier\n4711,{name}\n".encode("cp850"))

    assert ordering.agent("orders", "import", listed) == 2
    assert (
        "line 3: its letters are neither UTF-8 nor Windows-1252; save it as UTF-8" in ordering.err
    )


@pytest.mark.parametrize("letter", ["\x84", "\x9f", "\ufffd"])
def test_a_row_with_what_is_left_of_a_letter_is_broken(ordering, letter):
    listed = ordering.folder / "monday.csv"
    listed.write_text(f"order,customer\n4711,W{letter}rme\n4712,A\n", encoding="utf-8")

    assert ordering.agent("orders", "import", listed) == 1
    assert "monday.csv, line 2: customer: it holds letters" in ordering.err
    assert "save it as UTF-8" in ordering.err


@pytest.mark.parametrize("name", ["Müller „Stahl“ GmbH", "Škoda", "Dušan Košice", "50 € – Å"])
def test_a_list_of_windows_is_read(ordering, name):
    listed = ordering.folder / "monday.csv"
    listed.write_bytes(f"order,customer\n4711,{name}\n".encode("cp1252"))

    assert ordering.agent("orders", "import", listed) == 0
    assert "1 order new or changed" in ordering.out


def test_a_list_without_a_column_order_is_refused_with_what_was_found(ordering):
    listed = ordering.folder / "monday.csv"
    listed.write_text("number,material\n4711,100Cr6\n", encoding="utf-8")

    assert ordering.agent("orders", "import", listed) == 2
    assert "its first line has to name the column 'order'; found 'number,material'" in ordering.err
    listed.write_text("order,materiel,due\n4711,100Cr6,monday\n", encoding="utf-8")
    assert ordering.agent("orders", "import", listed) == 2
    assert "no column is called 'materiel'. Did you mean material?" in ordering.err


def test_a_misspelt_subtype_in_a_list_names_the_nearest_one(ordering):
    listed = ordering.folder / "monday.csv"
    listed.write_text("order,subtype\n4711,g\n", encoding="utf-8")

    assert ordering.agent("orders", "import", listed) == 1
    assert "no subtype 'g'; known are B, G, M. Did you mean G?" in ordering.err


def test_a_field_without_its_keys_is_listed_and_assigned_with_a_reason(ordering):
    stray = ordering.take(1, keys={"specimen": ""})
    ordering.agent("orders", "list", "--unassigned")
    listed = ordering.out
    refused = ordering.agent("orders", "assign", stray, "4711", "01", "--by", "Ada")

    assert "no specimen is known of it" in listed
    assert refused == 2
    assert "--reason TEXT" in ordering.err
    words = ("--field", "1", "--by", "Ada", "--reason", "label fell off")
    assert ordering.agent("orders", "assign", stray, "4711", "01", *words) == 0
    assert [field["id"] for field in ordering.order()["specimens"][0]["fields"]] == [stray]
    (act,) = ordering.store.audit_log.iter_acts("field.assigned")
    assert act.facts["reason"] == "label fell off"


def test_a_field_that_names_the_order_alone_keeps_it_open(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    ordering.take(4, keys={"specimen": ""})

    document = ordering.order()

    assert document["conformity"] == "undecided"
    assert "names the order and belongs to no specimen" in document["missing"][0]


def test_a_specimen_prepared_again_counts_anew_and_shows_what_was_before(ordering):
    coarse = [ordering.take(n, "G7") for n in (1, 2)]
    hidden = ordering.agent(
        "orders", "supersede", "4711", "--specimen", "01", "--by", "Ada", "--reason", "again"
    )
    refusal = ordering.err
    words = ("--by", "R. Stahl", "--reason", "too dark", "--defect", "over_etched")
    assert ordering.agent("orders", "supersede", "4711", "--specimen", "01", *words) == 0
    ordering.at = datetime.now(UTC)
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))

    document = ordering.order()

    specimen = document["specimens"][0]
    assert hidden == 2
    assert "could be 7, so it could break the limit: a lead alone may replace it" in refusal
    assert specimen["preparation"] == "2"
    assert document["conformity"] == "conforms"
    assert [field["id"] for field in specimen["superseded"]] == coarse
    assert specimen["superseded"][0]["superseded"]["reason"] == "too dark"
    assert specimen["notes"] == ["second preparation, first result: coarser (G7, now G8)"]


def test_a_file_from_before_the_next_preparation_is_of_the_earlier_one(ordering):
    ordering.take(1)
    waiting = [ordering.lab.arrive(f"4711_01_{n}.tif", at=AT) for n in (2, 3)]
    words = ("--by", "R. Stahl", "--reason", "too dark", "--defect", "over_etched")
    assert ordering.agent("orders", "supersede", "4711", "--specimen", "01", *words) == 0
    now = datetime.now(UTC)

    for n, claim in enumerate(waiting, start=2):
        ordering.take(n, claim=claim, at=now)

    (specimen,) = ordering.order()["specimens"]
    assert specimen["preparation"] == "2"
    assert specimen["fields"] == []
    assert len(specimen["superseded"]) == 3
    assert specimen["notes"][0] == (
        "field 2 came after the next preparation started, from a file of before: it is of "
        "preparation 1"
    )


@pytest.mark.parametrize(("changed_at", "preparation"), [(-60, "1"), (60, "2"), (-90 * 86400, "2")])
def test_a_file_that_was_changed_before_the_next_preparation_is_of_the_earlier_one(
    ordering, changed_at, preparation
):
    ordering.at = begun_at = datetime.now(UTC)
    ordering.take(1)
    words = ("--by", "R. Stahl", "--reason", "too dark", "--defect", "over_etched")
    assert ordering.agent("orders", "supersede", "4711", "--specimen", "01", *words) == 0

    late = ordering.lab.arrive(
        "4711_01_2.tif",
        at=begun_at + timedelta(minutes=5),
        mtime_ns=int((begun_at.timestamp() + changed_at) * 1e9),
    )
    public_id = ordering.take(2, claim=late, at=begun_at + timedelta(minutes=6))

    (specimen,) = ordering.order()["specimens"]
    there = {field["id"] for field in specimen["fields"]}
    assert (public_id in there) == (preparation == "2")


def test_a_lead_may_replace_a_coarse_field_without_a_defect_and_it_stays_visible(ordering):
    coarse = ordering.take(1, "G7")
    words = ("orders", "supersede", coarse, "--reason", "shot at the edge")
    by_ada, by_lead = (
        ordering.agent(*words, "--by", "Ada"),
        ordering.agent(*words, "--by", "R. Stahl"),
    )
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))

    document = ordering.order()

    assert (by_ada, by_lead) == (2, 0)
    assert document["conformity"] == "conforms"
    assert document["specimens"][0]["superseded"][0]["superseded"]["lead"] is True


def test_a_field_is_not_moved_away_without_a_lead(ordering):
    coarse, fine = ordering.take(1, "G7"), ordering.take(2)
    words = ("--reason", "wrong label", "--by")
    away = ("orders", "assign", coarse, "4712", "01")

    by_ada, refusal = ordering.agent(*away, *words, "Ada"), ordering.err
    renamed = ordering.agent(
        "orders", "assign", coarse, "4711", "01", "--field", "9", *words, "Ada"
    )
    fine_one = ordering.agent("orders", "assign", fine, "4712", "01", *words, "Ada")
    by_lead = ordering.agent(*away, *words, "R. Stahl")

    assert (by_ada, renamed, fine_one, by_lead) == (2, 0, 2, 0)
    assert "is named for 4711/01: only a lead may assign it elsewhere" in refusal


@pytest.mark.parametrize("place", [("47\n11", "01"), ("4711", "0\t1")])
def test_a_place_that_no_page_can_show_is_refused(ordering, place):
    stray = ordering.take(1, keys={"specimen": "", "order": ""})

    code = ordering.agent(
        "orders", "assign", stray, *place, "--by", "Ada", "--reason", "label fell"
    )

    assert (code, ordering.store.orders.all()) == (2, [])


def test_of_two_people_who_assign_one_field_the_second_is_told(ordering):
    stray = ordering.take(1, keys={"specimen": "", "order": ""})
    browser, to = ordering.browser(), f"/review/{stray}/assign"
    ada = {"by": "Ada", "order": "4711", "specimen": "01", "reason": "label fell off"}
    eve = ada | {"by": "Eve", "specimen": "02"}

    answers = [
        browser.post(to, data=form, follow_redirects=False).status_code for form in (ada, ada, eve)
    ]
    second = browser.post(to, data=eve).text

    assert answers == [303, 303, 422]
    assert "It has been assigned already: order 4711, specimen 01" in second
    assert [act.actor for act in ordering.store.audit_log.iter_acts("field.assigned")] == ["Ada"]


def test_a_coarse_field_of_an_earlier_preparation_stays_with_its_specimen(ordering):
    coarse = ordering.take(1, "G7")
    words = ("--by", "Ada", "--reason", "too dark", "--defect", "over_etched")
    ordering.agent("orders", "supersede", "4711", "--specimen", "01", *words)

    moved = ordering.agent(
        "orders", "assign", coarse, "4712", "01", "--by", "Ada", "--reason", "wrong label"
    )

    assert moved == 2


def test_specifications_are_listed_checked_and_versioned(ordering):
    file = ordering.folder / "specifications.toml"
    assert ordering.agent("spec", "list", "--check") == 0
    assert ordering.agent("spec", "list") == 0
    first = ordering.out
    file.write_text(DEMAND.replace("8 or finer", "7 or finer"), encoding="utf-8")
    assert ordering.agent("spec", "list", "--json") == 0
    second = json.loads(ordering.out)
    file.write_text(DEMAND.replace("8 or finer", "9 or coarser"), encoding="utf-8")

    assert "ring-a" in first
    assert [(one["limit"], one["version"]) for one in second] == [("7 or finer", 2)]
    assert ordering.agent("spec", "list", "--check") == 2
    assert "ring-a: limit:" in ordering.err
    assert "cuts the size 9-10 of subtype G in two" in ordering.err


def test_two_specifications_that_both_apply_leave_the_order_undecided(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    file = ordering.folder / "specifications.toml"
    file.write_text(DEMAND + DEMAND.replace("ring-a", "ring-b"), encoding="utf-8")

    document = ordering.order()

    assert document["conformity"] == "undecided"
    assert "ring-a and ring-b both apply" in document["missing"][0]


def test_a_limit_that_names_an_unknown_size_is_named_and_the_order_stays_undecided(ordering):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    file = ordering.folder / "specifications.toml"
    file.write_text(DEMAND.replace("8 or finer", "12 or finer"), encoding="utf-8")

    document = ordering.order()

    assert document["conformity"] == "undecided"
    assert document["specimens"][0]["missing"] == [
        "subtype G has no size 12; known are 5, 6, 7, 8, 9-10"
    ]


def test_without_a_limit_an_order_is_not_assessed(ordering):
    ordering.take(1)
    (ordering.folder / "specifications.toml").unlink()

    document = ordering.order()

    assert document["conformity"] == "not_assessed"
    assert document["missing"] == ["no specification limit is set for material 100Cr6"]


def test_the_page_and_the_api_say_what_the_command_says(ordering):
    ordering.take(1, reasons=("uncertain",), specimen="<b>7</b>")
    told = json.loads(json.dumps(ordering.order()))
    browser = ordering.browser()

    page = browser.get("/order/4711")

    assert browser.get("/api/v1/orders/4711").json() == told
    assert page.status_code == 200
    assert "undecided" in page.text
    assert "field 1 awaits review (uncertain)" in page.text
    assert "&lt;b&gt;7&lt;/b&gt;" in page.text
    assert "<b>7</b>" not in page.text
    assert browser.get("/order/1").status_code == 404
    assert browser.get("/api/v1/orders/1").status_code == 404


def test_a_broken_file_of_limits_is_the_labs_fault_and_no_callers(ordering):
    ordering.take(1)
    (ordering.folder / "specifications.toml").write_text(DEMAND + "feilds = 3\n", encoding="utf-8")
    browser = ordering.browser()

    page, answer = browser.get("/order/4711"), browser.get("/api/v1/orders/4711")

    assert (page.status_code, answer.status_code) == (503, 503)
    assert "The specification limits cannot be used" in page.text
    assert "no key is called feilds" in page.text
    assert "no key is called feilds" in answer.json()["detail"]


def test_an_order_number_with_a_slash_has_a_page_and_an_answer(ordering):
    ordering.take(1, order="4711/26")
    browser = ordering.browser()

    assert browser.get("/api/v1/orders/4711%2F26").json()["order"] == "4711/26"
    assert "Order 4711/26" in browser.get("/order/4711%2F26").text


def test_a_german_page_of_an_order_says_what_is_missing_in_german(ordering):
    file = ordering.folder / "agent.toml"
    file.write_text(file.read_text("utf-8") + '\n[report]\nlanguage = "de"\n', encoding="utf-8")
    ordering.take(1, reasons=("uncertain",))
    ordering.confirm(ordering.take(2, "G7"), "G7")
    ordering.lab.set_aside("4711_01_3.tif", "truncated", "the TIFF ends too early.", at=AT)

    page = ordering.browser().get("/order/4711").text

    assert "entspricht nicht" in page
    assert "Gesichtsfeld 2 ist G7, bestätigt von Ada: gefordert ist 8 oder feiner" in page
    assert "gefordert: G, 8 oder feiner (Mittel)" in page
    assert "4711_01_3.tif: Abgeschnitten. Die Datei endet zu früh" in page
    assert ordering.order()["demand"] == "G, 8 or finer (mean)"
    assert ordering.order()["because"][0].startswith("specimen 01: field 2 is G7, confirmed by Ada")


def test_the_list_of_orders_shows_urgent_ones_first_and_what_belongs_to_none(ordering):
    ordering.take(1, order="4711")
    ordering.take(1, order="4712", reasons=("uncertain",))
    stray = ordering.take(2, keys={"specimen": "", "order": "<i>4713</i>"})
    ordering.agent("orders", "urgent", "4712")

    page = ordering.browser().get("/orders").text

    assert page.index("4712") < page.index("4711")
    assert "urgent" in page
    assert "no specimen is known of it" in page
    assert f'action="/review/{stray}/assign"' in page
    assert "&lt;i&gt;4713&lt;/i&gt;" in page
    assert "<i>4713</i>" not in page


def test_a_field_is_assigned_on_the_page_with_name_and_reason(ordering):
    stray = ordering.take(1, keys={"specimen": "", "order": ""})
    browser, to = ordering.browser(), f"/review/{stray}/assign"
    place = {"order": "4711", "specimen": "01", "field": "1"}

    nobody = browser.post(to, data=place | {"reason": "label fell off"})
    unreasoned = browser.post(to, data=place | {"by": "Ada"})
    unplaced = browser.post(to, data={"by": "Ada", "order": "4711", "reason": "label fell off"})
    done = browser.post(
        to, data=place | {"by": "Ada", "reason": "label fell off"}, follow_redirects=False
    )

    assert (nobody.status_code, unreasoned.status_code, unplaced.status_code) == (422, 422, 422)
    assert 'value="label fell off"' in nobody.text  # nothing typed is lost while the name is asked
    assert "Add a reason" in unreasoned.text
    assert "An assignment needs an order number and a specimen" in unplaced.text
    assert (done.status_code, done.headers["location"]) == (303, "/order/4711")
    assert [field["id"] for field in ordering.order()["specimens"][0]["fields"]] == [stray]
    (act,) = ordering.store.audit_log.iter_acts("field.assigned")
    assert (act.actor, act.facts["reason"]) == ("Ada", "label fell off")
