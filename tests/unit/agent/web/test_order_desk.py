"""Orders that only a reviewer or a lead can settle are counted, reachable and settled in one go."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, TAXONOMY, minutes, web_of
from labs.order_pages import field_of, form_of, labels, order_of, send, web_with
from labs.ordering import AT, OrderingLab

from agent.orders import SpecificationError, Specifications
from agent.orders.judge.assessed import OrderPolicy as Rules
from agent.store import Decision
from agent.store.people import auth
from agent.web import create_app
from agent.web.orders.order_board import OrderBoard
from reports import size_keys


@pytest.fixture
def browser(lab):
    with TestClient(create_app(web_with(lab)), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        yield client


def test_an_order_that_only_a_reviewer_can_settle_is_counted_and_reachable(lab, browser):
    order_of(lab, "4711", "G7")
    lab.store.order_corrections.set_urgent("4711", urgent=True, by="Leo", at=minutes(5))

    order, queue, ordering = (
        browser.get(path).text for path in ("/order/4711", "/review", "/orders")
    )

    assert "Confirm 3 fields" in order
    assert 'href="/confirm/4711"' in order
    assert "<b>0</b> waiting" in queue
    assert "3 fields of 1 order to confirm" in queue
    assert 'href="/orders' in queue.split("<main", 1)[1]
    assert "probably out of specification" in ordering
    assert "G7 in 3 fields, unconfirmed" in ordering


def test_an_order_is_confirmed_and_taken_back_in_one_act_each(lab, browser):
    ids, acts = order_of(lab, "4711", "G7"), []
    form = form_of(browser, "4711")
    lab.store.after_each_act(lambda: acts.append(labels(lab, ids)))

    browser.post("/confirm/4711", data=form)
    browser.post("/confirm/4711", data={"undo": "1"})

    assert acts == [[("G7", "Ann")] * 3, [None] * 3]


def states(text):
    """Column → the numbers of its orders, as the desk shows them."""
    found = {}
    for part in text.split('<section class="column col-')[1:]:
        word = part.partition('"')[0]
        found[word] = re.findall(r'<bdi class="number">(.*?)</bdi>', part)
    return found


def test_an_order_that_lacks_images_is_not_to_be_confirmed_yet(lab, browser):
    field_of(lab, "4711", 1)
    field_of(lab, "4711", 2)

    text = browser.get("/orders").text

    assert states(text)["waiting_for_images"] == ["4711"]
    assert "2 of 3 fields here" in text
    assert 'href="/order/4711"' in text
    assert "Confirm" not in browser.get("/order/4711").text
    assert "<b>0</b> waiting" in browser.get("/review").text


def test_the_desk_has_every_order_in_the_column_of_its_next_step(lab):
    order_of(lab, "1", "G7")
    order_of(lab, "2")
    field_of(lab, "3", 1)
    for one in order_of(lab, "4"):
        lab.store.labels.decide(one, Decision("code", "Ada", code="G8"), at=minutes(9))
    lab.store.labels.decide(
        order_of(lab, "5")[0], Decision("code", "Ada", code="G7"), at=minutes(9)
    )
    order_of(lab, "6")
    held = lambda view: "failed" if view.process_data["order"] == "6" else ""  # noqa: E731

    with TestClient(create_app(web_with(lab, held=held)), base_url=HOME) as browser:
        shown = states(browser.get("/orders").text)

    assert shown == {
        "probably_out": ["1"],
        "to_confirm": ["2"],
        "waiting_for_images": ["3"],
        "held": ["6"],
        "conforms": ["4"],
        "does_not_conform": ["5"],
    }


def test_the_page_of_an_order_says_what_the_board_says(lab, browser):
    order_of(lab, "1", "G7")
    order_of(lab, "2")

    shown = {number: browser.get(f"/order/{number}").text for number in ("1", "2")}

    assert "<b>undecided, probably out of specification</b>" in shown["1"]
    assert "notice bg-problem" in shown["1"]
    assert "<b>undecided, to confirm</b>" in shown["2"]


def test_what_is_touched_after_the_desk_was_read_is_shown_as_it_is_now(lab, browser):
    ids = order_of(lab, "4711", "G7")
    assert states(browser.get("/orders").text)["probably_out"] == ["4711"]

    lab.store.labels.decide(ids[0], Decision("code", "Ada", code="G7"), at=minutes(9))
    order_of(lab, "4712")

    shown = states(browser.get("/orders").text)
    assert (shown["probably_out"], shown["does_not_conform"]) == ([], ["4711"])
    assert shown["to_confirm"] == ["4712"]


def test_a_board_that_takes_long_to_read_is_complete_after_further_requests(lab):
    for number in ("1", "2", "3"):
        lab.take(order=number, specimen="1")
    board, rules = OrderBoard(most_read_s=0.0), Rules(Specifications(), TAXONOMY)

    seen = [board.look(lab.store, lambda: rules, now=minutes(1)) for _ in range(3)]

    assert [(len(found.orders), found.unread) for found in seen] == [(1, 2), (2, 1), (3, 0)]


FOUND = [
    ("find=47", ["4712", "4711"]),
    ("find=100cr6+4712", ["4712"]),
    ("find=none", []),
    ("urgent=1", ["4712"]),
    ("state=to_confirm", ["4712", "4711", "5000"]),
    ("state=held", []),
    ("sort=number", ["4712", "4711", "5000"]),
    ("sort=newest", ["4712", "5000", "4711"]),
]


def test_orders_are_found_narrowed_and_sorted_urgent_ones_first(lab, browser):
    order_of(lab, "4711", at=minutes(1))
    order_of(lab, "5000", at=minutes(2))
    order_of(lab, "4712", at=minutes(3))
    lab.store.order_corrections.set_urgent("4712", urgent=True, by="Leo", at=minutes(9))

    for query, numbers in FOUND:
        shown = states(browser.get(f"/orders?{query}").text)

        assert [one for column in shown.values() for one in column] == numbers, query


def test_marked_orders_go_first_together(lab, browser):
    for number in ("1", "2", "3"):
        order_of(lab, number)

    answer = browser.post(
        "/orders/urgent", data={"number": ["2", "3"], "urgent": "1"}, follow_redirects=False
    )

    assert answer.headers["location"] == "/orders"
    assert lab.store.orders.urgent_numbers() == {"2", "3"}
    assert [act.actor for act in lab.store.audit_log.iter_acts("order.urgent")] == ["Ann", "Ann"]


def test_an_order_is_confirmed_in_one_go_and_the_next_one_comes_then_the_desk(lab, browser):
    first, second = order_of(lab, "4711"), order_of(lab, "4712", "G7", at=minutes(5))
    browser.get("/orders")

    one = send(browser, "4711", form_of(browser, "4711"))
    two = send(browser, "4712", form_of(browser, "4712"))
    ordering = browser.get(two.headers["location"]).text

    assert one.headers["location"] == "/confirm/4712?last=4711&n=3"
    assert labels(lab, first) == [("G8", "Ann")] * 3
    assert labels(lab, second) == [("G7", "Ann")] * 3
    assert [lab.store.results.find(one).label.bulk for one in first] == [True] * 3
    assert "Order 4712 done: does not conform." in ordering
    assert states(ordering)["conforms"] == ["4711"]


def test_only_what_was_on_screen_is_decided(lab, browser):
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711") | {"seen": ids[:2]}

    answer = send(browser, "4711", form)

    assert answer.headers["location"] == "/confirm/4711?last=4711&n=2"
    assert labels(lab, ids) == [("G8", "Ann"), ("G8", "Ann"), None]


def test_a_form_decides_about_nothing_that_its_page_did_not_offer(lab, browser):
    order_of(lab, "4711")
    other = order_of(lab, "4712")
    form = form_of(browser, "4711")
    forged = form | {"seen": [*form["seen"], other[0]], f"answer-{other[0]}": "code:G8"}

    refused = send(browser, "4711", forged)
    elsewhere = send(browser, "4712", form)
    state = form["state"]
    wrong = state[:-1] + ("1" if state.endswith("0") else "0")
    changed = send(browser, "4711", form | {"state": wrong})

    assert (refused.status_code, elsewhere.status_code, changed.status_code) == (422, 409, 409)
    assert labels(lab, other) == [None] * 3


def test_a_control_sample_is_neither_shown_nor_confirmed_with_the_others(lab, browser):
    ids = order_of(lab, "4711")
    blind = field_of(lab, "4711", 4, "G7", reasons=("control_sample",))

    text, order = browser.get("/confirm/4711").text, browser.get("/order/4711").text
    form = form_of(browser, "4711")
    forged = send(browser, "4711", form | {"seen": [blind], f"answer-{blind}": "code:G7"})
    sent = send(browser, "4711", form)

    plate = text.partition(f'data-plate="{blind}"')[2].partition("</li>")[0]
    assert "G7" not in plate
    assert "limit" not in plate
    assert "G7" not in order
    assert states(browser.get("/orders").text)["probably_out"] == []
    assert form["seen"] == ids
    assert forged.status_code == 422
    assert sent.headers["location"] == f"/review/{blind}?order=4711&then=next"


def plate_of(text, public_id):
    """The plate of one field on the page of an order."""
    return text.partition(f'data-plate="{public_id}"')[2].partition("</li>")[0]


def test_a_flagged_field_shows_its_reason_its_p_and_a_map_and_waits_until_each_was_in_view(
    lab, browser
):
    plain, flagged = field_of(lab, "4711", 1), field_of(lab, "4711", 2, reasons=("strange",))
    field_of(lab, "4711", 3)

    text = browser.get("/confirm/4711").text

    plate = plate_of(text, flagged)
    assert "Unusual" in plate
    assert "p = 0.004" in plate
    assert f"/pictures/{flagged}/strangeness.png" in plate
    assert (plate.count("data-look"), plate_of(text, plain).count("data-look")) == (2, 1)


def test_a_flagged_field_without_its_map_is_decided_alone(lab, browser):
    ids = [*order_of(lab, "4711")[:2], field_of(lab, "4711", 4, reasons=("strange",))]
    view = lab.store.results.find(ids[2])
    lab.archive.maps_path(view.sha256, view.page, view.result.bundle).unlink()

    text = browser.get("/confirm/4711").text
    form = form_of(browser, "4711")
    sent = send(browser, "4711", form)

    assert ids[2] not in form["seen"]
    assert "its map is not kept" in plate_of(text, ids[2])
    assert sent.headers["location"] == f"/review/{ids[2]}?order=4711&then=next"


def test_an_order_without_a_limit_never_follows_by_enter(lab, browser):
    order_of(lab, "4711")
    field_of(lab, "4712", 1, material="C45", reasons=("uncertain",), at=minutes(-9))
    lab.store.order_corrections.set_urgent("4712", urgent=True, by="Leo", at=minutes(5))

    ordering = browser.get("/orders").text
    page = browser.get("/confirm/4711").text
    sent = send(browser, "4711", form_of(browser, "4711"))

    assert 'href="/confirm/4712"' in ordering
    assert re.search(r'href="([^"]*)" data-start', ordering)[1] == "/confirm/4711"
    assert "/confirm/4712" not in page
    assert sent.headers["location"].startswith("/orders?done=4711")


def test_a_field_that_became_a_double_review_is_refused_though_the_page_offered_it(lab, browser):
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711")
    lab.store.labels.decide(ids[0], Decision("code", "Ada", code="G8"), at=minutes(9))
    label = lab.store.results.find(ids[0]).label
    lab.store.labels.mark_suspect(
        ids[0], label_id=label.id, sentence="look again", by="agent", at=minutes(10)
    )

    answer = send(browser, "4711", form)

    assert answer.status_code == 422
    assert labels(lab, ids[1:]) == [None, None]


def test_the_same_answer_of_another_reviewer_is_a_confirmation_another_one_a_conflict(lab, browser):
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711")
    lab.store.labels.decide(ids[0], Decision("code", "Bea", code="G8"), at=minutes(9))
    lab.store.labels.decide(ids[1], Decision("code", "Bea", code="G7"), at=minutes(9))

    answer = send(browser, "4711", form)

    assert answer.status_code == 409
    assert "Bea has decided G7 since; your answer was G8" in answer.text
    assert labels(lab, ids) == [("G8", "Ann"), ("G7", "Bea"), ("G8", "Ann")]
    assert [label.by for label in lab.store.results.find(ids[0]).labels] == ["Bea", "Ann"]


def test_a_form_that_is_sent_twice_is_written_once(lab, browser):
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711")

    send(browser, "4711", form)
    again = send(browser, "4711", form)

    assert again.status_code == 303
    assert [len(lab.store.results.find(one).labels) for one in ids] == [1, 1, 1]


def test_answers_sent_again_under_their_id_are_no_second_word_after_another_reviewers(lab, browser):
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711") | {"decision_id": "once-and-no-more"}
    send(browser, "4711", form)
    for one in ids:
        lab.store.labels.decide(one, Decision("code", "Bea", code="G8"), at=minutes(9))

    again = send(browser, "4711", form)

    assert again.status_code == 303
    assert labels(lab, ids) == [("G8", "Bea")] * 3
    assert [len(lab.store.results.find(one).labels) for one in ids] == [2, 2, 2]


@pytest.mark.parametrize("path", ["/confirm/4711", "/order/4711"])
def test_an_answer_that_an_orders_page_has_shown_is_not_given_blind_later(lab, browser, path):
    shown, other = order_of(lab, "4711")[0], order_of(lab, "4712")[0]
    browser.get(path)
    form = {"decision": "code:G8", "by": "Ann", "blind": "1"}

    for one in (shown, other):
        result = {"result_id": str(lab.store.results.find(one).result.id)}
        browser.post(f"/review/{one}/decide", data=form | result)

    assert [lab.store.results.find(one).label.blind for one in (shown, other)] == [False, True]


def test_the_answers_to_an_order_are_taken_back_together(lab, browser):
    ids = order_of(lab, "4711")
    send(browser, "4711", form_of(browser, "4711"))

    back = send(browser, "4711", {"undo": "1"})

    assert labels(lab, ids) == [None] * 3
    assert "the answers to 3 fields were taken back" in browser.get(back.headers["location"]).text
    assert send(browser, "4711", {"undo": "1"}).status_code == 422


def test_one_answer_is_another_code_and_the_criterion_is_kept(lab, browser):
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711") | {f"answer-{ids[1]}": "code:G9-10", "criterion": "mean"}

    send(browser, "4711", form)

    assert labels(lab, ids) == [("G8", "Ann"), ("G9-10", "Ann"), ("G8", "Ann")]
    assert {lab.store.results.find(one).label.criterion for one in ids} == {"mean"}


def test_a_second_reviewer_is_led_to_what_needs_a_second_look_and_the_first_is_not(lab):
    ids = order_of(lab, "4711")
    for one in ids:
        given = Decision("code", "Ann", code="G8", criterion="mean")
        lab.store.labels.decide(one, given, at=minutes(9))
    with TestClient(create_app(web_with(lab, second_look=True)), base_url=HOME) as browser:
        browser.cookies.set("reviewer", "Ann")
        first = form_of(browser, "4711")
        browser.cookies.set("reviewer", "Bea")
        form = form_of(browser, "4711")
        otherwise = send(browser, "4711", form | {"criterion": "max"})
        send(browser, "4711", form | {"criterion": "unrecorded"})
        ordering = browser.get("/orders").text

    assert otherwise.status_code == 409
    assert "already decided by Ann" in otherwise.text
    assert first["seen"] == []
    assert form["seen"] == ids
    assert [len(lab.store.results.find(one).labels) for one in ids] == [2, 2, 2]
    assert states(ordering)["conforms"] == ["4711"]


def test_a_reviewer_stays_within_the_fields_of_an_order_and_ends_at_the_desk(lab, browser):
    ids = order_of(lab, "4711")
    other = field_of(lab, "5290", 1, reasons=("uncertain",))
    places = []

    for one in ids:
        view = lab.store.results.find(one)
        form = {"decision": "code:G8", "order": "4711", "result_id": str(view.result.id)}
        answer = browser.post(f"/review/{one}/decide", data=form, follow_redirects=False)
        places.append(answer.headers["location"])

    assert places == [
        f"/review/{ids[1]}?order=4711",
        f"/review/{ids[2]}?order=4711",
        "/orders?done=4711",
    ]
    assert "Order 4711 done: conforms." in browser.get(places[-1]).text
    assert browser.get("/review?order=4711", follow_redirects=False).headers["location"] == (
        "/orders?done=4711"
    )
    assert lab.store.results.find(other).awaits


def test_who_may_what(lab):
    order_of(lab, "4711")
    hashed = auth.hash_password("a long pass phrase")
    for name, role in (("Vic", "viewer"), ("Rea", "reviewer"), ("Lea", "lead")):
        lab.store.accounts.add(name, kind="person", role=role, hashed=hashed, by="x", at=minutes(1))
    found = {}
    for name in ("Vic", "Rea", "Lea"):
        with TestClient(create_app(web_with(lab)), base_url=HOME) as browser:
            browser.headers["Sec-Fetch-Site"] = "same-origin"
            browser.post("/login", data={"name": name, "password": "a long pass phrase"})
            offered = "data-confirm>" in browser.get("/confirm/4711").text
            sent = send(browser, "4711", {"undo": "1"}).status_code
            urgent = browser.post("/orders/urgent", data={"number": "4711"}).status_code
            found[name] = (offered, sent, urgent)

    assert found == {
        "Vic": (False, 403, 403),
        "Rea": (True, 422, 403),
        "Lea": (True, 422, 200),
    }


DIGITS = [
    ([5, 6, 7, 8, 9], ("5", "6", "7", "8", "9")),
    ([8, 9, 10, 12], ("08", "09", "10", "12")),
    ([7, 7, 8], ("1", "2", "3")),
    ([None, 8], ("1", "2")),
    ([0.5, 1], ("1", "2")),
    ([float("inf"), 1], ("1", "2")),
    ([100, 200], ("1", "2")),
    ([], ()),
]


def test_a_size_has_its_own_digits_as_key_and_no_key_begins_another():
    for lowest, keys in DIGITS:
        assert size_keys(lowest) == keys, lowest
        assert len({len(key) for key in size_keys(lowest)}) <= 1, lowest


def test_the_queue_is_there_also_where_the_file_of_limits_cannot_be_used(lab):
    def broken():
        raise SpecificationError("feilds: no key is called feilds")

    waiting = field_of(lab, "4711", 1, reasons=("uncertain",))
    with TestClient(create_app(replace(web_of(lab), lab=broken)), base_url=HOME) as browser:
        browser.cookies.set("reviewer", "Ann")
        queue, root, ordering = (browser.get(path) for path in ("/review", "/", "/orders"))

    assert queue.status_code == root.status_code == 200
    assert f"/review/{waiting}" in queue.text
    assert ordering.status_code == 503
    assert "no key is called feilds" in ordering.text


def test_what_a_failed_check_holds_is_released_by_a_lead_with_a_reason(tmp_path, capsys):
    own = OrderingLab(tmp_path, capsys)
    ids = [own.take(n) for n in (1, 2, 3)]
    for one in ids:
        own.confirm(one)
    own.check(passed=False, at=AT - timedelta(hours=1))
    browser = own.browser()
    browser.cookies.set("reviewer", "R. Stahl")
    form = {"source": "LOM-07", "reason": "the lamp was replaced, the images are sound"}

    ordering = browser.get("/orders").text
    unreasoned = browser.post("/orders/release", data={"source": "LOM-07", "reason": " "})
    browser.cookies.set("reviewer", "Ada")
    refused = browser.post("/orders/release", data=form)
    browser.cookies.set("reviewer", "R. Stahl")
    done = browser.post("/orders/release", data=form)

    assert (unreasoned.status_code, refused.status_code, done.status_code) == (422, 422, 200)
    assert (states(ordering)["held"], states(done.text)["held"]) == (["4711"], [])
    assert "Release the results of LOM-07 (1 order)" in ordering
    assert states(done.text)["conforms"] == ["4711"]
    own.store.close()


def test_without_accounts_and_leads_everyone_may_release_what_a_check_holds(tmp_path, capsys):
    own = OrderingLab(tmp_path, capsys)
    file = tmp_path / "agent.toml"
    text = file.read_text(encoding="utf-8").replace('leads = ["R. Stahl"]', "")
    file.write_text(text, encoding="utf-8")
    for one in [own.take(n) for n in (1, 2, 3)]:
        own.confirm(one)
    own.check(passed=False, at=AT - timedelta(hours=1))
    browser = own.browser()

    ordering = browser.get("/orders").text
    form = {"source": "LOM-07", "reason": "the lamp was replaced", "by": "Ann"}
    done = browser.post("/orders/release", data=form)

    assert "Release the results of LOM-07 (1 order)" in ordering
    assert states(done.text)["conforms"] == ["4711"]
    own.store.close()


def test_the_viewer_of_a_field_tells_no_hidden_answer(lab, browser):
    order_of(lab, "4711")
    blind = field_of(lab, "4711", 4, reasons=("control_sample",))
    open_ = lab.store.orders.of_micrograph(blind)

    hidden = browser.get(f"/review/{blind}/viewer").text
    order = browser.get("/order/4711").text
    (shown, *_rest) = re.findall(r'href="(/review/[0-9a-f]+/viewer)"', order)

    assert open_ is not None
    assert "over-subtype" not in hidden
    assert "G8" not in hidden.split("<main", 1)[1].split("data-companions", 1)[0]
    assert "over-subtype" in browser.get(shown).text
    assert order.count("data-open-viewer") == 4


def test_maps_that_the_viewer_has_shown_make_no_blind_decision(lab):
    shown = lab.take("G7", reasons=("uncertain",))
    ordering = web_with(lab)
    with TestClient(create_app(ordering), base_url=HOME) as browser:
        browser.cookies.set("reviewer", "Ann")
        browser.get(f"/review/{shown}/viewer")

    assert ordering.shown.has("Ann", lab.store.results.find(shown).result.id)
