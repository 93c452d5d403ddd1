"""In a real browser: the key finds the box, many are selected by keys and pointer, and exported."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from labs.lab import web_of
from servers.browser import grave
from servers.pages import served

pytestmark = pytest.mark.slow

MARKED = "[...document.querySelectorAll('[data-mark]:checked')].length"
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
HERE = "document.activeElement.closest('[data-item]')?.querySelector('.name').textContent"


def test_search_selection_and_export_by_keyboard_and_pointer(lab, tab):
    lab.compares_places = False
    for n in range(14):
        code = "G8" if n % 2 else "G7"
        lab.take(code, name=f"50050_{n:02d}_Rand.tif", order=f"A-47{n // 7:02d}")
    with served(web_of(lab)) as address:
        tab.goto(f"{address}/models")
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.matches('[data-search]')")
        tab.keyboard.type("50050 rand/")  # in the box the key is a letter
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        assert tab.locator(".found").inner_text() == "14 micrographs"
        assert tab.locator("[data-search]").input_value() == "50050 rand/"

        tab.locator("main h1").click()
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate(HERE) == "50050_13_Rand.tif"
        tab.keyboard.press("Space")
        tab.keyboard.press("Shift+ArrowRight")
        tab.keyboard.press("Shift+ArrowRight")
        assert tab.evaluate(MARKED) == 3
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("Space")
        assert tab.locator("[data-say]").inner_text() == "4 selected"
        tab.keyboard.press("Control+a")
        assert tab.evaluate(MARKED) == 14
        tab.keyboard.press("Escape")
        assert tab.evaluate(MARKED) == 0
        marks = tab.locator("[data-mark]")
        marks.nth(1).click()
        marks.nth(4).click(modifiers=["Shift"])
        assert tab.evaluate(MARKED) == 4
        tab.locator("[data-item] a").nth(6).click(modifiers=["Control"])
        assert tab.evaluate(MARKED) == 5

        with tab.expect_download() as sent:
            tab.get_by_role("button", name="Export images").click()
        content = Path(sent.value.path()).read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as files:
            text = files.read("manifest.csv").decode("utf-8-sig")
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            assert len(files.namelist()) == 6
        assert [row["file"][-17:] for row in rows] == [
            f"50050_{n:02d}_Rand.tif" for n in (12, 11, 10, 9, 7)
        ]

        with tab.expect_navigation():
            tab.locator(".facet a", has_text="G7").click()
        assert tab.locator(".found").inner_text() == "7 micrographs"
        with tab.expect_navigation():
            tab.locator(".chips a", has_text="G7").click()
        assert tab.locator(".found").inner_text() == "14 micrographs"


def test_a_review_is_requested_and_a_view_is_kept_with_the_enter_key(lab, tab):
    ids = [lab.take("G8") for _ in range(3)]
    with served(web_of(lab)) as address:
        tab.goto(f"{address}/review/name?then=/archive?code=G8")
        tab.fill("#by", "Ann")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        tab.get_by_text("Request a review").first.click()
        tab.fill("#reason", "new chart")
        tab.keyboard.press("Enter")  # nothing is selected
        assert "Select some first" in tab.locator("[data-say]").inner_text()
        tab.locator("[data-mark]").first.check()
        tab.locator("#reason").focus()
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        assert "Review of 1 micrograph requested." in tab.locator("main").inner_text()
        assert lab.store.results.find(ids[-1]).result.reasons == ("requested",)

        tab.get_by_text("Saved views").click()
        tab.fill("#view-name", "all G8")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        assert lab.store.saved_views.list_all("Ann")[0].name == "all G8"


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_scrolls_sideways(lab, tab, width):
    lab.take("G8", name=f"{'x' * 90}.tif", order="A" * 60, heat="H" * 60)
    tab.set_viewport_size({"width": width, "height": 844})
    with served(web_of(lab)) as address:
        for path in (f"/archive?q={'x' * 48}&code=G8", "/archive", "/history", "/review"):
            tab.goto(address + path)
            assert tab.evaluate(FITS), path


def test_several_are_labelled_once_each_was_on_screen_and_one_undo_takes_all_back(lab, tab):
    lab.compares_places = False
    ids = [lab.take("G7", name=f"f_{n}.tif") for n in range(5)]
    flagged = lab.take("G7", name="f_odd.tif", reasons=("strange",))
    lab.take("G7", name="f_blind.tif", reasons=("control_sample",))
    tab.set_viewport_size({"width": 820, "height": 700})
    with served(replace(web_of(lab), look_s=0.05)) as address:
        tab.goto(f"{address}/review/name?then=/archive?q=f")
        tab.fill("#by", "Ann")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        tab.get_by_text("Label", exact=True).click()
        tab.get_by_label("Structure code").select_option("G8")
        tab.get_by_role("button", name="Show what changes").first.click()
        assert "Select some first" in tab.locator("[data-say]").inner_text()
        tab.get_by_role("button", name="Select all of this page").click()
        tab.get_by_role("button", name="Show what changes").first.click()
        assert "Fill this field first." in tab.locator("[data-say]").inner_text()
        tab.fill("#relabel-why", "wrong chart")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")

        assert "f_blind.tif: decide it alone" in tab.locator(".reasons").inner_text()
        tab.keyboard.press("Enter")  # what is below was not yet on screen
        assert [lab.store.results.find(entry).label for entry in ids] == [None] * 5
        while tab.url.endswith("/archive/relabel"):
            for plate in tab.locator("[data-plate]").all():
                plate.scroll_into_view_if_needed()
            if tab.locator("[data-seen]:not(:checked)").count() == 0:
                with tab.expect_navigation():
                    tab.keyboard.press("Enter")
        assert "6 micrographs labelled." in tab.locator(".notice").inner_text()
        labels = [lab.store.results.find(entry).label.code for entry in (*ids, flagged)]
        with tab.expect_navigation():
            tab.get_by_role("button", name="Undo").click()
        assert "Taken back for 6 micrographs." in tab.locator(".notice").inner_text()
    assert labels == ["G8"] * 6
    assert [lab.store.results.find(entry).label for entry in (*ids, flagged)] == [None] * 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_bulk_act_is_readable_and_fits(lab, tab, axe, scheme):
    lab.compares_places = False
    lab.take("G7", name=f"{'x' * 90}.tif", reasons=("strange",))
    lab.take("G7", name=f"{'y' * 90}.tif", reasons=("control_sample",))
    tab.emulate_media(color_scheme=scheme)
    with served(web_of(lab)) as address:
        tab.goto(f"{address}/review/name?then=/archive")
        tab.fill("#by", "Ann")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        for opens, fields in (
            ("Label", {"#relabel-why": "wrong chart"}),
            (
                "Assign to an order",
                {"#to-order": "A" * 60, "#to-specimen": "1", "#assign-why": "x"},
            ),
        ):
            tab.set_viewport_size({"width": 1280, "height": 800})
            tab.goto(f"{address}/archive")
            tab.get_by_role("button", name="Select all of this page").click()
            tab.get_by_text(opens, exact=True).click()
            for field, text in fields.items():
                tab.fill(field, text)
            for width in (390, 820, 1280):
                tab.set_viewport_size({"width": width, "height": 800})
                assert tab.evaluate(FITS), (opens, width)
            assert grave(axe, tab) == []
            with tab.expect_navigation():
                tab.locator("details[open] .act button").last.click()
            for width in (390, 820, 1280):
                tab.set_viewport_size({"width": width, "height": 800})
                assert tab.evaluate(FITS), (opens, width)
            assert grave(axe, tab) == []
