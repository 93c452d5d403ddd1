"""What is drawn as a key decides, no key begins another, and none reaches the next micrograph."""

from __future__ import annotations

from dataclasses import replace

import pytest
from labs.lab import NEXT_DAY, minutes, web_of
from servers.browser import until
from servers.pages import decided, served

from agent.store import NewImage, NewRater
from agent.store.people import auth
from model import taxonomy_from

PRESS = """() => document.body?.dispatchEvent(
    new KeyboardEvent("keydown", {key: "KEY", code: "CODE", bubbles: true, cancelable: true})
)"""
READY = "document.querySelector('[data-ready]') !== null"
TWELVE = taxonomy_from(
    {
        "name": "twelve",
        "size": [{"name": str(n), "title": f"step {n}"} for n in range(1, 13)],
        "subtype": [
            {"name": "K", "title": "globular", "sizes": [str(n) for n in range(1, 13)]},
            {"name": "P", "title": "pearlitic"},
        ],
    }
)


@pytest.fixture
def web(lab):
    return replace(web_of(lab), taxonomy=lambda: TWELVE)


def opened(tab, address, path, *, name="Ann"):
    tab.goto(f"{address}{path}")
    if name:
        tab.fill("#by", name)
        tab.locator("h1").click()
    until(tab, READY)


def press(tab, key, times):
    """Press a key so many times, faster than a page can change."""
    tab.evaluate(f"for (let n = 0; n < {times}; n++) ({press_of(key)})()")


def press_early(tab, key):
    """Press a key from now on whenever a page is not ready for it."""
    page = "document.querySelector('[data-review], [data-rate]')"
    tab.add_init_script(
        f"setInterval(() => {{ const page = {page};"
        f"if (page?.dataset.ready === undefined) ({press_of(key)})() }})"
    )


def press_of(key):
    return PRESS.replace("KEY", key).replace("CODE", f"Digit{key}" if key.isdigit() else key)


def drawn(tab, selector):
    return [text.strip() for text in tab.locator(selector).all_text_contents()]


def test_every_size_of_twelve_is_decided_by_the_key_drawn_on_it(lab, web, tab):
    ids = [lab.take(None, reasons=("untrained",), at=minutes(n)) for n in range(13)]
    with served(web) as address:
        opened(tab, address, f"/review/{ids[0]}")
        keys = drawn(tab, "[data-subtype='1'] .sizes kbd")
        assert len(set(keys)) == 12
        for number, key in enumerate(keys):
            until(tab, READY)
            tab.keyboard.press("1")
            for digit in key:
                tab.keyboard.press(digit)
            tab.wait_for_url(f"**/{ids[number + 1]}")

    assert [decided(lab, one).code for one in ids[:-1]] == [f"K{n}" for n in range(1, 13)]
    assert lab.store.results.find(ids[-1]).label is None


def test_one_digit_of_two_decides_nothing_and_escape_forgets_it(lab, web, tab):
    first, second = (lab.take(None, reasons=("untrained",), at=minutes(n)) for n in range(2))
    with served(web) as address:
        opened(tab, address, f"/review/{first}")

        tab.keyboard.press("1")
        tab.keyboard.press("1")
        assert "11" not in tab.locator("[data-say]").inner_text()
        assert lab.store.results.find(first).label is None
        tab.keyboard.press("Escape")
        tab.keyboard.press("1")
        tab.keyboard.press("1")
        tab.keyboard.press("9")  # no size has the key 19
        tab.keyboard.press("0")
        tab.keyboard.press("2")
        tab.wait_for_url(f"**/{second}")

    assert decided(lab, first).code == "K2"


def test_keys_typed_on_do_not_reach_the_next_micrograph(lab, web, tab):
    """Key 2 alone decides, since pearlitic has no sizes: pressed three times it counts once."""
    ids = [lab.take(None, reasons=("untrained",), at=minutes(n)) for n in range(4)]
    press_early(tab, "2")
    with served(web) as address:
        opened(tab, address, f"/review/{ids[0]}")
        assert drawn(tab, "[data-subtype='2'] kbd") == ["2"]

        press(tab, "2", times=3)
        tab.wait_for_url(f"**/{ids[1]}")
        until(tab, READY)

    assert decided(lab, ids[0]).code == "P"
    assert [lab.store.results.find(one).label for one in ids[1:]] == [None] * 3


def test_a_second_enter_confirms_nothing_that_was_not_on_screen(lab, tab):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(3)]
    press_early(tab, "Enter")
    with served(web_of(lab)) as address:
        opened(tab, address, f"/review/{ids[0]}")

        press(tab, "Enter", times=3)
        tab.wait_for_url(f"**/{ids[1]}")
        until(tab, READY)

    assert decided(lab, ids[0]).code == "G8"
    assert [lab.store.results.find(one).label for one in ids[1:]] == [None, None]


def test_a_rater_types_the_keys_that_are_drawn(lab, web, tab):
    ids = [lab.take(None, at=minutes(n)) for n in range(2)]
    told, token = {"by": "Lea", "at": NEXT_DAY}, auth.make_token()
    campaigns = lab.store.campaigns
    raters = [NewRater("R1", "Ann")]
    images = [NewImage(one) for one in ids]
    campaigns.add("twelve", images, raters, taxonomy=TWELVE.as_json(), seed=1, **told)
    campaigns.give_link("twelve", "R1", auth.hash_token(token), **told)
    campaigns.open("twelve", **told)
    press_early(tab, "1")
    with served(web) as address:
        opened(tab, address, f"/rate/{token}", name="")
        keys = drawn(tab, ".kind:has(#s1) .steps kbd")
        assert len(keys) == len(set(keys)) == 13  # twelve sizes, and "cannot tell the size"

        tab.keyboard.press("1")
        for digit in keys[11]:
            tab.keyboard.press(digit)
        assert tab.locator("input[name='size-K']:checked").get_attribute("value") == "12"
        tab.check("input[name=criterion][value=mean]")
        with tab.expect_navigation():
            tab.click("[data-submit]")
        until(tab, READY)
        assert tab.locator("input[name=subtype]:checked").count() == 0
        tab.keyboard.press("1")
        for digit in keys[-1]:
            tab.keyboard.press(digit)
        assert tab.locator("input[name='size-K']:checked").get_attribute("value") == "?"

    (rating,) = campaigns.ratings("twelve")
    assert (rating.said.subtype, rating.said.size) == ("K", "12")


LONG = taxonomy_from(
    {
        "name": "long",
        "separator": " ",
        "size": [{"name": "ä" * 40}, {"name": "خشن"}],
        "subtype": [
            {"name": "W" * 40, "sizes": ["ä" * 40, "خشن"]},
            {"name": "پرلیت", "sizes": ["خشن"]},
            {"name": "sphäroidit+widmanstätten (grob)"},
        ],
    }
)
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def test_names_of_forty_letters_and_of_other_scripts_do_not_break_the_page(lab, tab):
    ids = [lab.take(None, reasons=("untrained",), at=minutes(n)) for n in range(2)]
    with served(replace(web_of(lab), taxonomy=lambda: LONG)) as address:
        opened(tab, address, f"/review/{ids[0]}")
        assert tab.evaluate(FITS)
        tab.keyboard.press("1")
        tab.keyboard.press("1")
        tab.wait_for_url(f"**/{ids[1]}")
        assert tab.evaluate(FITS)

    assert decided(lab, ids[0]).code == f"{'W' * 40} {'ä' * 40}"
