"""Two clicks keep a needle's length, one undoes it, and the program's view is hidden meanwhile."""

from __future__ import annotations

from functools import partial

import pytest
from fastapi.testclient import TestClient
from labs.accounts import let_in
from labs.lab import DAY, HOME, web_of
from labs.needle_lengths import fill
from labs.viewer import MARKS, UM_PER_PX, at, opened, picture
from servers.browser import until
from servers.pages import served

from agent.web import create_app


@pytest.fixture
def client(lab):
    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        yield browser


@pytest.fixture
def field(lab):
    return lab.take("G8", reasons=("uncertain",), um_per_px=0.2)


def post(client, field, **change):
    body = {"by": "Ann", "start": [10, 20], "end": [40, 60]} | change
    return client.post(f"/api/v1/micrographs/{field}/needles", json=body)


def test_two_tips_are_kept_with_author_time_and_length_and_undone(lab, client, field):
    sent = post(client, field)

    needle = sent.json()
    assert sent.status_code == 201
    assert (needle["length_um"], needle["um_per_px"]) == (pytest.approx(10.0), 0.2)
    (kept,) = lab.store.needle_measurements.list_valid()
    assert (kept.by, kept.micrograph, kept.id) == ("Ann", field, needle["id"])

    url = f"/api/v1/micrographs/{field}/needles"
    withdrawn = client.post(f"{url}/{needle['id']}/withdraw", json={"by": "Ann"})

    assert withdrawn.json() == {"withdrawn": True}
    assert client.get(url).json() == {"needles": [], "hidden": 0}
    assert lab.store.needle_measurements.list_of(field)[0].withdrawn_by == "Ann"


def test_a_reviewer_gets_the_own_needles_alone(client, field):
    post(client, field)
    post(client, field, by="Bea", start=[5, 5])

    found = client.get(f"/api/v1/micrographs/{field}/needles", params={"by": "Bea"}).json()

    assert [(one["by"], one["start"]) for one in found["needles"]] == [("Bea", [5.0, 5.0])]


def read(client, field, **query):
    found = client.get(f"/api/v1/micrographs/{field}/needles", params=query).json()
    return [needle["by"] for needle in found["needles"]], found["hidden"]


def test_a_reviewer_who_has_not_measured_sees_no_needle_of_others(lab, client, field):
    post(client, field)

    assert read(client, field) == ([], 1)
    assert read(client, field, by="Bea") == ([], 0)
    client.cookies.set("reviewer", "Bea")
    assert read(client, field, by="Ann") == ([], 1)  # in the name of another, too
    post(client, field, by="Bea", start=[5, 5])
    assert read(client, field) == (["Ann", "Bea"], 0)
    assert read(client, field, by="Ann") == (["Ann"], 0)
    (bea,) = [one for one in lab.store.needle_measurements.list_valid() if one.by == "Bea"]
    lab.store.needle_measurements.withdraw(field, bea.id, by="Bea", at=DAY)
    assert read(client, field) == ([], 1)


@pytest.fixture
def let(lab):
    return partial(let_in, lab)


@pytest.mark.parametrize("role", ["viewer", "reviewer", "lead"])
def test_a_lead_sees_the_needles_of_all_and_no_other_role_does(
    client, field, browser_of, let, role
):
    seen = ["Ann"] if role == "lead" else []
    post(client, field)
    let("Carl", role)
    browser = browser_of("Carl")

    assert read(browser, field) == (seen, 1 - len(seen))
    assert read(browser, field, by="Ann") == (seen, 1 - len(seen))
    assert read(browser, field, by="Carl") == ([], 0)


def test_the_history_shows_no_tips_and_no_lengths(client, field):
    post(client, field)

    acts = client.get("/api/v1/history", params={"subject": field}).json()["acts"]
    facts = [act["facts"] for act in acts if act["act"] == "needle.measured"]
    found = client.get("/api/v1/history", params={"facts": "length_um"}).json()["acts"]

    assert [set(one) for one in facts] == [{"needle"}]
    assert found == []


def test_without_a_scale_or_outside_of_the_crop_a_needle_is_refused_in_a_sentence(
    lab, client, field
):
    unscaled = lab.take("G8", um_per_px=None)

    no_scale = post(client, unscaled)
    outside = post(client, field, end=[5000, 60])
    point = post(client, field, end=[10, 20])

    assert [answer.status_code for answer in (no_scale, outside, point)] == [422] * 3
    assert "scale of this micrograph is unknown" in no_scale.json()["detail"]
    assert "outside of the crop" in outside.json()["detail"]
    assert "at least 3 px apart" in point.json()["detail"]
    assert lab.store.needle_measurements.list_valid() == []
    assert client.post(f"/api/v1/micrographs/{field}/needles/7/withdraw", json={"by": "x"}).is_error


def test_a_request_that_is_sent_again_keeps_no_second_needle(lab, client, field):
    first = post(client, field).json()

    again = post(client, field)
    others = [post(client, field, by="Bea").json(), post(client, field, end=[41, 60]).json()]

    assert (again.status_code, again.json()) == (201, first)
    assert len({first["id"], *(other["id"] for other in others)}) == 3
    assert len(lab.store.needle_measurements.list_valid()) == 3
    url = f"/api/v1/micrographs/{field}/needles/{first['id']}/withdraw"
    client.post(url, json={"by": "Ann"})
    assert post(client, field).json()["id"] > first["id"]  # an undone one may be measured again


LINES = "document.querySelectorAll('.measures polyline.needle').length"


@pytest.mark.slow
def test_in_the_viewer_two_clicks_measure_a_needle_and_one_undoes_it(lab, tab):
    field = lab.take("G8", reasons=("uncertain",), pixels=picture(), um_per_px=UM_PER_PX)
    valid = lab.store.needle_measurements.list_valid
    with served(web_of(lab)) as address:
        opened(tab, address, field)
        tab.keyboard.press("Shift+L")  # without a name nothing can be kept
        assert "Enter your name first" in tab.locator("[data-viewer-say]").inner_text()
        tab.goto(f"{address}/review/name")
        tab.fill("[name=by]", "Ann")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("[data-start]")

        opened(tab, address, field)
        tab.keyboard.press("h")  # a heat map
        assert tab.locator(".over-subtype").is_visible()
        tab.click("[data-tool=needle]")
        assert not tab.locator(".over-subtype").is_visible()
        for mark in MARKS:
            tab.mouse.click(*at(tab, mark))
        say = "document.querySelector('[data-viewer-say]').textContent"
        until(tab, f"{say}.startsWith('Needle kept')")
        (needle,) = valid()
        assert (needle.by, needle.micrograph) == ("Ann", field)
        assert needle.length_um == pytest.approx(120, rel=0.005)
        screen_px = 1 / tab.evaluate("viewer.pane.view.scale")
        assert needle.start == pytest.approx(MARKS[0], abs=1.01 * screen_px)
        assert "120" in tab.locator("[data-viewer-say]").inner_text()

        for mark in ((500, 700), (900, 1000)):
            tab.mouse.click(*at(tab, mark))
        until(tab, "document.querySelector('[data-needle-count]').textContent === '2'")
        tab.keyboard.press("Backspace")
        until(tab, "document.querySelector('[data-needle-count]').textContent === '1'")
        assert [one.id for one in valid()] == [needle.id]

        opened(tab, address, field)  # they are there again, the maps too
        until(tab, f"{LINES} === 1")
        tab.click("[data-needle-undo]")
        until(tab, f"{LINES} === 0")
    assert valid() == []
    assert lab.store.results.find(field).label is None


@pytest.mark.slow
def test_where_the_scale_is_unknown_the_viewer_refuses_before_the_first_click(lab, tab):
    field = lab.take("G8", reasons=("uncertain",), pixels=picture(), um_per_px=None)
    with served(web_of(lab)) as address:
        opened(tab, address, field)
        tab.keyboard.press("Shift+L")

        assert "The scale is unknown" in tab.locator("[data-viewer-say]").inner_text()
        assert tab.locator("[data-tool=needle]").get_attribute("aria-pressed") == "false"


@pytest.mark.slow
def test_the_last_of_ten_fields_is_clicked_and_the_plot_is_there(lab, tab):
    fill(lab, fields=9)
    field = lab.take("G8", pixels=picture(), um_per_px=UM_PER_PX)
    with served(web_of(lab)) as address:
        tab.context.add_cookies([{"name": "reviewer", "value": "Ann", "url": address}])
        tab.goto(f"{address}/needles")
        tab.get_by_role("button", name="Measure the next field").click()
        tab.wait_for_selector("[data-series]")
        until(tab, "Boolean(window.viewer && document.querySelector('.crop img').naturalWidth)")
        assert field in tab.url
        assert "9 of 10 fields" in tab.locator("[data-series]").inner_text()
        assert tab.locator("[data-tool=needle]").get_attribute("aria-pressed") == "true"
        onward = tab.locator("[data-needle-wanted]")
        count = "document.querySelector('.series [data-needle-count]').textContent"
        assert tab.evaluate(count) == "0"

        for number in range(10):
            assert "is-ready" not in onward.get_attribute("class")
            for x in (400, 900):
                tab.mouse.click(*at(tab, (x, 200 + 100 * number)))
            until(tab, f"{count} === '{number + 1}'")
        assert "is-ready" in onward.get_attribute("class")
        onward.click()

        tab.wait_for_selector("figure.bland svg.agreement")
        assert tab.url == f"{address}/needles"
        text = tab.locator("main").inner_text()
    assert "Measured needles: 100; fields: 10; people: Ann, Bea." in text
    assert "In fields that the program does not measure" in text
    assert "9 of 10 fields only" in text
