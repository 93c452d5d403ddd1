"""The pages of orders, with their forms."""

from __future__ import annotations

import re
from dataclasses import replace

from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy as Rules
from labs.lab import RING_A, TAXONOMY, web_of

THREE = RING_A.model_copy(update={"fields": 3})


def rules_of(**given):
    return Rules(Specifications((THREE,)), TAXONOMY, **given)


def web_with(lab, **given):
    return replace(web_of(lab), lab=lambda: rules_of(**given))


def field_of(lab, order, field, code="G8", **given):
    keys = {"order": order, "specimen": "01", "field": str(field), "material": "100Cr6"}
    return lab.take(code, **(keys | given))


def order_of(lab, number, code="G8", **given):
    """Three fields of one specimen; the ids come back."""
    return [field_of(lab, number, n, code, **given) for n in (1, 2, 3)]


def form_of(browser, number):
    """The form of an order's page as a browser without script would send it, every box ticked."""
    text = browser.get(f"/confirm/{number}").text
    seen = re.findall(r'name="seen" value="([^"]+)"', text)
    form = {"state": re.search(r'name="state" value="([^"]+)"', text)[1], "seen": seen}
    for public_id in seen:
        select = text.partition(f'name="answer-{public_id}"')[2].partition("</select>")[0]
        form[f"answer-{public_id}"] = re.search(r'value="([^"]*)" selected', select)[1]
    return form


def send(browser, number, form):
    return browser.post(f"/confirm/{number}", data=form, follow_redirects=False)


def labels(lab, ids):
    held = [lab.store.results.find(one).label for one in ids]
    return [label and (label.code, label.by) for label in held]
