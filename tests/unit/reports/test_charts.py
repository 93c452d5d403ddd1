"""A figure is drawn in the page's own colours and type, and the same facts give the same bytes."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from reports.charts import codes_chart, hours_chart, strangeness_chart

CODES = (("G8", 20, 1), ("G9-10", 7, 0))
HOURS = tuple((f"{hour:02d}:30", hour, 1) for hour in range(24))
P_VALUES = tuple(n / 50 for n in range(50))
CHARTS = {
    "codes": lambda: codes_chart(CODES),
    "hours": lambda: hours_chart(HOURS),
    "strangeness": lambda: strangeness_chart(P_VALUES, 0.02),
}


@pytest.mark.parametrize("name", CHARTS)
def test_the_same_facts_give_the_same_bytes(name):
    assert CHARTS[name]() == CHARTS[name]()


@pytest.mark.parametrize("name", CHARTS)
def test_a_figure_is_sound_and_brings_no_colour_or_style_of_its_own(name):
    drawn = str(CHARTS[name]())

    ET.fromstring(drawn)  # noqa: S314 - our own
    assert "<style" not in drawn
    assert "<metadata" not in drawn
    assert not re.findall(r"#[0-9a-f]{6}", drawn)
    assert "font" not in drawn


def test_figures_on_one_page_share_no_name():
    names = [
        name for draw in CHARTS.values() for name in re.findall(r'\bid="([^"]+)"', str(draw()))
    ]

    assert len(names) == len(set(names))


def test_a_code_is_escaped():
    assert "<b>" not in str(codes_chart((("<b>", 1, 0),)))


@pytest.mark.parametrize("code", ["$x_{$", "G\t8", "漢字", "Ä" * 300, "a\\$b$"])
def test_a_code_of_any_letters_can_be_drawn(code):
    ET.fromstring(str(codes_chart(((code, 1, 2),))))  # noqa: S314 - our own


def test_nothing_is_drawn_of_nothing():
    assert codes_chart(()) == ""
    assert hours_chart((("00:30", 0, 0),)) == ""


def test_a_profile_of_a_few_is_not_drawn():
    assert strangeness_chart((0.5,) * 19, 0.02) == ""
    assert strangeness_chart((0.5,) * 20, 0.02) != ""


def test_a_figure_looks_as_agreed(golden):
    golden("codes.svg", str(codes_chart(CODES)) + "\n")
