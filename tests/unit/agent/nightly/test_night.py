"""An instant is in one night, a night's facts are frozen when first written, nothing is hidden."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labs.lab import DAY, SETTINGS, TAXONOMY, minutes

from agent.nightly import missing_nights, write_report
from agent.nightly.facts.collect import gather
from agent.nightly.facts.reviewer_agreement import (
    WINDOW,
    ReviewerAgreement,
    agreement,
    still_needed,
)
from agent.nightly.facts.snapshot import from_text, parse_summary, to_text
from agent.nightly.page import layout as pages
from agent.nightly.page import micrograph_rows
from agent.nightly.page.micrograph_cards import (
    _describe_uncertainty,
    describe_warnings,
    iter_causes,
)
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.service.schedule import list_farthest
from agent.site_time import compute_night_end, compute_night_period, night_of
from agent.store import OUTAGE, Decision, DoubleReview, SourceHealth, StoredStrangeness
from agent.triage import Reason
from reports import percent

NIGHT = date(2026, 11, 24)
AFTERWARDS = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def write(lab, night=NIGHT, *, now=AFTERWARDS, settings=SETTINGS, refresh=False):
    return write_report(
        lab.store, lab.archive, lab.reports, night, settings, now=now, refresh=refresh
    )


def page_of(written):
    return written.path.read_text("utf-8")


# --- the period ---------------------------------------------------------------------------------


def test_a_night_ends_at_the_wall_clock_of_the_site():
    after, until = compute_night_period(NIGHT, time(23, 30), BERLIN)

    assert after == datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
    assert until == datetime(2026, 11, 24, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("night", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (NIGHT, 24)]
)
def test_a_night_on_which_the_clock_is_changed_is_an_hour_shorter_or_longer(night, hours):
    after, until = compute_night_period(night, time(23, 30), BERLIN)

    assert until - after == timedelta(hours=hours)


def test_a_wall_time_that_is_skipped_ends_the_night_an_hour_later_by_the_clock():
    end = compute_night_end(date(2026, 3, 29), time(2, 30), BERLIN)

    assert end.astimezone(ZoneInfo(BERLIN)).time() == time(3, 30)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.times(),
    st.sampled_from([BERLIN, "America/St_Johns", "Pacific/Auckland", "Australia/Lord_Howe", "UTC"]),
)
def test_every_instant_is_in_exactly_one_night(instant, at, zone):
    night = night_of(instant, at, zone)
    nights = [night + timedelta(days=n) for n in (-2, -1, 0, 1, 2)]

    holding = [
        n
        for n in nights
        if compute_night_period(n, at, zone)[0] < instant <= compute_night_period(n, at, zone)[1]
    ]

    assert holding == [night]


def test_what_was_done_on_the_stroke_belongs_to_the_night_that_ends(lab):
    end = compute_night_end(NIGHT, SETTINGS.at, SETTINGS.zone)
    lab.take(name="in.tif", at=end)
    lab.take(name="out.tif", at=end + timedelta(microseconds=1))

    facts = gather(lab.store, NIGHT, SETTINGS, now=AFTERWARDS)

    assert [micrograph.name for micrograph in facts.micrographs] == ["in.tif"]


# --- the facts ----------------------------------------------------------------------------------


def test_facts_come_back_from_their_text_as_they_were(lab):
    lab.take(reasons=("strange", "uncertain"), order="4711", specimen="ü")
    lab.take(None, reasons=("untrained",))
    lab.set_aside("cut.tif", "truncated", "It ends at row 3.")
    facts = gather(lab.store, NIGHT, SETTINGS, now=AFTERWARDS)

    text = to_text(facts)

    assert to_text(from_text(text)) == text
    assert json.loads(text)["micrographs"][0]["result"]["structure_code"] == "G8"
    assert parse_summary(text) == facts.summary


def test_the_first_writing_freezes_the_facts(lab):
    public_id = lab.take(reasons=("uncertain",))
    first = page_of(write(lab))
    lab.store.labels.decide(public_id, Decision("code", "Ann", code="G9-10"), at=AFTERWARDS)

    second = page_of(write(lab, now=AFTERWARDS + timedelta(days=3)))

    stamps = re.compile(r"Written \d+ \w+ \d+ [\d:]+")
    assert stamps.sub("", first) == stamps.sub("", second)
    assert first != second


def test_a_doubt_about_the_subtype_is_said_as_one(lab):
    sure = lab.store.results.find(lab.take(reasons=("uncertain",)))
    shares = {"B": 0.08, "G": 0.55, "M": 0.37}
    unsure = dataclasses.replace(
        sure, result=dataclasses.replace(sure.result, subtype_probabilities=shares)
    )

    assert "against G" in _describe_uncertainty(sure)
    assert _describe_uncertainty(unsure) == "G8 85 % against subtype M 37 %."


def test_a_refresh_is_a_recorded_revision(lab):
    public_id = lab.take(reasons=("uncertain",))
    write(lab)
    lab.store.labels.decide(public_id, Decision("code", "Ann", code="G9-10"), at=AFTERWARDS)

    written = write(lab, refresh=True)

    assert written.revision == 2
    assert "revision 2" in page_of(written)
    assert "decided by Ann" in page_of(written)
    assert [
        {"revision": entry.facts["revision"]}
        for entry in lab.store.audit_log.iter_acts("night.reported")
    ] == [
        {"revision": 1},
        {"revision": 2},
    ]


def test_a_result_written_after_its_night_was_reported_is_in_the_next_report(lab):
    night, next_night = DAY.date(), DAY.date() + timedelta(days=1)
    first = lab.take("G8", at=DAY)
    write(lab, night, now=DAY + timedelta(days=1))

    late = lab.take("G7", at=DAY + timedelta(minutes=5))  # the clock was set back meanwhile
    on_time = lab.take("G7", at=DAY + timedelta(days=1, minutes=5))
    write(lab, next_night, now=DAY + timedelta(days=2))
    write(lab, next_night, now=DAY + timedelta(days=3), refresh=True)

    told = [
        [
            micrograph.id
            for micrograph in from_text(lab.store.nightly_reports.find(day).facts).micrographs
        ]
        for day in (night, next_night)
    ]
    assert told == [[first], [late, on_time]]


def test_a_night_that_still_runs_is_written_and_not_frozen(lab):
    lab.take()

    written = write(lab, now=DAY + timedelta(hours=1))

    assert written.running
    assert "still running" in page_of(written)
    assert lab.store.nightly_reports.find(NIGHT) is None


def test_imported_micrographs_are_in_no_night(lab):
    assert gather(lab.store, NIGHT, SETTINGS, now=AFTERWARDS).micrographs == ()


# --- the page -----------------------------------------------------------------------------------


def test_the_verdict_counts_what_waits_and_what_could_not_be_used(lab):
    lab.take(reasons=("strange",))
    lab.take(reasons=("uncertain",))
    lab.take()
    lab.set_aside("cut.tif", "truncated", "It ends at row 3.")

    written = write(lab)

    assert written.summary.headline == "2 micrographs to review · 1 file failed"
    assert written.summary.tone == "problem"
    assert (written.summary.taken, written.summary.review) == (3, 2)


def test_a_flagged_micrograph_is_shown_with_both_stages_and_its_strangeness(lab):
    public_id = lab.take(reasons=("strange",), name="odd.tif")

    page = page_of(write(lab))

    card = page[page.index(f'id="m-{public_id}"') :]
    for title in (
        "Why subtype G",
        "Why size 8",
        "Unusual",
        "Whole field",
        "What the model saw",
    ):
        assert f"<h4>{title}</h4>" in card
    assert card.count("data:image/jpeg;base64,") == 5
    assert "Unlike all 160 reference images; unusual texture." in card
    assert f"http://127.0.0.1:8787/review/{public_id}" in card


def test_every_reason_says_what_to_do(lab):
    reasons = ("uncertain", "scale_unknown", "control_sample")
    lab.take(reasons=reasons)

    page = page_of(write(lab))

    assert page.count('class="do"') == len(reasons)


def test_without_a_scale_code_and_strangeness_are_provisional_on_the_card(lab):
    lab.take(reasons=("scale_unknown", "strange"))

    page = page_of(write(lab))

    assert "provisional: the scale is not known" in page
    assert "Provisional: the scale is not known." in page


@pytest.mark.parametrize(
    ("defect", "strange", "named"),
    [
        ("over-etched: re-polish and re-etch", False, ["input_defect"]),
        ("over-etched: re-polish and re-etch", True, []),
        ("out of focus: shoot again", True, ["input_defect"]),
    ],
)
def test_an_unusual_field_gets_no_advice_on_its_preparation(lab, defect, strange, named):
    lab.take(reasons=("input_defect",))
    (view,) = lab.store.review_queue.list_micrographs()
    strangeness = StoredStrangeness(is_flagged=strange, defects=(defect,))
    micrograph = dataclasses.replace(
        view, result=dataclasses.replace(view.result, strangeness=strangeness)
    )

    causes = list(iter_causes(micrograph))

    assert [cause.word for cause in causes] == named
    assert all("etch" not in cause.sentence + cause.action for cause in causes if strange)


def test_a_file_that_could_not_be_used_is_named_with_its_reason(lab):
    lab.set_aside("a <b>&'.tif", "truncated", "The data ends at row 300 of 480.")

    page = page_of(write(lab))

    assert "a &lt;b&gt;&amp;&#39;.tif" in page
    assert "The data ends at row 300 of 480." in page
    assert "The file ends too early: export or copy it again." in page


def test_a_duplicate_is_named_with_what_it_repeats(lab):
    public_id = lab.take(name="first.tif")
    lab.duplicate("again.tif", public_id)

    page = page_of(write(lab))

    assert "again.tif" in page
    assert "1, judged once" in page


def test_an_empty_night_says_when_the_last_file_came(lab):
    lab.take(at=DAY - timedelta(days=2))

    written = write(lab)

    assert (
        written.summary.headline
        == "Nothing came in this night; the last file was done 22 Nov 10:00"
    )
    assert "No micrograph came in this night." in page_of(written)


def test_the_first_night_of_all_is_empty_and_calm(lab):
    assert write(lab).summary.tone == "calm"


def test_an_empty_night_is_not_in_order_while_an_instrument_waits_for_a_check(lab):
    policy = OrderPolicy(Specifications(), TAXONOMY)
    settings = dataclasses.replace(SETTINGS, lab=policy, free_days=("tuesday",))
    lab.store.sources.record([SourceHealth("LOM-07", "/lab/7", last_scan_at=minutes(0))])

    written = write(lab, settings=settings)
    index = (lab.reports / "index.html").read_text("utf-8")

    assert "not checked yet: new source" in page_of(written)
    assert written.summary.tone == "attention"
    assert "2026-11-24.html" in index


def test_a_share_that_is_offline_is_a_problem_said_first(lab):
    lab.store.sources.record(
        [SourceHealth("LOM-09", "/lab/9", online=False, offline_since=minutes(0))]
    )

    written = write(lab)

    assert written.summary.tone == "problem"
    assert "source LOM-09: not reachable since 24 Nov 10:00" in page_of(written)


@pytest.mark.parametrize(
    ("n", "same", "more"),
    [(0, 0, 1068), (100, 95, 137), (300, 285, 0), (1000, 500, 68)],
)
def test_how_many_blind_decisions_are_still_needed(n, same, more):
    assert still_needed(n, same) == more


def away(lab, since, until):
    """Let LOM-09 be away for a while."""
    gone = SourceHealth("LOM-09", "/lab/9", online=False, offline_since=since)
    lab.store.sources.record([gone])
    lab.store.sources.record([SourceHealth("LOM-09", "/lab/9", mode="poll", last_scan_at=until)])


def test_a_share_that_was_away_and_came_back_is_said_with_both_times(lab):
    lab.take()
    away(lab, minutes(0), minutes(110))

    written = write(lab)

    said = "source LOM-09: not reachable from 24 Nov 10:00 to 24 Nov 11:50"
    assert written.summary.tone == "attention"
    assert said in page_of(written)
    assert [record.subject for record in lab.store.records.all(OUTAGE)] == ["LOM-09"]


def test_an_outage_of_another_night_is_not_this_ones(lab):
    away(lab, DAY - timedelta(days=3), DAY - timedelta(days=2))

    assert "LOM-09 was not reachable" not in write(lab).summary.headline


def test_an_empty_night_says_that_the_share_was_away(lab):
    away(lab, minutes(0), minutes(110))

    assert write(lab).summary.headline == (
        "Nothing came in this night: LOM-09 was not reachable from 24 Nov 10:00 to 24 Nov 11:50"
    )


def with_free(*days):
    return dataclasses.replace(SETTINGS, free_days=days)


def test_a_night_that_is_empty_by_plan_is_a_line_in_the_index_alone(lab):
    written = write(lab, settings=with_free("tuesday"))

    index = (lab.reports / "index.html").read_text("utf-8")
    assert written.path == lab.reports / "index.html"
    assert "Nothing came, as planned" in index
    assert "2026-11-24.html" not in index
    assert not (lab.reports / "2026-11-24.html").exists()
    assert written.summary.tone == "calm"


def test_with_a_calendar_an_empty_night_beside_it_is_worth_a_look(lab):
    assert write(lab, settings=with_free("sunday", "2026-12-25")).summary.tone == "attention"


def test_work_on_a_free_day_is_reported_as_on_any_other(lab):
    lab.take()

    written = write(lab, settings=with_free("2026-11-24"))

    assert written.path == lab.reports / "2026-11-24.html"


def test_what_chance_alone_would_flag_is_said(lab):
    for _ in range(24):
        lab.take()
    lab.take(reasons=("strange",))

    page = page_of(write(lab))

    assert "25 micrographs evaluated, 1 flagged as unusual, of which about 0.5 are expected" in page


def test_what_somebody_decided_already_does_not_wait(lab):
    public_id = lab.take(reasons=("strange",))
    lab.store.labels.decide(
        public_id, Decision("strange", "Ann", strange_kind="pearlite"), at=minutes(5)
    )

    written = write(lab)

    assert written.summary.tone == "calm"
    assert "unusual: pearlite" in page_of(written)
    assert "flagged and decided already" in page_of(written)


def test_a_map_without_evidence_says_so(lab, monkeypatch):
    monkeypatch.setattr("agent.nightly.page.embedded_images.EVIDENCE_LIMIT", 1000.0)
    lab.take(reasons=("uncertain",))

    assert page_of(write(lab)).count("no positive evidence") >= 2


def test_a_micrograph_whose_pixels_are_gone_still_has_its_card(lab):
    public_id = lab.take(reasons=("uncertain",))
    for path in lab.archive.of(public_id + "0" * 48, 0):
        path.unlink()
    view = lab.store.results.find(public_id)
    for path in list(lab.archive.of(view.sha256, 0)):
        path.unlink()

    assert "not in the archive any more" in page_of(write(lab))


# --- what does not fit --------------------------------------------------------------------------


def test_what_does_not_fit_stands_on_pages_beside_and_is_said(lab, monkeypatch):
    monkeypatch.setattr(pages, "CARDS_PER_PAGE", 2)
    monkeypatch.setattr(pages, "ROWS_PER_PAGE", 3)
    flagged = [lab.take(reasons=("uncertain",), at=minutes(n)) for n in range(5)]
    others = [lab.take(at=minutes(10 + n)) for n in range(4)]

    written = write(lab)

    first = page_of(written)
    beside = sorted((lab.reports / "2026-11-24").iterdir())
    everything = first + "".join(path.read_text("utf-8") for path in beside)
    assert all(everything.count(f'id="m-{one}"') == 1 for one in flagged + others)
    assert "3 micrographs more to review and 4 micrographs more" in first
    assert [path.name for path in beside] == [f"page-{n}.html" for n in (2, 3, 4, 5)]
    assert all(f'href="2026-11-24/{path.name}"' in first for path in beside)


def test_a_page_stays_below_its_size_whatever_came(lab, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_BYTES", 60_000)
    for n in range(12):
        lab.take(reasons=("uncertain",), at=minutes(n))

    written = write(lab)

    beside = list((lab.reports / "2026-11-24").iterdir())
    assert len(beside) > 2
    assert all(path.stat().st_size < 130_000 for path in (written.path, *beside))


def test_pages_of_an_earlier_writing_do_not_stay(lab, monkeypatch):
    monkeypatch.setattr(pages, "CARDS_PER_PAGE", 1)
    for n in range(3):
        lab.take(reasons=("uncertain",), at=minutes(n))
    write(lab)
    monkeypatch.setattr(pages, "CARDS_PER_PAGE", 100)

    write(lab)

    assert not (lab.reports / "2026-11-24").exists()


@given(
    st.lists(st.integers(1, 50), max_size=30), st.integers(1, 5), st.one_of(st.none(), st.just(0))
)
def test_paging_loses_nothing_and_keeps_the_order(weights, most, first_bytes):
    items = list(enumerate(weights))

    paged = pages._paginate(iter(items), lambda item: item[1], most, 60, first_bytes)

    assert [item for page in paged for item in page] == items
    assert all(len(page) <= most for page in paged)
    assert all(sum(w for _, w in page) <= 60 for page in paged)
    assert first_bytes is None or paged[0] == ()


# --- beside the page ----------------------------------------------------------------------------


def test_the_csv_has_one_line_per_micrograph_with_sizes_as_integers(lab):
    public_id = lab.take("G9-10", order="4711", name="a.tif")
    write(lab)

    with (lab.reports / "2026-11-24.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == 1
    assert rows[0]["id"] == public_id
    assert (rows[0]["size_min"], rows[0]["size_max"]) == ("9", "10")
    assert rows[0]["order"] == "4711"


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@a"])
def test_a_name_that_looks_like_a_formula_is_none_in_the_csv(lab, name):
    lab.take(order=name)
    write(lab)

    text = (lab.reports / "2026-11-24.csv").read_text("utf-8")

    assert f"'{name}" in text


def test_the_json_beside_the_page_is_what_was_frozen(lab):
    lab.take()
    write(lab)

    frozen = lab.store.nightly_reports.find(NIGHT)

    assert (lab.reports / "2026-11-24.json").read_text("utf-8") == frozen.facts


def inside_of(written) -> dict:
    """What a page carries for programs, found as a browser finds it."""
    found = re.search(
        r'<script type="application/json" id="night">(.*?)</script', page_of(written), re.DOTALL
    )
    return json.loads(found[1])


def rows_of(inside: dict) -> list[dict]:
    table = inside["micrographs"]
    return [table["same"] | dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def test_the_page_alone_carries_the_night_for_programs_as_the_csv_says_it(lab):
    lab.take("G9-10", order="4711", name="a.tif")
    lab.take("M8", reasons=("strange",), name="b.tif")
    lab.set_aside("cut.tif", "truncated", "It ends at row 3.")

    inside = inside_of(write(lab))

    with (lab.reports / "2026-11-24.csv").open(encoding="utf-8", newline="") as file:
        beside = list(csv.DictReader(file))
    for carried, row in zip(rows_of(inside), beside, strict=True):
        said = {name: "" if value is None else str(value) for name, value in carried.items()}
        assert said == {name: row[name] for name in carried}
    assert (inside["taken"], inside["review"], inside["left_out"]) == (2, 1, 0)
    assert [one[3] for one in inside["unusable"]] == ["truncated"]


@pytest.mark.parametrize(
    "name",
    ["</script><script>alert(1)</script>.tif", "<!--<script>.tif", "\u202egpj.tif", "Ä" * 300],
)
def test_no_name_can_break_out_of_what_a_page_carries(lab, name):
    lab.take(name="plain.tif")
    scripts = page_of(write(lab)).count("<script")
    lab.take(name=name, reasons=("uncertain",))
    lab.set_aside(f"x{name}", "truncated", "It ends at row 3.")

    written = write(lab, refresh=True)

    assert page_of(written).count("<script") == scripts
    assert rows_of(inside_of(written))[1]["file"].endswith(name)


def test_a_night_too_large_to_be_carried_says_how_much_is_left_out(lab, monkeypatch):
    monkeypatch.setattr(micrograph_rows, "MOST_IN_THE_PAGE", 2)
    for _ in range(3):
        lab.take()

    inside = inside_of(write(lab))

    assert (len(rows_of(inside)), inside["left_out"]) == (2, 1)


def test_the_index_lists_every_night_newest_first(lab):
    lab.take()
    write(lab, date(2026, 11, 23))
    write(lab)

    index = (lab.reports / "index.html").read_text("utf-8")

    assert index.index("2026-11-24.html") < index.index("2026-11-23.html")


def test_no_part_of_a_file_is_left_behind(lab):
    lab.take(reasons=("strange",))
    write(lab)

    assert sorted(path.name for path in lab.reports.iterdir()) == [
        "2026-11-24.csv",
        "2026-11-24.html",
        "2026-11-24.json",
        "index.html",
    ]


# --- nights that were missed --------------------------------------------------------------------


def test_nights_that_passed_while_the_pc_slept_are_found(lab):
    lab.store.agents.record_start(at=DAY)
    write(lab)

    missed = missing_nights(lab.store, lab.reports, SETTINGS, now=AFTERWARDS + timedelta(days=3))

    assert missed == [date(2026, 11, n) for n in (25, 26, 27)]


def test_a_lab_that_is_switched_off_over_night_still_gets_its_first_one(lab):
    for day in range(3):  # on at eight, off at five
        lab.store.agents.record_start(at=DAY.replace(hour=8) + timedelta(days=day))

    now = DAY.replace(hour=8) + timedelta(days=2, minutes=1)
    missed = missing_nights(lab.store, lab.reports, SETTINGS, now=now)

    assert len(missed) == 2
    assert missed[-1] == night_of(now, SETTINGS.at, SETTINGS.zone) - timedelta(days=1)


def test_a_night_whose_page_is_not_there_is_missing_though_its_facts_are_frozen(lab):
    lab.store.agents.record_start(at=DAY)
    free = dataclasses.replace(SETTINGS, free_days=("2026-11-25",))
    page = write(lab).path
    write(lab, date(2026, 11, 25), now=AFTERWARDS + timedelta(days=1), settings=free)
    page.unlink()

    missed = missing_nights(lab.store, lab.reports, free, now=AFTERWARDS + timedelta(days=1))

    assert missed == [NIGHT]  # the one that was empty by plan has no page


def test_the_night_that_runs_is_not_missing(lab):
    lab.store.agents.record_start(at=DAY)

    assert missing_nights(lab.store, lab.reports, SETTINGS, now=DAY + timedelta(hours=1)) == []


def test_a_store_that_was_never_used_misses_no_night(lab):
    assert missing_nights(lab.store, lab.reports, SETTINGS, now=AFTERWARDS) == []


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (0.004, "< 1 %"), (0.5, "50 %"), (0.997, "> 99 %"), (1.0, "100 %")],
)
def test_a_probability_is_never_rounded_to_certainty(share, said):
    assert percent(share) == said


def test_a_file_of_windows_has_its_name_alone(lab):
    seen = lab.store.results.find(lab.take())

    assert dataclasses.replace(seen, path="C:\\export\\a.tif").name == "a.tif"


# --- model and people ---------------------------------------------------------------------------


def test_a_report_says_how_often_people_said_what_the_model_said(lab):
    for number, (said, blind) in enumerate([("G8", False), ("G8", True), ("G7", True)]):
        public_id = lab.take("G8", reasons=("uncertain",), name=f"d{number}.tif")
        decision = Decision("code", "Ann", code=said, blind=blind)
        lab.store.labels.decide(public_id, decision, at=minutes(number))
    undecided = gather(lab.store, NIGHT, SETTINGS, now=AFTERWARDS)

    assert undecided.agreement == ReviewerAgreement(n=3, same=2, blind_n=2, blind_same=1)


def test_what_was_decided_long_ago_or_after_the_night_does_not_count(lab):
    first, second = (lab.take("G8", reasons=("uncertain",)) for _ in range(2))
    late = minutes(60 * 24 * 2)
    lab.store.labels.decide(first, Decision("code", "Ann", code="G8"), at=late)
    lab.store.labels.decide(second, Decision("code", "Ann", code="G8"), at=minutes(1))

    assert agreement(lab.store.labelled_micrographs.list_all(), until=minutes(2)).n == 1
    assert agreement(lab.store.labelled_micrographs.list_all(), until=late + WINDOW).n == 0


def test_people_who_judge_twice_are_compared_by_code_and_by_size(lab):
    reviews = [DoubleReview(("G8", "G8"), minutes(n)) for n in range(8)]
    reviews += [DoubleReview(("G7", "G8"), minutes(9)), DoubleReview(("B7", "B7"), minutes(10))]
    of_others = [DoubleReview(("Z8", "Z8"), minutes(1))]

    found = agreement([], reviews, until=minutes(60), taxonomy=TAXONOMY)
    other = agreement([], of_others, until=minutes(60), taxonomy=TAXONOMY)

    assert (found.two_n, found.two_same) == (10, 9)
    value, low, high = found.two_kappa
    assert value == pytest.approx(0.6154, abs=1e-3)
    assert low <= value <= high
    assert other.two_kappa is None


# --- what is unlike everything taught -----------------------------------------------------------


def far(view, away):
    strangeness = StoredStrangeness(companions={"knn": away})
    return dataclasses.replace(
        view, result=dataclasses.replace(view.result, strangeness=strangeness)
    )


def test_the_farthest_automatic_micrographs_are_picked_one_of_each_specimen(lab):
    for field in range(4):
        lab.take("G8", order="4711", specimen="1", field=str(field))
    lab.take("G8")
    lab.take("G8", reasons=("uncertain",))
    labelled = lab.take("G8")
    lab.store.labels.decide(labelled, Decision("code", "Ann", code="G8"), at=DAY)
    views = [
        far(one, n / 10) for n, one in enumerate(lab.store.results.list_between(*period_of_night()))
    ]

    picked = list_farthest(views, 5)

    by_id = {view.id: view for view in views}
    assert [by_id[one].process_data.get("field") for one in picked] == [None, "3"]
    assert list_farthest(views, 1) == picked[:1]


def period_of_night():
    return compute_night_period(NIGHT, SETTINGS.at, SETTINGS.zone)


def test_what_is_asked_for_once_more_waits_with_its_reason_and_leaves_a_trail(lab):
    public_id = lab.take("G8")

    lab.store.review_queue.add([public_id], Reason.UNLIKE_TAUGHT, by="agent", at=DAY)

    (view,) = lab.store.review_queue.list_micrographs()
    assert (view.id, view.result.reasons, view.result.handling) == (
        public_id,
        ("unlike_taught",),
        "review",
    )
    (act,) = lab.store.audit_log.iter_acts("micrograph.asked_again")
    assert (act.subject, act.facts) == (public_id, {"reason": "unlike_taught"})


def test_of_several_specimens_the_page_says_where_each_is_and_which_was_graded():
    def box(x0, x1):
        return [[x0, 0], [x1, 0], [x1, 300], [x0, 300]]

    area = {"polygon": box(160, 400), "others": [box(0, 120)]}
    words = list(describe_warnings(["several_specimens"], {"specimen_area": area}, 400, 300))

    assert words[1:] == [
        "Graded: at the right, 60 % of the field. Not graded: at the left, 30 % of the field."
    ]


def test_what_is_cut_along_a_border_states_how_deep_it_is_and_by_how_much_it_differs():
    area = {"zone": {"depth_px": 34, "spreads": 4.2}}

    words = list(describe_warnings(["bleeding"], {"specimen_area": area}, 400, 300))

    assert "The 34 px next to the border differ" in words[1]
    assert "by 4.2 times the field's own spread" in words[1]
