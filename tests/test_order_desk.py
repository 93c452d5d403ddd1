"""Orders that only a reviewer or a lead can settle are counted, reachable and settled in one go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from lab import HOME, RING_A, TAXONOMY, desk_of, minutes

from agent.orders import Specifications
from agent.orders.assessment import Lab as Rules
from agent.store import Decision
from agent.web import create_app

THREE = RING_A.model_copy(update={"fields": 3})


def rules_of(**given):
    return Rules(Specifications((THREE,)), TAXONOMY, **given)


def desk_with(lab, **given):
    return replace(desk_of(lab), lab=lambda: rules_of(**given))


def field_of(lab, order, field, code="G8", **given):
    keys = {"order": order, "specimen": "01", "field": str(field), "material": "100Cr6"}
    return lab.take(code, **(keys | given))


def order_of(lab, number, code="G8", **given):
    """Three fields of one specimen; the ids come back."""
    return [field_of(lab, number, n, code, **given) for n in (1, 2, 3)]


@pytest.fixture
def browser(lab):
    with TestClient(create_app(desk_with(lab)), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        yield client


def test_an_order_that_only_a_reviewer_can_settle_is_counted_and_reachable(lab, browser):
    order_of(lab, "4711", "G7")
    lab.store.orders.set_urgent("4711", urgent=True, by="Leo", at=minutes(5))

    order, queue, desk = (browser.get(path).text for path in ("/order/4711", "/review", "/orders"))

    assert "Confirm 3 fields" in order
    assert 'href="/confirm/4711"' in order
    assert "<b>3</b> waiting" in queue
    assert 'href="/orders' in queue.split("<main", 1)[1]
    assert "probably out of specification" in desk
    assert "G7 in 3 fields, unconfirmed" in desk
