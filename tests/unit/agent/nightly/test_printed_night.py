"""A night is read in minutes: an overview first, cards by a click or key, six pages on paper."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from labs.lab import DAY, SETTINGS, Lab, minutes

from agent.nightly import write_report
from agent.nightly.page import layout

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AFTERWARDS = datetime(2026, 11, 24, 22, 31, tzinfo=UTC)
REASONS = ("strange", "uncertain", "scale_unknown", "out_of_scope")


@pytest.fixture
def tab():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    lab.compares_places = False
    yield lab
    lab.store.close()


def fill(lab, n, flagged):
    return [
        lab.take(
            "G8",
            at=minutes(number),
            reasons=(REASONS[number % 4],) if number < flagged else (),
            order=f"47{11 + number % 14}",
            specimen="1",
            field=str(number),
            material="100Cr6",
        )
        for number in range(n)
    ]


def write(lab, **given):
    return write_report(
        lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=AFTERWARDS, **given
    ).path


@pytest.mark.slow
def test_a_night_of_46_micrographs_39_of_them_flagged_takes_six_pages_on_paper(lab, tab, tmp_path):
    fill(lab, 46, 39)

    tab.goto(write(lab).as_uri())
    tab.pdf(path=tmp_path / "night.pdf", prefer_css_page_size=True)

    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "night.pdf").read_bytes())
    assert 2 <= len(pages) <= 6


def count_pages(pdf):
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def test_the_same_night_as_pdf_has_six_pages_and_the_same_bytes_again(lab):
    fill(lab, 46, 39)

    def write_pdf():
        path = write(lab, with_pdf=True)
        return path.with_suffix(".pdf")

    first = write_pdf().read_bytes()

    assert first.startswith(b"%PDF-")
    assert 2 <= count_pages(write_pdf()) <= 6
    assert write_pdf().read_bytes() == first


def test_a_night_without_pdf_leaves_none_behind_of_an_earlier_writing(lab):
    lab.take("G8", reasons=("uncertain",))
    pdf = write(lab, with_pdf=True).with_suffix(".pdf")

    assert pdf.is_file()
    write(lab)
    assert not pdf.exists()


@pytest.mark.slow
def test_a_card_opens_from_the_contact_sheet_and_by_keys_and_its_pictures_enlarge(lab, tab):
    first, *_ = fill(lab, 6, 5)
    tab.goto(write(lab).as_uri())
    is_open = "id => document.getElementById('m-' + id).closest('details').open"

    assert not tab.evaluate(is_open, first)
    tab.locator(f'[data-of="m-{first}"] a').click()
    tab.wait_for_function(is_open, arg=first)
    picture = tab.locator(f"#m-{first} .pictures img").first
    before = picture.bounding_box()["width"]
    picture.click()
    assert picture.bounding_box()["width"] > 2 * before
    tab.locator(f'[data-of="m-{first}"] a').press("j")
    assert sum(tab.evaluate("[...document.querySelectorAll('details.card')].map(c => c.open)")) == 1
    tab.locator("details.card summary").nth(0).focus()
    tab.keyboard.press("j")
    assert tab.evaluate("document.querySelectorAll('details.card')[1].open")
    tab.keyboard.press("o")
    assert not tab.evaluate("document.querySelectorAll('details.card')[1].open")


def test_the_contact_sheet_names_every_flagged_micrograph_also_those_on_other_pages(
    lab, monkeypatch
):
    monkeypatch.setattr(layout, "CARDS_PER_PAGE", 2)
    flagged = fill(lab, 5, 5)

    page = write(lab).read_text("utf-8")

    sheet = page[page.index('id="sheet"') : page.index('id="review"')]
    for public_id in flagged:
        assert f'data-of="m-{public_id}"' in sheet
    assert sheet.count('href="#m-') == 2
    assert sheet.count('href="2026-11-24/page-2.html#m-') == 2
    assert sheet.count('href="2026-11-24/page-3.html#m-') == 1


def test_cards_after_the_weightiest_show_the_crop_alone_and_the_page_says_so(lab, monkeypatch):
    monkeypatch.setattr(layout, "FULL_CARDS", 2)
    fill(lab, 4, 4)

    page = write(lab).read_text("utf-8")

    assert page.count('alt="Whole field of') == 2
    assert page.count('alt="Crop of') == 4
    assert "From flagged micrograph 3 on, a card shows the crop alone." in page


def test_a_crop_is_as_large_as_its_page_has_room_for(lab, monkeypatch):
    pixels = np.random.default_rng(0).integers(60, 200, (1200, 1600, 3), dtype=np.uint8)
    lab.take("G8", reasons=("uncertain",), pixels=pixels)

    def width(budget):
        monkeypatch.setattr(layout, "PAGE_BYTES", budget)
        page = write(lab).read_text("utf-8")
        return int(re.search(r'alt="Crop of [^"]*" width="(\d+)"', page)[1])

    assert width(3_700_000) == 1600
    assert 320 < width(500_000) < 1600
    assert width(60_000) == 320
