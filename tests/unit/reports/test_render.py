"""Whatever a person can type comes out as text, and a page asks nobody for anything."""

from __future__ import annotations

import dataclasses
import re
from datetime import date
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from labs.page_facts import CARD, NIGHT, QUEUE, REVIEW, with_text

import reports
from reports import Picture, render

MARK = "ZQ"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE label; --",
    "{{ 7 * 7 }}{% raw %}",
    "</style></script><b>",
    "\u202egpj.exe",
    "Ä" * 300,
    "a\nb\tc",
]
MORE = {
    "site": "Plant 1",
    "night": date(2026, 11, 24),
    "agent": "",
    "zone": "Europe/Berlin",
    "words": {},
    "evidence_scale": NIGHT.evidence_scale,
    "alarm_scale": NIGHT.alarm_scale,
    "generated": "now",
    "heading": "Page 2",
    "cards": (CARD,),
    "rows": NIGHT.rows,
    "previous": "",
    "next": "",
}
READER = {"site": "s", "reviewer": "r"}
PAGES = {
    "night": {"page": NIGHT},
    "more": MORE,
    "queue": QUEUE,
    "review": REVIEW,
    "name": READER
    | {"action": "/review/name", "then": "/review", "fields": (("by", "x"),), "wrong": "w"},
    "message": READER | {"title": "t", "sentence": "s", "back": ""},
}


class Seen(HTMLParser):
    """Every element and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if dict(attrs).get("id"):
            self.ids.append(str(dict(attrs)["id"]))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """The elements of a page with the names of their attributes: what a text must not change."""
    return [(tag, tuple(attributes)) for tag, attributes in Seen(page).elements]


def test_a_hostile_text_is_shown_as_text():
    for name, page in PAGES.items():
        expected = shape(render(name, **with_text(page, MARK)))
        for text in HOSTILE:
            assert shape(render(name, **with_text(page, text))) == expected, (name, text)


@given(st.text(min_size=1, max_size=40))
@example("\x00")
@example("]]>")
@settings(max_examples=15, deadline=None)
def test_any_text_a_person_can_type_comes_out_escaped(text):
    card = with_text(CARD, text)

    written = render("more", **MORE | {"cards": (card,)})

    expected = render("more", **MORE | {"cards": (with_text(CARD, MARK),)})
    assert shape(written) == shape(expected)


def test_a_page_asks_nobody_else_for_anything():
    for name, page in PAGES.items():
        seen = Seen(render(name, **page))

        for _, attributes in seen.elements:
            for key in ("src", "action", "data", "srcset", "poster"):
                address = attributes.get(key) or ""
                assert not re.match(r"(?i)\s*(https?:|//)", address), name
        assert not [link for link in seen.all("link") if "//" in (link.get("href") or "")], name
        assert "@import" not in render(name, **page), name
        assert not re.search(r"url\(\s*['\"]?(https?:|//)", render(name, **page)), name


def test_a_report_is_one_file_with_its_own_policy():
    seen = Seen(render("night", page=NIGHT))

    assert [script for script in seen.all("script") if "src" in script] == []
    assert {link.get("rel") for link in seen.all("link")} == {"icon"}
    policy = next(m["content"] for m in seen.all("meta") if "http-equiv" in m)
    assert policy == reports.report_policy()
    assert "default-src 'none'" in (policy or "")
    assert "unsafe-inline" not in (policy or "").split("script-src")[1]


@pytest.mark.parametrize("name", ["queue", "review", "name", "message"])
def test_a_review_page_has_no_inline_style_or_script(name):
    written = render(name, **PAGES[name])

    seen = Seen(written)

    assert seen.all("style") == []
    assert all("src" in script for script in seen.all("script"))
    for _, attributes in seen.elements:
        assert "style" not in attributes
        assert not [key for key in attributes if key.startswith("on")]


def test_a_page_can_be_read_without_seeing_it():
    for name, page in PAGES.items():
        seen = Seen(render(name, **page))

        assert seen.all("html")[0]["lang"] == "en", name
        assert len(seen.all("main")) == 1, name
        assert len(seen.all("h1")) == 1, name
        assert all("alt" in image for image in seen.all("img")), name
        assert len(seen.ids) == len(set(seen.ids)), name
        labelled = {label.get("for") for label in seen.all("label")}
        for field in seen.all("input"):
            if field.get("type") not in ("hidden", "radio"):
                assert field.get("aria-label") or field.get("id") in labelled, name


def test_the_same_facts_give_the_same_bytes():
    assert render("night", page=NIGHT) == render("night", page=NIGHT)


def test_only_the_time_of_writing_tells_two_writings_apart():
    later = dataclasses.replace(NIGHT, generated="25 Nov 2026 09:00:00")

    one, two = render("night", page=NIGHT), render("night", page=later)

    assert one.replace(NIGHT.generated, "") == two.replace(later.generated, "")


def test_an_unknown_asset_is_refused():
    with pytest.raises(KeyError):
        reports.asset("../render.py")


def test_every_asset_is_there():
    for name in reports.ASSETS:
        assert reports.asset(name), name


def test_a_missing_picture_says_why():
    bare = dataclasses.replace(CARD, crop=dataclasses.replace(CARD.crop, picture=None, note="gone"))

    assert "gone" in Seen(render("more", **MORE | {"cards": (bare,)})).text


def test_a_picture_names_its_size_so_that_the_page_does_not_jump():
    wide = Picture("data:,", "wide", 400, 300)
    card = dataclasses.replace(CARD, crop=dataclasses.replace(CARD.crop, picture=wide))

    image = Seen(render("more", **MORE | {"cards": (card,)})).all("img")

    assert {"src": "data:,", "alt": "wide", "width": "400", "height": "300"} in image
