"""The page of trends counts a range of days, and a lead acknowledges an alarm on it."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, NEXT_DAY, SETTINGS, TAXONOMY, web_of

from agent.cli import main
from agent.nightly.facts.change_alarm import Begin, Group
from agent.nightly.facts.collect import gather
from agent.nightly.facts.snapshot import to_text
from agent.nightly.page.night_charts import ACKNOWLEDGED
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.store import Decision
from agent.store.people import auth
from agent.web import create_app

WEEK = timedelta(days=7)


def browser_of(lab, *, has_leads=False):
    policy = OrderPolicy(Specifications(), TAXONOMY, has_leads=lambda: has_leads)
    web = replace(web_of(lab), lab=lambda: policy)
    return TestClient(create_app(web), base_url=HOME, headers={"origin": HOME})


def read_csv(browser, **asked):
    text = browser.get("/trends.csv", params=asked).content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def filled(lab):
    """Two weeks of two furnaces, one micrograph unusual, and two blind decisions."""
    wrong = lab.take("G8", at=DAY - WEEK, heat="H1", reasons=("strange",))
    right = lab.take("G7", at=DAY, heat="H1", reasons=("control_sample",))
    lab.take("G8", at=DAY, heat="H2")
    for public_id, code in ((wrong, "G7"), (right, "G7")):
        lab.store.labels.decide(public_id, Decision("code", "Ann", code=code, blind=True), at=DAY)
    return lab


def test_each_week_and_heat_has_its_numbers(filled):
    browser = browser_of(filled)

    weeks = read_csv(browser)
    heats = read_csv(browser, by="heat", first="2026-11-23", last="2026-11-29")

    columns = ("first_day", "micrographs", "review", "unusual", "blind", "agreed", "G7", "G8")
    assert [tuple(row[name] for name in columns) for row in weeks] == [
        ("2026-11-16", "1", "1", "1", "0", "0", "0", "1"),
        ("2026-11-23", "2", "1", "0", "2", "1", "1", "1"),
    ]
    assert [(row["group"], row["micrographs"], row["blind"]) for row in heats] == [
        ("H1", "1", "2"),
        ("H2", "1", "0"),
    ]


def test_a_share_has_its_number_and_interval_in_chart_and_table(filled):
    page = unescape(browser_of(filled).get("/trends").text)

    assert "1 of 1, 100 % (21 to 100)" in page
    assert "1 of 2, 50 % (9 to 91)" in page
    assert re.search(r"<title>23 Nov: 1 / 2 \(9–91 %\)</title>", page)
    assert page.count('class="steps"') >= 4


def test_one_group_alone_is_a_click_away(filled):
    browser = browser_of(filled)

    page = unescape(browser.get("/trends", params={"by": "heat"}).text)
    href = re.search(r'href="(/trends\?[^"]*only=H2)"', page)[1]

    assert [row["group"] for row in read_csv(browser, by="heat", only="H2")] == ["H2"]
    assert "All groups" in browser.get(href).text


def test_groups_are_compared_side_by_side_over_the_whole_range(filled):
    browser = browser_of(filled)

    page = unescape(browser.get("/trends", params={"by": "heat", "step": "range"}).text)

    assert [
        (row["group"], row["micrographs"], row["unusual"], row["blind"])
        for row in read_csv(browser, by="heat", step="range")
    ] == [("H1", "2", "1", "2"), ("H2", "1", "0", "0")]
    assert re.search(r"<title>H1: 1 / 2 \(9–91 %\)</title>.*<title>H2: 0 / 1", page)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"first": "x"}, "Write two days such as 2026-11-24"),
        ({"first": "2026-11-24", "last": "2026-11-01"}, "the earlier one first"),
        ({"first": "0001-01-01"}, "at most 106 steps"),
        ({"first": "2020-01-01", "step": "day"}, "Choose a shorter range"),
    ],
)
def test_a_range_that_cannot_be_shown_is_refused_with_what_to_do(filled, asked, said):
    browser = browser_of(filled)

    page, table = browser.get("/trends", params=asked), browser.get("/trends.csv", params=asked)

    assert (page.status_code, table.status_code) == (422, 422)
    assert said in page.text


def test_codes_of_hidden_answers_are_not_counted(lab):
    lab.take("G7", at=DAY, reasons=("control_sample",))

    (row,) = read_csv(browser_of(lab))

    assert (row["micrographs"], "G7" in row) == ("1", False)


# --- alarms -------------------------------------------------------------------------------------


@pytest.fixture
def alarmed(lab):
    """A lab whose last night raised an alarm of one source."""
    facts = gather(lab.store, DAY.date(), SETTINGS, now=NEXT_DAY)
    group = Group(
        "unusual", "source", "LOM-07", "b", 1, 9, (0,) * 32, 900.0,
        Begin(900.0, DAY.date(), 31), DAY.date(),
    )  # fmt: skip
    facts = replace(facts, charts=replace(facts.charts, groups=(group,)))
    lab.store.nightly_reports.freeze(DAY.date(), to_text(facts), at=DAY)
    return lab


FORM = {"measure": "unusual", "night": "2026-11-24", "by": "Ann"}


def test_an_alarm_waits_for_a_lead_on_today_and_on_the_page_of_trends(alarmed):
    browser = browser_of(alarmed)

    today, page = browser.get("/").text, browser.get("/trends").text

    assert re.search(r'href="/trends"[^>]*><b class="number">1</b><span class="what">alarm', today)
    assert "31 micrographs since 24 Nov are more unusual than those before (source LOM-07)" in page


def test_a_lead_acknowledges_an_alarm_with_a_reason_and_it_ends(alarmed):
    browser = browser_of(alarmed)

    refused = browser.post("/trends", data=FORM)
    done = browser.post("/trends", data=FORM | {"reason": "new etchant"}, follow_redirects=False)
    again = browser.post("/trends", data=FORM | {"reason": "twice"})

    assert refused.status_code == again.status_code == 422
    assert (done.status_code, done.headers["location"]) == (303, "/trends")
    (record,) = alarmed.store.records.all(ACKNOWLEDGED)
    assert (record.subject, record.by) == ("unusual", "Ann")
    assert record.facts == {
        "night": "2026-11-24",
        "reason": "new etchant",
        "groups": ["source LOM-07"],
    }
    assert "more unusual than those before" not in browser.get("/trends").text


@pytest.mark.parametrize("name", ["Ann", "Bea"])
def test_a_named_lead_acknowledges_and_releases_whatever_the_role_of_the_account(alarmed, name):
    at = DAY - timedelta(days=1)
    for who in ("Ann", "Bea"):
        hashed = auth.hash_password("a long pass phrase", name=who)
        alarmed.store.accounts.add(
            who, kind="person", role="reviewer", hashed=hashed, by="Root", at=at
        )
    policy = OrderPolicy(
        Specifications(), TAXONOMY, has_leads=lambda: True, is_lead=lambda who: who == "Ann"
    )
    web = replace(web_of(alarmed), lab=lambda: policy)
    browser = TestClient(create_app(web), base_url=HOME, headers={"origin": HOME})
    browser.post("/login", data={"name": name, "password": "a long pass phrase"})

    form = browser.get("/trends").text.count('name="reason"')
    released = browser.post("/orders/release", data={"source": "LOM-07", "reason": "mended"})
    browser.post("/trends", data=FORM | {"reason": "new etchant"})

    records = alarmed.store.records.all(ACKNOWLEDGED)
    assert (form, [record.by for record in records]) == ((1, ["Ann"]) if name == "Ann" else (0, []))
    assert ("is not a lead" in released.text) == (name == "Bea")


def test_a_program_acknowledges_an_alarm(alarmed):
    browser = browser_of(alarmed)
    body = {"measure": "unusual", "by": "Ann", "reason": "new etchant"}

    done = browser.post("/api/v1/alarms/acknowledge", json=body)
    again = browser.post("/api/v1/alarms/acknowledge", json=body)

    assert (done.status_code, done.json()) == (201, {"count": 1})
    assert (again.status_code, "No alarm of this kind" in again.text) == (422, True)
    assert (
        browser_of(alarmed, has_leads=True)
        .post("/api/v1/alarms/acknowledge", json=body)
        .text.count("Ann is not a lead")
    )
    (record,) = alarmed.store.records.all(ACKNOWLEDGED)
    assert (record.by, record.facts["reason"]) == ("Ann", "new etchant")


def test_a_command_acknowledges_an_alarm(alarmed, capsys):
    file = alarmed.folder.parent / "agent.toml"
    file.write_text(
        f'[site]\nname = "Plant 1"\n[store]\nfolder = "{alarmed.folder}"\n', encoding="utf-8"
    )

    def report(*words):
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(file), "report", *words])
        return ended.value.code, " ".join(
            capsys.readouterr()[0 if not ended.value.code else 1].split()
        )

    signed = ("--by", "Ann", "--reason", "new etchant")
    wrong = report("--acknowledge", "codes", *signed)
    done = report("--acknowledge", "unusual", *signed)

    assert (wrong[0], "write unusual or agreement" in wrong[1]) == (2, True)
    assert done == (
        0,
        "unusual, by Ann: acknowledged for source LOM-07. What comes is compared with itself.",
    )
    assert [record.by for record in alarmed.store.records.all(ACKNOWLEDGED)] == ["Ann"]


def test_an_alarm_that_came_after_the_page_was_opened_is_not_acknowledged(alarmed):
    browser = browser_of(alarmed)

    late = browser.post("/trends", data=FORM | {"night": "2026-11-23", "reason": "seen"})

    assert late.status_code == 422
    assert alarmed.store.records.all(ACKNOWLEDGED) == []


def test_whoever_is_no_lead_acknowledges_nothing(alarmed):
    browser = browser_of(alarmed, has_leads=True)

    refused = browser.post("/trends", data=FORM | {"reason": "seen"})

    assert (refused.status_code, "Ann is not a lead" in refused.text) == (422, True)
    assert alarmed.store.records.all(ACKNOWLEDGED) == []
    browser.cookies.set("reviewer", "Ann")
    assert 'name="reason"' not in browser.get("/trends").text
