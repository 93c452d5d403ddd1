"""What a reviewer must not know before deciding is told by no page, count, search or export."""

from __future__ import annotations

import json
import re
import threading

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, NEXT_DAY, SETTINGS, Lab, web_of
from labs.order_acts import AT, Plant

from agent.cli import main
from agent.nightly import night_settings, write_report
from agent.orders.statements.statement import name_file
from agent.settings import read
from agent.store import Decision
from agent.web import create_app

KEYS = {"order": "4711", "specimen": "01", "material": "100Cr6"}


@pytest.fixture
def plant(tmp_path):
    plant = Plant(tmp_path)
    yield plant
    plant.store.close()


@pytest.fixture
def web(lab):
    return web_of(lab, at=DAY)


@pytest.fixture
def browser(web):
    with TestClient(create_app(web), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        yield client


def test_the_page_of_an_order_tells_nothing_of_a_hidden_answer(plant):
    take, labels = plant.lab.take, plant.store.labels
    take("M8", name="4711_01_2.tif", at=AT, reasons=("control_sample",), field="2", **KEYS)
    suspect = take("M8", name="4711_01_3.tif", at=AT, field="3", **KEYS)
    number = labels.decide(suspect, Decision("code", "Ada", code="M8"), at=AT)
    labels.mark_suspect(suspect, label_id=number, sentence="requested", by="Lea", at=AT)
    take("M8", name="4711_01_4.tif", at=AT, reasons=("uncertain",), field="4", **KEYS)

    page = plant.browser.get("/order/4711").text

    for field in ("field 2", "field 3"):
        assert f"{field} awaits review<" in page
        assert f"{field} awaits review:" not in page
    assert "field 4 awaits review: ordered G, looks like M" in page


def test_the_orders_of_a_report_tell_nothing_of_a_hidden_answer(plant):
    def write(number, reason):
        keys = {"order": number, "specimen": "01", "material": "100Cr6"}
        plant.lab.take("M8", name=f"{number}_01_1.tif", at=AT, reasons=(reason,), **keys)
        settings = read(plant.folder / "agent.toml")
        lab = night_settings(settings, plant.store, now=NEXT_DAY)
        write_report(plant.store, plant.lab.archive, plant.lab.reports, AT.date(), lab, now=AT)
        return (plant.lab.reports / "2026-11-24.html").read_text()

    before, after = write("4712", "control_sample"), write("4713", "uncertain")

    for text in ("looks like M", "probably out of specification"):
        assert text not in before
        assert text in after
    assert "4713 probably out of specification" in after
    assert "4712 probably out of specification" not in after


def test_the_dashboard_counts_an_answer_once_a_reviewer_may_see_it(lab, browser):
    blind = lab.take("G7", reasons=("control_sample",))
    twice = lab.take("M8", reasons=("uncertain",), thresholds={"double_share": 1.0})
    lab.take("G8", reasons=("uncertain",))
    lab.take("G8")

    def count():
        found = TestClient(create_app(web_of(lab, at=DAY)), base_url=HOME).get("/api/v1/today")
        return {row["code"]: row["n"] for row in found.json()["codes"]}

    assert count() == {"G8": 2}
    lab.store.labels.decide(blind, Decision("code", "Ann", code="G8"), at=DAY)
    lab.store.labels.decide(twice, Decision("code", "Ann", code="M8"), at=DAY)
    assert count() == {"G8": 2, "G7": 1}


def test_the_list_of_the_shell_shows_a_hidden_answer_as_unknown(plant, monkeypatch, capsys):
    plant.lab.take("M8", name="4711_01_2.tif", at=AT, reasons=("control_sample",), **KEYS)
    plant.lab.take("G7", name="4711_01_3.tif", at=AT, reasons=("uncertain",), **KEYS)
    monkeypatch.chdir(plant.folder)

    with pytest.raises(SystemExit) as ended:
        main(["review", "list"])
    shown = capsys.readouterr().out

    assert ended.value.code == 0
    assert "M8" not in shown
    assert "G7" in shown


def test_the_map_of_a_hidden_answer_is_no_picture_until_the_decision(lab, browser):
    suspect = lab.take("M8")
    number = lab.store.labels.decide(suspect, Decision("code", "Ada", code="M8"), at=DAY)
    lab.store.labels.mark_suspect(suspect, label_id=number, sentence="x", by="Lea", at=DAY)
    blind = lab.take("M8", reasons=("control_sample",))
    twice = lab.take("M8", reasons=("uncertain",), thresholds={"double_share": 1.0})
    seen = lab.take("M8", reasons=("uncertain",))

    def ask(field, which):
        return browser.get(f"/pictures/{field}/{which}.png").status_code

    for which in ("subtype", "size", "strangeness"):
        assert [ask(field, which) for field in (suspect, blind, twice, seen)] == [404] * 3 + [200]
    lab.store.labels.decide(blind, Decision("code", "Ann", code="G8"), at=DAY)
    assert ask(blind, "size") == 200


def test_with_answers_hidden_the_archive_counts_no_code_and_a_search_for_it_is_remembered(
    lab, web, browser
):
    one = lab.take("G7", name="one.tif", reasons=("uncertain",))
    browser.cookies.set("blind_first", "1")
    result = lab.store.results.find(one).result.id

    for query in ("", "?q=one", "?month=2026-11"):
        page = browser.get(f"/archive{query}").text
        assert "G7" not in re.sub(r"<option .*?</option>", "", page)  # every code of the taxonomy
    assert not web.shown.has("Ann", result)
    browser.get("/archive?q=one+g7")

    assert web.shown.has("Ann", result)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/archive?code=G7", None),
        ("/api/v1/search", None),
        ("/api/v1/queue", None),
        ("/api/v1/micrographs?order=4711", None),
        ("/api/v1/micrographs/ID", None),
        ("/api/v1/orders/4711", None),
        ("/archive/export", {"as": "csv"}),
    ],
)
def test_an_answer_that_was_read_elsewhere_makes_no_blind_decision(lab, web, browser, path, sent):
    one = lab.take("G7", reasons=("uncertain",), **KEYS)
    browser.cookies.set("blind_first", "1")
    path = path.replace("ID", one)

    answer = browser.post(path, data=sent) if sent else browser.get(path)

    assert answer.status_code == 200
    assert web.shown.has("Ann", lab.store.results.find(one).result.id)


def test_the_facts_of_a_night_that_were_read_make_no_blind_decision(lab, web, browser):
    one = lab.take("G7", reasons=("control_sample",), **KEYS)
    write_report(lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=NEXT_DAY)
    result = lab.store.results.find(one).result.id

    browser.get(f"/reports/{DAY.date()}.html")
    assert not web.shown.has("Ann", result)
    facts = browser.get(f"/reports/{DAY.date()}.json").json()

    assert [entry["result"]["structure_code"] for entry in facts["micrographs"]] == ["G7"]
    assert web.shown.has("Ann", result)


def test_damaged_facts_of_a_night_are_not_served(lab, web, browser):
    one = lab.take("G7", reasons=("control_sample",), **KEYS)
    write_report(lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=NEXT_DAY)
    path = lab.reports / f"{DAY.date()}.json"
    path.write_bytes(path.read_bytes()[:-20])

    answer = browser.get(f"/reports/{path.name}")

    assert answer.status_code == 404
    assert "G7" not in answer.text
    assert not web.shown.has("Ann", lab.store.results.find(one).result.id)


def test_the_report_of_a_night_does_not_tell_a_label_that_is_suspect(tmp_path):
    pages = []
    for code in ("G7", "M9-10"):
        night = Lab(tmp_path / code)
        one = night.take("G8", order="4711")
        night.store.labels.decide(one, Decision("code", "Ada", code=code), at=DAY)
        label = night.store.results.find(one).label
        night.store.labels.mark_suspect(
            one, label_id=label.id, sentence="unlike the others", by="agent", at=DAY
        )
        written = write_report(
            night.store, night.archive, night.reports, DAY.date(), SETTINGS, now=NEXT_DAY
        )
        page, table = (written.path.with_suffix(kind) for kind in (".html", ".csv"))
        pages.append(table.read_text("utf-8").replace(str(night.folder), ""))
        assert f">{code}<" not in page.read_text("utf-8")

    assert pages[0] == pages[1]


def test_a_program_that_reads_the_queue_shows_nobody_anything(lab, web, browser):
    one = lab.take("G7", reasons=("uncertain",))
    browser.cookies.clear()

    browser.get("/api/v1/queue")

    assert not web.shown.has("Ann", lab.store.results.find(one).result.id)


def test_the_report_of_a_night_leads_to_a_decision_and_does_not_tell_the_answer(tmp_path):
    """Two nights that differ in hidden answers alone have the same page, PDF and CSV."""
    hidden = [
        (("control_sample",), {}),
        (("control_sample", "strange", "unexpected_subtype"), {}),
        (("uncertain",), {"double_share": 1.0}),
    ]
    pages = []
    for code in ("G8", "M7"):
        night = Lab(tmp_path / code)
        for reasons, thresholds in hidden:
            night.take(code, reasons=reasons, thresholds=thresholds, order="4711")
        night.take("G9-10", reasons=("uncertain",))
        night.take("G9-10")
        write_report(
            night.store, night.archive, night.reports, DAY.date(), SETTINGS,
            now=NEXT_DAY, with_pdf=True,
        )  # fmt: skip
        night.store.close()
        texts = [(night.reports / f"2026-11-24.{kind}").read_text() for kind in ("html", "csv")]
        pages.append([text.replace(str(night.folder), "") for text in texts])

    assert pages[0] == pages[1]
    assert "hidden until you decide" in pages[0][0]
    assert pages[0][0].count('<span class="code">G9-10') > 1


@pytest.mark.parametrize("reason", ["\u200b", "\x1b", "\n \t", "\u202e"])
def test_a_reason_that_shows_nothing_is_none_and_a_kept_one_is_one_line(plant, reason):
    def hold(text):
        body = json.dumps({"act": "hold", "by": "R. Stahl", "reason": text})
        kind = {"content-type": "application/json"}
        return plant.browser.post("/api/v1/orders/4711/acts", content=body, headers=kind)

    assert hold(reason).status_code == 422
    assert hold(f"complaint{reason} 7\n").status_code == 200
    assert plant.acts("order.held")[0][1].replace(" ", "") == "complaint7"
    assert plant.acts("order.held")[0][1].isprintable()


@pytest.mark.parametrize(
    ("act", "kind"), [("hold", "order.held"), ("release", "order.released"), ("resume", "")]
)
def test_what_two_leads_do_at_once_is_recorded_once(plant, act, kind):
    if act == "release":
        plant.act("hold", "complaint")
    if act == "resume":
        plant.loses()
    start, codes = threading.Barrier(4), []
    path, body = "/api/v1/orders/4711/acts", {"act": act, "by": "R. Stahl", "reason": "x"}

    def send(browser):
        start.wait()
        codes.append(browser.post(path, json=body).status_code)

    browsers = [plant.open() for _ in range(4)]
    assert {browser.post(path, json={}).status_code for browser in browsers} == {422}
    threads = [threading.Thread(target=send, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == [200, 422, 422, 422]
    done = plant.acts(kind) if act != "resume" else plant.store.records.all("outbox_acknowledged")
    assert len(done) == 1


def test_no_two_orders_have_files_of_the_same_name():
    numbers = ["4711", "A/7", "A_7", "A 7", "..", "../..", "x" * 90, "x" * 91, "_"]

    names = [name_file(number) for number in numbers]

    assert names[0] == "4711"
    assert len(set(names)) == len(numbers)
    assert not any(letter in name for name in names for letter in "/\\ ")
