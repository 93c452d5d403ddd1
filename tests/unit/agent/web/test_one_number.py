"""What waits is counted once: each page, the API, the shell and the report give the same number."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, NEXT_DAY, minutes
from labs.order_pages import field_of, order_of, rules_of, web_with

from agent.nightly.facts.order_status import collect_order_status, get_order_status
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.service.health.status import build_status_from_store
from agent.settings import Settings
from agent.store import Decision
from agent.web import create_app


def decide(lab, public_id, by, code="G8"):
    lab.store.labels.decide(public_id, Decision("code", by, code=code), at=minutes(9))


def add_to_confirm(lab):
    order_of(lab, "1")


def add_probably_out(lab):
    order_of(lab, "2", "G7")


def add_incomplete(lab):
    field_of(lab, "3", 1)
    field_of(lab, "3", 2, reasons=("uncertain",))


def add_flagged(lab):
    order_of(lab, "4", reasons=("strange",))


def add_control_sample(lab):
    order_of(lab, "5")
    field_of(lab, "5", 4, "G7", reasons=("control_sample",))


def add_without_limit(lab):
    field_of(lab, "6", 1, material="C45", reasons=("uncertain",))
    field_of(lab, "6", 2, material="C45")


def add_decided(lab):
    for public_id in order_of(lab, "7"):
        decide(lab, public_id, "Ada")


def add_broken(lab):
    decide(lab, order_of(lab, "8", "G7")[0], "Ada", "G7")


def add_half_decided(lab):
    decide(lab, order_of(lab, "9", reasons=("uncertain",))[0], "Ada")


def add_loose(lab):
    lab.take("G8", reasons=("uncertain",))
    lab.take(None, reasons=("untrained",))


def add_untrained(lab):
    order_of(lab, "10", None, reasons=("untrained",))


STATES = {
    "empty": (),
    "to confirm": (add_to_confirm,),
    "probably out": (add_probably_out,),
    "incomplete": (add_incomplete,),
    "flagged": (add_flagged,),
    "control sample": (add_control_sample,),
    "without limit": (add_without_limit,),
    "decided": (add_decided,),
    "broken": (add_broken,),
    "half decided": (add_half_decided,),
    "without order": (add_loose, add_untrained),
    "all": (
        add_to_confirm, add_probably_out, add_incomplete, add_flagged, add_control_sample,
        add_without_limit, add_decided, add_broken, add_half_decided, add_loose, add_untrained,
    ),
}  # fmt: skip


def need(page, *texts):
    """The number that Today gives a need, 0 where it names none."""
    found = re.findall(r'<b class="number">(\d+)</b><span class="what">([^<]+)', page)
    return next((int(n) for n, text in found if text in texts), 0)


def count_confirmed(page):
    """How many fields the page of an order asks for: together, and alone."""
    together = re.search(r"data-confirm>Confirm (\d+) field", page)
    alone = re.search(r">(\d+) of (\d+) fields? to confirm", page)
    if alone:
        assert int(alone[1]) + (int(together[1]) if together else 0) == int(alone[2])
        return int(alone[2])
    return int(together[1]) if together else 0


@pytest.mark.parametrize("state", STATES)
def test_every_page_gives_the_same_number(lab, state):
    for add in STATES[state]:
        add(lab)
    web = replace(web_with(lab), now=lambda: NEXT_DAY)
    with TestClient(create_app(web), base_url=HOME) as browser:
        browser.cookies.set("reviewer", "Zoe")
        today, queue, board = (browser.get(path).text for path in ("/", "/review", "/orders"))
        api = browser.get("/api/v1/orders").json()["orders"]
        pages = [browser.get(f"/confirm/{order['order']}").text for order in api]
        orders = [browser.get(f"/order/{order['order']}").text for order in api]
        waiting = browser.get("/api/v1/queue").json()["waiting"]
    status = build_status_from_store(Settings(), lab.store, now=NEXT_DAY, running=False)
    open_orders, _conforming = collect_order_status(lab.store, rules_of(), now=NEXT_DAY)
    states = [order["state"] for order in api]
    fields = sum(len(order["to_confirm"]) for order in api)

    assert [
        need(today, "micrograph to review", "micrographs to review"),
        int((re.search(r"<b>(\d+)</b> waiting", queue) or [0, 0])[1]),
        lab.store.review_queue.count(),
        status["to_review"],
    ] == [waiting] * 4
    assert status["states"].get("done", 0) == sum(1 for _ in lab.store.results.iter_all())
    assert [
        sum(map(count_confirmed, pages)),
        sum(int(n) for page in orders for n in re.findall(r">Confirm (\d+) field", page)),
        int((re.search(r"(\d+) fields? of \d+ orders? to confirm", queue) or [0, 0])[1]),
        int((re.search(r"data-start>Confirm (\d+) field", board) or [0, fields])[1]),
    ] == [fields] * 4
    assert [
        need(today, "order to confirm", "orders to confirm"),
        sum(get_order_status(order) == NextStep.TO_CONFIRM for order in open_orders),
    ] == [states.count(NextStep.TO_CONFIRM)] * 2
    assert len(open_orders) == sum(
        word in {*NextStep, Conformity.DOES_NOT_CONFORM} for word in states
    )
