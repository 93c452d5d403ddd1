"""A past night shows that night: what was known at its end, whenever it is written first."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from datetime import UTC, date, datetime, timedelta

import pytest
from labs.lab import DAY, RING_A, SETTINGS, TAXONOMY, Lab

from agent.nightly import missing_nights, write_report
from agent.orders import Specifications
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.judge.assessed import OrderPolicy as Rules
from agent.site_time import compute_night_end
from agent.store import Decision, SourceHealth

NIGHTS = tuple(date(2026, 11, day) for day in (24, 25, 26))
ORDERS = (NIGHTS, NIGHTS[::-1], (*NIGHTS[1:], NIGHTS[0]))
"""Each night is written before and after each other one, and the first one last."""
AFTERWARDS = datetime(2026, 11, 29, 6, 0, tzinfo=UTC)
WITH_ORDERS = dataclasses.replace(
    SETTINGS, lab=Rules(Specifications((RING_A,)), TAXONOMY), free_days=("sunday",)
)
STAMPS = re.compile(r'<p class="note" id="late">.*?</p>|<span>Written .*?</span>')
"""What alone may differ between two writings: when the page was written."""


def write(lab, night, now=AFTERWARDS, *, refresh=False):
    return write_report(
        lab.store, lab.archive, lab.reports, night, WITH_ORDERS, now=now, refresh=refresh
    )


def play(lab, on_day_end=lambda _night: None):
    """Let three nights pass, each with decisions on what the night before flagged."""
    lab.store.agents.record_start(at=DAY - timedelta(hours=1))
    flagged = []
    for number, night in enumerate(NIGHTS):
        day = DAY + timedelta(days=number)
        for public_id in flagged:
            code = "G7" if number == 1 else "G8"
            lab.store.labels.decide(
                public_id, Decision("code", "Ada", code=code, comment="x"), at=day
            )
        if number == 1:
            lab.store.order_corrections.set_urgent("4711", urgent=True, by="Leo", at=day)
            facts = {"sources": ["LOM-07"], "passed": True, "findings": []}
            lab.store.records.add(CONTROL, "all good", by="agent", at=day, facts=facts)
        flagged = [
            lab.take(
                "G8",
                name=f"n{number}-{field}.tif",
                at=day + timedelta(minutes=field),
                reasons=("uncertain",) if field == 1 else (),
                order=f"471{number + field}",
                specimen="1",
                field=str(field),
                material="100Cr6",
            )
            for field in range(3)
        ][1:2]
        if number == 2:
            lab.set_aside("cut.tif", "truncated", "It ends at row 3.", at=day)
        _see_source(lab, number, day)
        on_day_end(night)


def _see_source(lab, number, day):
    """Let the share be unavailable from the evening of the first night to the second morning."""
    end = datetime(2026, 11, 24, 22, 31, tzinfo=UTC) + timedelta(days=number)
    if number:
        health = SourceHealth("LOM-07", str(lab.folder / "export"), mode="poll", last_scan_at=end)
        if number == 1:
            back = dataclasses.replace(health, last_scan_at=day)
            lab.store.sources.record([back])
    else:
        health = SourceHealth(
            "LOM-07", str(lab.folder / "export"), mode="poll", online=False,
            offline_since=day + timedelta(hours=10), last_scan_at=day + timedelta(hours=10),
        )  # fmt: skip
    lab.store.sources.record([health])


def pages_of(lab):
    """Return night → page and facts, without the stamps."""
    return {
        night: (
            STAMPS.sub("", (lab.reports / f"{night}.html").read_text("utf-8")),
            (lab.reports / f"{night}.json").read_text("utf-8"),
        )
        for night in NIGHTS
    }


@pytest.fixture
def played(tmp_path):
    """A lab in which three nights have passed and none was reported."""
    lab = Lab(tmp_path / "lab")
    play(lab)
    lab.store.close()
    return tmp_path / "lab"


def reopened(folder, name):
    copy = folder.parent / name / "lab"
    shutil.copytree(folder, copy)
    return Lab(copy)


def test_nights_are_the_same_bytes_in_whichever_order_they_are_written(played):
    written = []
    for number, order in enumerate(ORDERS):
        lab = reopened(played, f"copy{number}")
        for night in order:
            write(lab, night)
        written.append(pages_of(lab))
        lab.store.close()

    assert all(pages == written[0] for pages in written)


def test_a_night_that_is_written_late_is_the_one_that_was_written_in_time(played, tmp_path):
    in_time = Lab(tmp_path / "in time" / "lab")
    play(in_time, lambda night: write(in_time, night, _end(night) + timedelta(seconds=5)))
    late = reopened(played, "late")
    for night in NIGHTS:
        write(late, night)

    for night in NIGHTS:
        first, second = (
            json.loads((lab.reports / f"{night}.json").read_text("utf-8"))
            for lab in (in_time, late)
        )
        for facts in (first, second):
            del facts["trail"]  # it has the reports that were written in between
            for source in facts["sources"]:
                del source["folder"]
            for entry in (*facts["micrographs"], *facts["unusable"]):
                entry["path"] = entry["path"].rsplit("/", 1)[-1]
        assert first == second


def _end(night):
    return datetime(night.year, night.month, night.day, 22, 30, tzinfo=UTC)


def test_a_night_shows_what_was_known_at_its_end(played):
    lab = reopened(played, "known")

    pages = {night: write(lab, night).path.read_text("utf-8") for night in reversed(NIGHTS)}

    first, second = (pages[night] for night in NIGHTS[:2])
    assert "not reachable since 24 Nov 20:00" in first
    assert "not reachable from 24 Nov 20:00 to 25 Nov 10:00" in second
    assert "not checked yet: new source" in first
    assert "not checked yet: new source" not in second
    assert "decided by Ada" not in first
    assert "urgent" not in first[: first.index('id="review"')]
    assert "urgent" in second[: second.index('id="review"')]
    assert "First written 29 Nov 07:00." in first


def test_a_refresh_shows_what_is_known_now(played):
    lab = reopened(played, "known")
    write(lab, NIGHTS[0])

    page = write(lab, NIGHTS[0], refresh=True).path.read_text("utf-8")

    assert "decided by Ada" in page
    assert "First written" not in page


def test_earlier_nights_are_frozen_with_a_later_one_and_have_no_link_until_they_are_written(played):
    lab = reopened(played, "known")

    write(lab, NIGHTS[2])

    index = (lab.reports / "index.html").read_text("utf-8")
    assert [row.date for row in lab.store.nightly_reports.list_all()] == list(reversed(NIGHTS))
    assert 'href="2026-11-26.html"' in index
    assert 'href="2026-11-25.html"' not in index


@pytest.mark.parametrize("late", [timedelta(minutes=1), timedelta(hours=8)])
def test_micrographs_of_an_evening_with_a_wrong_clock_are_named_in_the_next_report_once(
    tmp_path, late
):
    lab = Lab(tmp_path)
    lab.store.agents.record_start(at=DAY)
    lab.take("G8", name="a.tif", at=DAY)
    for name in ("b.tif", "c.tif"):
        lab.take("G8", name=name, at=DAY + timedelta(days=365))
    texts = []
    for night in NIGHTS:
        if night != NIGHTS[0]:
            lab.take("G8", name=f"{night}.tif", at=_end(night) - timedelta(hours=1))
        page = write(lab, night, _end(night) + late).path.read_text("utf-8")
        texts.append(" ".join(re.sub("<[^>]*>", " ", page).split()))

    named = "2 micrographs are dated in the future, up to 24 Nov 2027 "
    assert [named in text for text in texts] == [True, True, False]


def catch_up(lab, now):
    """Write what is missing, as the agent does; return the nights with their numbers."""
    return {
        night: write(lab, night, now).summary.taken
        for night in missing_nights(lab.store, lab.reports, WITH_ORDERS, now=now)
    }


def test_nights_that_a_clock_ahead_reported_are_reported_again_when_they_are_over(tmp_path):
    lab = Lab(tmp_path)
    lab.store.agents.record_start(at=DAY)
    catch_up(lab, _end(NIGHTS[2]) + timedelta(hours=1))  # by a clock that is two days ahead
    for name, at in (("a.tif", DAY + timedelta(hours=1)), ("b.tif", DAY + timedelta(days=2))):
        lab.take("G8", name=name, at=at)

    written = [catch_up(lab, _end(night) + timedelta(minutes=1)) for night in NIGHTS]

    assert written == [{NIGHTS[0]: 1}, {NIGHTS[1]: 0}, {NIGHTS[2]: 1}]
    assert catch_up(lab, AFTERWARDS).keys().isdisjoint(NIGHTS)


def test_a_lab_that_began_with_a_clock_ahead_has_the_report_of_each_night_since(tmp_path):
    lab = Lab(tmp_path)
    lab.store.agents.record_start(at=DAY + timedelta(days=365))
    lab.store.audit_log.add(at=DAY, actor="agent", act="settings.changed")
    lab.take("G8", name="a.tif", at=DAY)

    written = [catch_up(lab, _end(night) + timedelta(minutes=1)) for night in NIGHTS]

    assert written == [{NIGHTS[0]: 1}, {NIGHTS[1]: 0}, {NIGHTS[2]: 0}]


@pytest.mark.parametrize("moved", [timedelta(hours=-2), timedelta(minutes=15)])
def test_each_micrograph_is_in_one_night_also_where_the_end_of_nights_is_moved(tmp_path, moved):
    lab = Lab(tmp_path)
    first, second = NIGHTS[:2]
    end = compute_night_end(first, SETTINGS.at, SETTINGS.zone)
    lab.store.agents.record_start(at=end - timedelta(hours=9))
    between = [end + moved / 2, end - moved / 2]
    for number, at in enumerate(between):
        lab.take("G8", name=f"{number}.tif", at=at)
    moved_at = (datetime.combine(first, SETTINGS.at) + moved).time()
    later = dataclasses.replace(SETTINGS, at=moved_at)

    counts = [
        write_report(lab.store, lab.archive, lab.reports, night, own, now=AFTERWARDS).summary.taken
        for night, own in ((first, SETTINGS), (second, later))
    ]
    again = write_report(
        lab.store, lab.archive, lab.reports, first, later, now=AFTERWARDS, refresh=True
    )

    assert counts == [1, 1]
    assert again.summary.taken == 1
