"""Orders are settled by keyboard in a real browser, and nothing on the page moves by itself."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from labs.lab import DAY, minutes, web_of
from labs.order_pages import field_of, labels, order_of, web_with
from labs.statements import PIXELS, freeze, label, take
from servers.browser import grave, until
from servers.pages import decided, served

from agent.store import Decision

pytestmark = pytest.mark.slow

ALL_SEEN = "document.querySelectorAll('[data-seen]:not(:checked)').length === 0"
WIDTHS = "[...document.querySelectorAll('.pane img')].map(one => one.width)"
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
SEVEN = """() => {
  const board = document.querySelector(".columns"), first = board.querySelector(".order-card");
  const full = first.closest(".column");
  while (board.children.length < 7) board.append(full.cloneNode(true));
}"""
OUTSIDE = """[...document.querySelectorAll(".column *")].filter(one =>
  one.getBoundingClientRect().right > one.closest(".column").getBoundingClientRect().right)
  .map(one => one.outerHTML.slice(0, 120))"""
TOP_OF_PICTURE = "document.querySelector('[data-canvas]').getBoundingClientRect().top"


def named(tab, address, path):
    """Open a page as Ann."""
    tab.goto(f"{address}/review/name?then={path}")
    tab.fill("#by", "Ann")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")


def test_twenty_orders_of_three_fields_are_settled_by_keyboard(lab, tab):
    """Two of them have an unusual field, and two no limit: those never follow by Enter."""
    rng = np.random.default_rng(1)
    orders, unusual, unlimited = {}, {"4703", "4713"}, ("4707", "4717")
    for n in range(20):
        number = str(4700 + n)
        pixels = [rng.integers(60, 200, (600, 800, 3), dtype=np.uint8) for _ in range(3)]
        given = {"material": "C56E2", "reasons": ("uncertain",)} if number in unlimited else {}
        orders[number] = [
            field_of(
                lab, number, k, "G7" if n % 4 == 0 else "G8", at=minutes(n), pixels=one,
                **({"reasons": ("strange",)} if k == 1 and number in unusual else given),
            )
            for k, one in enumerate(pixels, start=1)
        ]  # fmt: skip
    keys, visited = 0, []

    def settle():
        tab.wait_for_url("**/confirm/**")
        number = tab.locator("h1 bdi").inner_text()
        pressed = 1
        if number in unusual:
            until(tab, "document.querySelectorAll('.pane:not([data-looked])').length === 0")
            tab.keyboard.press("Enter")  # shows the map
            pressed += 1
        until(tab, ALL_SEEN)
        tab.keyboard.press("Enter")
        tab.wait_for_url(lambda url, held=number: f"/confirm/{held}" not in url)
        visited.append(number)
        return pressed

    with served(web_with(lab)) as address:
        named(tab, address, "/orders")
        began_s = time.monotonic()
        tab.keyboard.press("Enter")  # opens the first order
        keys += 1
        while len(visited) < 18:
            keys += settle()
        tab.wait_for_url("**/orders?done=*")
        for number in unlimited:
            tab.keyboard.press("/")
            tab.keyboard.type(number)
            tab.keyboard.press("ArrowDown")
            tab.keyboard.press("Enter")
            keys += 3 + len(number) + settle()
        took_s = time.monotonic() - began_s

    print(  # noqa: T201 - the figure
        f"20 orders x 3 fields by keyboard: {keys} keys, {took_s:.1f} s; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    assert set(visited[:18]) == set(orders) - set(unlimited)
    assert keys == 1 + 20 + len(unusual) + 7 * len(unlimited)
    for n, ids in enumerate(orders.values()):
        assert labels(lab, ids) == [("G7" if n % 4 == 0 else "G8", "Ann")] * 3


def test_a_field_that_was_not_on_screen_is_not_confirmed(lab, tab):
    ids = [field_of(lab, "4711", n) for n in range(1, 13)]
    with served(web_with(lab)) as address:
        named(tab, address, "/confirm/4711")
        until(tab, "document.querySelectorAll('[data-seen]:checked').length >= 3")

        tab.keyboard.press("Enter")
        assert "has not been on screen" in tab.locator("[data-say]").inner_text()
        assert labels(lab, ids) == [None] * 12
        for _ in range(12):
            if tab.evaluate(ALL_SEEN):
                break
            seen = tab.evaluate("document.querySelectorAll('[data-seen]:checked').length")
            tab.keyboard.press("Enter")
            until(tab, f"document.querySelectorAll('[data-seen]:checked').length > {seen}")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/orders?done=4711*")

    assert labels(lab, ids) == [("G8", "Ann")] * 12


def test_an_unusual_field_is_seen_once_its_picture_and_its_map_were_in_view(lab, tab):
    tall = np.full((800, 600, 3), 120, np.uint8)
    field_of(lab, "4711", 1, reasons=("strange",), pixels=tall)
    for n in (2, 3):
        field_of(lab, "4711", n)
    tab.set_viewport_size({"width": 390, "height": 560})
    with served(web_with(lab)) as address:
        named(tab, address, "/confirm/4711")
        tab.evaluate("document.querySelector('.pane').scrollIntoView({block: 'start'})")
        until(tab, "'looked' in document.querySelector('.pane').dataset")
        without_map = tab.evaluate("document.querySelector('[data-seen]').checked")
        tab.keyboard.press("Enter")
        until(tab, "document.querySelector('[data-seen]').checked")

    assert not without_map


def test_a_field_is_seen_after_the_time_that_a_look_takes(lab, tab):
    order_of(lab, "4711")
    with served(replace(web_with(lab), look_s=30)) as address:
        named(tab, address, "/confirm/4711")
        until(tab, "[...document.images].every(image => image.complete)")
        tab.keyboard.press("Enter")

        assert "has not been on screen" in tab.locator("[data-say]").inner_text()
        assert tab.locator("[data-seen]:checked").count() == 0


def test_letter_and_digits_correct_one_field_and_the_last_answers_are_taken_back(lab, tab):
    ids = order_of(lab, "4711")
    with served(web_with(lab)) as address:
        named(tab, address, "/confirm/4711")
        until(tab, ALL_SEEN)

        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("g")
        tab.keyboard.press("9")
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("1")
        tab.keyboard.press("Escape")  # no size: nothing is changed
        tab.keyboard.press("2")
        tab.keyboard.press("7")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/orders?done=4711*")
        assert labels(lab, ids) == [("G8", "Ann"), ("G9-10", "Ann"), ("G7", "Ann")]
        tab.keyboard.press("z")
        tab.wait_for_url("**/confirm/4711*")
        assert labels(lab, ids) == [None] * 3


def test_every_field_of_an_order_is_drawn_at_one_physical_scale(lab, tab):
    for n, (height, width) in enumerate([(300, 400), (600, 800), (450, 600)], start=1):
        field_of(lab, "4711", n, pixels=np.full((height, width, 3), 90 + n, np.uint8))
    with served(web_with(lab)) as address:
        named(tab, address, "/confirm/4711")
        for size in ((1280, 800), (820, 1180), (390, 844)):
            tab.set_viewport_size({"width": size[0], "height": size[1]})
            tab.reload()
            tab.wait_for_load_state("load")
            widths = tab.evaluate(
                "[...document.querySelectorAll('.pane img')].map(one => one.width)"
            )
            assert widths[0] / 400 == pytest.approx(widths[1] / 800, rel=0.01)
            assert widths[0] / 400 == pytest.approx(widths[2] / 600, rel=0.01)
            assert tab.evaluate(FITS)
        before = tab.evaluate(WIDTHS)
        tab.keyboard.press("+")
        after = tab.evaluate(WIDTHS)

    assert [b / a for a, b in zip(before, after, strict=True)] == pytest.approx(
        [1.25] * 3, rel=0.02
    )


def test_the_desk_is_walked_by_arrows_marked_and_searched(lab, tab):
    for n in range(3):
        order_of(lab, f"471{n}", at=minutes(n))
    field_of(lab, "4800", 1, at=minutes(9))
    number = "document.activeElement.querySelector('.number').textContent"
    with served(web_with(lab)) as address:
        named(tab, address, "/orders")

        tab.keyboard.press("ArrowDown")
        assert tab.evaluate(number) == "4710"
        tab.keyboard.press("ArrowDown")
        assert tab.evaluate(number) == "4711"
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate(number) == "4800"
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("Space")
        assert "Orders marked: 1" in tab.locator("[data-say]").inner_text()
        tab.keyboard.press("/")
        tab.keyboard.type("4712")
        assert tab.locator("[data-card]:visible").count() == 1
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/confirm/4712")


def test_fields_of_an_order_are_reviewed_one_by_one_and_the_desk_comes_at_the_end(lab, tab):
    ids = order_of(lab, "4711", reasons=("uncertain",))
    other = field_of(lab, "5830", 1, reasons=("uncertain",))
    with served(web_with(lab)) as address:
        named(tab, address, "/order/4711")
        tab.click("text=One by one")
        for one in ids:
            tab.wait_for_url(f"**/review/{one}?order=4711")
            tab.wait_for_selector("[data-review][data-ready]")
            tab.keyboard.press("Enter")
        tab.wait_for_url("**/orders?done=4711")
        assert "Order 4711 done: conforms." in tab.locator(".toast").inner_text()

    assert labels(lab, ids) == [("G8", "Ann")] * 3
    assert lab.store.results.find(other).label is None


def test_a_size_is_typed_by_its_own_digit_and_a_subtype_by_its_letter(lab, tab):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(4)]
    with served(web_of(lab)) as address:
        named(tab, address, "/review")
        for n, (keys, code) in enumerate([("g7", "G7"), ("b9", "B9-10"), ("m8", "M8")]):
            tab.goto(f"{address}/review/{ids[n]}")
            tab.wait_for_selector("[data-review][data-ready]")
            for key in keys:
                tab.keyboard.press(key)
            tab.wait_for_url(f"**/{ids[n + 1]}")
            assert decided(lab, ids[n]).code == code


def test_enter_in_the_name_field_is_the_name_and_the_next_enter_confirms(lab, tab):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    with served(web_of(lab)) as address:
        tab.goto(f"{address}/review/{first}")
        tab.wait_for_selector("[data-review][data-ready]")
        tab.fill("#by", "Ann")
        tab.keyboard.press("Enter")
        assert "Ann decides" in tab.locator("[data-say]").inner_text()
        assert lab.store.results.find(first).label is None
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/{second}")

    assert (decided(lab, first).code, decided(lab, first).by) == ("G8", "Ann")


def test_the_micrograph_stays_where_it_is_whatever_opens_or_is_named(lab, tab):
    pixels = np.full((600, 800, 3), 120, np.uint8)
    ids = [
        lab.take(
            "G8", reasons=("strange", "uncertain", "scale_unknown"), at=minutes(n), pixels=pixels
        )
        for n in range(3)
    ]
    with served(web_of(lab)) as address:
        named(tab, address, "/review")
        tab.goto(f"{address}/review/{ids[0]}")
        tab.wait_for_selector("[data-review][data-ready]")
        place = tab.evaluate(TOP_OF_PICTURE)
        for key in ("s", "u", "s", "g", "Escape"):
            tab.keyboard.press(key)
            assert tab.evaluate(TOP_OF_PICTURE) == place, key
            assert tab.evaluate("window.scrollY") == 0
        tab.keyboard.press("u")
        box = tab.locator("[data-list='u'] p").bounding_box()
        assert 0 <= box["y"] < 800
        tab.keyboard.press("Escape")

        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/{ids[1]}")
        tab.wait_for_selector("[data-review][data-ready]")
        assert tab.locator("[data-undo]").is_visible()
        assert tab.evaluate(TOP_OF_PICTURE) == place
        for key in ("h", "h", "h", "w", "f", "f", "?"):
            tab.keyboard.press(key)
            assert tab.evaluate(FITS), key


@pytest.mark.parametrize("width", [1280, 820, 390])
def test_no_page_of_orders_or_review_scrolls_sideways(lab, tab, width):
    ids = order_of(lab, "4711/2026-ÄÖÜ-" + "x" * 40, reasons=("uncertain",))
    lab.store.labels.decide(
        field_of(lab, "4712", 1), Decision("code", "Ada", code="G7"), at=minutes(3)
    )
    tab.set_viewport_size({"width": width, "height": 844})
    with served(web_with(lab)) as address:
        named(tab, address, "/review")
        order = "4711%2F2026-%C3%84%C3%96%C3%9C-" + "x" * 40
        for path in (
            "/review", f"/review/{ids[0]}", "/orders", "/orders?done=4712&together=1",
            f"/confirm/{order}", f"/order/{order}", "/confirm/4712",
        ):  # fmt: skip
            tab.goto(f"{address}{path}")
            tab.wait_for_load_state("load")
            assert tab.evaluate(FITS), path


@pytest.mark.parametrize("width", [1280, 1160])
def test_seven_columns_are_next_to_each_other_and_hold_their_cards(lab, tab, width):
    for number in ("4711", "2026-AB-4712"):
        field_of(lab, number, 1)
    tab.set_viewport_size({"width": width, "height": 800})
    with served(web_with(lab)) as address:
        tab.goto(f"{address}/orders")
        tab.evaluate(SEVEN)
        tops = tab.evaluate("[...document.querySelectorAll('.column')].map(one => one.offsetTop)")
        outside = tab.evaluate(OUTSIDE)

        assert len(tops) == 7
        assert len(set(tops)) == 1
        assert outside == []
        assert tab.evaluate(FITS)


def test_v_views_the_fields_of_an_order_enlarged_and_decides_nothing(lab, tab):
    ids = order_of(lab, "4711")
    with served(web_with(lab)) as address:
        named(tab, address, "/confirm/4711")
        until(tab, ALL_SEEN)

        tab.keyboard.press("v")
        until(tab, "Boolean(document.querySelector('dialog[open] .canvas.live'))")
        first = tab.locator("#viewer-title").inner_text()
        for key in ("Enter", "2", "8", "+", "ArrowRight"):
            tab.keyboard.press(key)
        until(tab, "document.querySelector('#viewer-title').textContent.endsWith('field 2')")
        zoomed = tab.evaluate("!viewer.pane.view.fit")
        tab.keyboard.press("Escape")
        until(tab, f"document.activeElement.dataset.plate === '{ids[1]}'")

        assert first == "Order 4711, specimen 01, field 1"
        assert zoomed  # kept from one field to the next
        assert tab.url.endswith("/confirm/4711")
        assert labels(lab, ids) == [None] * 3
        tab.goto(f"{address}/order/4711")
        tab.keyboard.press("v")
        until(tab, "Boolean(document.querySelector('dialog[open] .canvas.live'))")
        assert tab.evaluate(FITS)


def test_a_file_of_no_order_is_dismissed_by_one_button_and_the_order_conforms(lab, tab):
    for public_id in order_of(lab, "4711"):
        lab.store.labels.decide(public_id, Decision("code", "Ann", code="G8"), at=DAY)
    lab.take("G7", name="4711-01-4.tif", at=DAY, material="100Cr6")
    with served(web_with(lab)) as address:
        named(tab, address, "/order/4711")
        before, fits = tab.locator("main").inner_text(), tab.evaluate(FITS)
        form = tab.locator("form", has=tab.locator("input[value=dismiss_possible]"))
        form.locator("input[name=reason]").fill("a test shot")
        with tab.expect_navigation():
            form.locator("button").click()
        after = tab.locator("main").inner_text()

    assert fits
    assert "Not of this order: 4711-01-4.tif" in before
    assert "4711-01-4.tif does not belong to it, dismissed by Ann: a test shot" in after
    assert "Dismiss what is not of it" not in after
    assert [record.by for record in lab.store.records.all("file_dismissed")] == ["Ann"]


def test_the_report_for_a_customer_opens_whole_with_its_style_and_pictures(lab, tab):
    label(lab, take(lab, pixels=PIXELS), "G8")
    freeze(lab, at=DAY)

    with served(web_of(lab)) as address:
        tab.goto(f"{address}/order/4711/report.html?language=en")

        assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert tab.evaluate("document.images.length") >= 1
        assert tab.evaluate("getComputedStyle(document.querySelector('h1')).fontFamily") != "serif"
        assert tab.evaluate("document.styleSheets.length") >= 1


def test_a_specification_is_written_by_keyboard_and_checked_while_it_is_typed(
    lab, tab, axe, tmp_path
):
    order_of(lab, "4711")
    file = tmp_path / "specifications.toml"
    web = replace(web_with(lab, has_leads=lambda: False), specifications=file)
    with served(web) as address:
        named(tab, address, "/specifications")
        tab.focus("#f-name")
        tab.keyboard.press("End")
        tab.keyboard.type("-b")
        tab.wait_for_selector("#preview li:has-text('both apply to an order of material 100Cr6')")
        tab.keyboard.press("Tab")
        tab.keyboard.type("C56E2")
        tab.wait_for_selector("#preview h2:has-text('New specification ring-a-b')")
        for language in ("de", "en"):
            tab.click(".tongue button")
            tab.wait_for_selector(f"html[lang={language}]")
            for width in (1280, 820, 390):
                tab.set_viewport_size({"width": width, "height": 800})
                assert tab.evaluate(FITS)
            assert grave(axe, tab) == []
        tab.fill("#f-name", "ring-b")
        tab.fill("#f-material", "C56E2")
        tab.wait_for_selector("#preview h2:has-text('New specification ring-b')")
        tab.focus("#reason")
        tab.keyboard.type("a new steel")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/specifications?done=*")

    assert 'name = "ring-b"' in file.read_text("utf-8")
    assert 'approved_by = "Ann"' in file.read_text("utf-8")
