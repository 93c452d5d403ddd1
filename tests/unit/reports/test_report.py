"""A report says first what needs a person, and what it shows is read in review like code."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime

from labs.page_facts import NIGHT, QUEUE, REVIEW

import reports
from agent.nightly.facts.snapshot import Summary
from reports import Tone, VerdictLine

EMPTY = dataclasses.replace(
    NIGHT,
    tone=Tone.CALM,
    headline="Nothing came in this night; the last file was done 22 Nov 21:10",
    lines=(),
    expected="",
    codes=(),
    hours=(),
    cards=(),
    more=(),
    left_out="",
    rows=(),
    unusable=(),
    duplicates=(),
    p_values=(),
    orders=(),
    orders_left_out="",
    instruments=(),
    changes=(),
    groups=(),
    control=(),
    prints=(),
    furnaces=(),
)


def plain(page: str) -> str:
    """A page without the style and script that stand inside every one."""
    page = re.sub(r"<style>.*?</style>", "<style>…</style>", page, flags=re.DOTALL)
    page = re.sub(r"<script>.*?</script>", "<script>…</script>", page, flags=re.DOTALL)
    page = re.sub(r"sha256-[\w+/=]+", "sha256-…", page)
    page = re.sub(r"\?v=[0-9a-f]+", "?v=…", page)
    return re.sub(r'(<svg class="chart"[^>]*>).*?(</svg>)', r"\1…\2", page, flags=re.DOTALL)


def test_a_full_night_looks_as_agreed(golden):
    golden("night.html", plain(reports.render("night", page=NIGHT)))


def test_an_empty_night_looks_as_agreed(golden):
    golden("empty_night.html", plain(reports.render("night", page=EMPTY)))


def test_the_queue_looks_as_agreed(golden):
    golden("queue.html", plain(reports.render("queue", **QUEUE)))


def test_the_page_of_a_decision_looks_as_agreed(golden):
    golden("review.html", plain(reports.render("review", **REVIEW)))


def test_the_verdict_stands_before_everything_else():
    page = reports.render("night", page=NIGHT)

    places = [
        page.index(text) for text in ("to review · 1 file failed", 'id="review"', 'id="codes"')
    ]

    assert places == sorted(places)


def test_a_tone_is_a_shape_and_a_word_beside_its_colour():
    lines = tuple(VerdictLine(tone, "1", f"line {tone}") for tone in Tone)
    page = reports.render("night", page=dataclasses.replace(EMPTY, lines=lines))

    for tone, word in (
        ("calm", "in order"),
        ("attention", "needs attention"),
        ("problem", "problem"),
    ):
        assert f'tone-{tone}" viewBox' in page
        assert f'aria-label="{word}"' in page


def test_a_night_that_still_runs_says_so():
    running = dataclasses.replace(NIGHT, running=True)

    assert "still running" in reports.render("night", page=running)
    assert "still running" not in reports.render("night", page=NIGHT)


def test_a_blind_decision_shows_no_answer_of_the_model():
    page = reports.render("review", **REVIEW | {"blind": True, "layers": ()})

    assert "54 %" not in page
    assert "Confirm" not in page


def test_the_index_says_when_the_newest_report_was_written():
    written = datetime(2026, 11, 24, 22, 30, 4, tzinfo=UTC)
    night = Summary(written.date(), "calm", "fine", 3, 0, 0)

    page = reports.render(
        "index",
        site="Plant 1",
        nights=((night, "", True),),
        newest=written,
        newest_at="24 Nov 2026 23:30:04",
        generated="now",
        has_sites=False,
        periods={},
    )

    assert 'data-newest="1795559404"' in page
    assert "24 Nov 2026 23:30:04" in page


def test_an_unknown_word_speaks_for_itself():
    assert reports.reason("too_shiny")[0] == "too shiny"
    assert reports.file_code("odd_bytes")[0] == "odd bytes"
    assert reports.strange_kind("green spots") == "green spots"
