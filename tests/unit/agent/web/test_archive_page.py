"""The archive and the history show what was searched for, to who may see it, whatever is typed."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import re
import zipfile
from functools import partial

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, desk_of

from agent.files.csv_export import plain
from agent.store import Decision, Origin, TrailEntry
from agent.store.people import auth
from agent.web import create_app
from reports import render_history_pdf

NASTY = (
    *(
        "'\"><script>alert(1)</script>",
        "' OR 1=1 --",
        '"a" NEAR "b" * OR NOT',
        "😀🔬",
        "%27%00"[:3],
    ),
    *("x" * 10_000, "order:", "2026-99-99", "{{7*7}}", "\\", "-", "a\nb", "=cmd|' /C calc'!A0"),
)


@pytest.fixture
def browser(lab):
    with TestClient(create_app(desk_of(lab)), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        yield client


def names(page: str) -> list[str]:
    return re.findall(r'class="name any"><bdi>([^<]*)', page)


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_the_box_is_in_the_head_of_each_page_and_leads_to_the_hits(lab, browser):
    lab.take("G8", name="50050_03_Rand.tif", order="A-4711", heat="H 88")
    lab.take("G7", name="other.tif", order="A-4712")

    for path in ("/review", "/orders", "/models", "/help", "/history", "/nowhere"):
        assert "data-search" in browser.get(path).text, path
    page = browser.get("/archive?q=50050_03").text

    assert names(page) == ["50050_03_Rand.tif"]
    assert "1 micrograph<" in page
    assert 'value="50050_03"' in page
    assert 'loading="lazy"' in page
    assert names(browser.get("/archive?q=4711&code=G7").text) == []
    assert len(names(browser.get("/archive?code=G7&code=G8").text)) == 2


@pytest.mark.parametrize("typed", NASTY)
def test_whatever_is_typed_is_shown_as_text_and_breaks_nothing(lab, browser, typed):
    lab.take("G8")

    for path, keys in (
        ("/archive", ("q", "code", "month", "before")),
        ("/api/v1/search", ("q", "reviewer", "before")),
        ("/history", ("who", "subject", "first", "kind", "before")),
        ("/history.csv", ("subject",)),
        ("/api/v1/history", ("actor", "first")),
    ):
        for key in keys:
            answer = browser.get(path, params={key: typed})
            assert answer.status_code in (200, 422), (path, key)
            assert "<script>alert" not in answer.text
    for path in ("/archive/review", "/archive/export", "/archive/campaign", "/archive/views"):
        sent = {"micrograph": typed, "reason": typed, "name": typed, "back": typed, "as": typed}
        answer = browser.post(path, data=sent | {"raters": typed, "query": typed})
        assert answer.status_code in (200, 422), path
        assert "<script>alert" not in answer.text


def test_pages_go_on_and_the_search_goes_with_them(lab, browser):
    lab.compares_places = False
    for n in range(62):
        lab.take("G8", name=f"f_{n}.tif")

    page = browser.get("/archive?q=f").text
    (older,) = re.findall(r'href="([^"]*)" rel="next"', page)
    following = browser.get(older.replace("&amp;", "&")).text

    assert names(page)[0] == "f_61.tif"
    assert len(names(page)) == 60
    assert names(following) == ["f_1.tif", "f_0.tif"]
    assert "OFFSET" not in page
    assert "62 micrographs" in following


def test_a_hidden_answer_is_neither_shown_nor_exported(lab, browser):
    blind = lab.take("G7", name="blind.tif", reasons=("control_sample",))

    page = browser.get("/archive").text
    (row,) = read_csv(browser.post("/archive/export", data={"as": "csv"}).content)
    found = browser.get("/api/v1/search").json()

    assert '<span class="code">?</span>' in page
    assert "G7" not in page
    assert (row["id"], row["structure_code"], row["subtype"], row["reasons"]) == (blind, "", "", "")
    assert "G7" not in str(found)
    assert browser.get("/api/v1/search?code=G7").json()["count"] == 0


def test_a_code_that_the_grid_has_shown_makes_no_blind_decision(lab):
    desk = desk_of(lab)
    shown = lab.take("G7", reasons=("uncertain",))
    with TestClient(create_app(desk), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        client.get("/archive")

    view = lab.store.results.find(shown)
    assert desk.shown.has("Ann", view.result.id)


def test_reviews_are_requested_with_a_reason_that_the_audit_log_keeps(lab, browser):
    plain_one = lab.take("G8")
    labelled = lab.take("G8", reasons=("uncertain",))
    waiting = lab.take("G8", reasons=("uncertain",))
    lab.store.labels.decide(labelled, Decision("code", "Bob", code="G8"), at=DAY)
    chosen = {"micrograph": [plain_one, labelled, waiting], "back": "q=tif&evil=1"}

    refused = browser.post("/archive/review", data=chosen)
    answer = browser.post("/archive/review", data=chosen | {"reason": "new chart"})

    assert refused.status_code == 422
    assert "Give a reason" in refused.text
    assert "Review of 2 micrographs requested." in answer.text
    assert str(answer.url).endswith("/archive?q=tif&reviewed=2")
    assert lab.store.review_queue.count() == 3
    assert lab.store.results.find(plain_one).result.reasons == ("requested",)
    assert lab.store.results.find(labelled).label.code == "G8"
    (act,) = lab.store.audit_log.iter_acts("archive.review_requested")
    assert (act.actor, act.facts["reason"]) == ("Ann", "new chart")
    assert act.facts["micrographs"] == [plain_one, labelled]
    assert lab.store.audit_log.find_problems() == []
    assert "not in" not in browser.get("/review").text


def test_a_round_robin_is_planned_of_the_selection(lab, browser):
    ids = [lab.take("G8") for _ in range(3)]
    sent = {"micrograph": ids[:2], "name": "autumn", "raters": "Ann, Bob"}

    lonely = browser.post("/archive/campaign", data=sent | {"raters": "Ann"})
    answer = browser.post("/archive/campaign", data=sent)
    again = browser.post("/archive/campaign", data=sent)

    assert "at least two raters" in lonely.text
    assert "Round robin with 2 micrographs planned." in answer.text
    assert again.status_code == 422
    campaign = lab.store.campaigns.find("autumn")
    assert {image.micrograph for image in campaign.images} == set(ids[:2])
    assert sorted(rater.name for rater in campaign.raters) == ["Ann", "Bob"]


def test_an_export_holds_the_images_and_a_manifest_with_their_hashes(lab, browser):
    first = lab.take("G8", name="=cmd.tif", order="A-1")
    lab.take("G7", name="b.tif", order="A-2")

    packed = browser.post("/archive/export", data={"as": "zip", "micrograph": first})
    every = browser.post("/archive/export", data={"as": "csv", "back": "q=a-2"})
    none = browser.post("/archive/export", data={"as": "csv", "micrograph": "0" * 16})

    with zipfile.ZipFile(io.BytesIO(packed.content)) as files:
        (row,) = read_csv(files.read("manifest.csv"))
        content = files.read(row["exported_file"])
        assert sorted(files.namelist()) == sorted(["manifest.csv", row["exported_file"]])
    assert hashlib.sha256(content).hexdigest() == row["exported_sha256"]
    assert (row["id"], row["structure_code"], row["order"]) == (first, "G8", "A-1")
    assert plain(row["file"]).endswith("=cmd.tif")
    assert [line["order"] for line in read_csv(every.content)] == ["A-2"]
    assert read_csv(none.content) == []


def test_a_view_is_saved_opened_and_deleted_by_its_owner_alone(lab, browser):
    browser.post("/archive/views", data={"name": "<b>mine</b>", "query": "q=x&code=G8&evil=1"})
    page = browser.get("/archive").text
    as_bob = {"Cookie": "reviewer=Bob"}
    browser.cookies.clear()
    other = browser.get("/archive", headers=as_bob).text
    browser.post("/archive/views/delete", data={"name": "<b>mine</b>"}, headers=as_bob)

    assert 'href="/archive?q=x&amp;code=G8"><bdi>&lt;b&gt;mine&lt;/b&gt;' in page
    assert "mine" not in other
    assert browser.get("/api/v1/views?by=Ann").json()["views"][0]["query"] == "q=x&code=G8"
    browser.cookies.clear()
    browser.cookies.set("reviewer", "Ann")
    browser.post("/archive/views/delete", data={"name": "<b>mine</b>"})
    assert browser.get("/api/v1/views?by=Ann").json() == {"views": []}


def test_roles_decide_who_searches_and_who_acts(lab):
    one = lab.take("G8")
    for role in ("viewer", "reviewer", "lead"):
        lab.store.accounts.add(
            role, kind="program", role=role, hashed=auth.hash_token(role * 9), by="x", at=DAY
        )
    with TestClient(create_app(desk_of(lab)), base_url=HOME) as client:
        assert (
            client.get("/archive", follow_redirects=False).headers["location"].startswith("/login")
        )
        for role, may in (("viewer", 403), ("reviewer", 403), ("lead", 201)):
            told = {"Authorization": f"Bearer {role * 9}"}
            asked = {"micrographs": [one], "reason": "because", "by": "x"}
            found = client.get("/api/v1/search", headers=told)
            done = client.post("/api/v1/archive/review", headers=told, json=asked)
            sent = client.post("/api/v1/archive/export", headers=told, json={})
            kept = client.post("/api/v1/views", headers=told, json={"name": "v", "by": "x"})

            assert (found.status_code, sent.status_code, kept.status_code) == (200, 200, 201), role
            assert done.status_code == may, role
            assert ("data-needs-marks" in client.get("/archive", headers=told).text) == (may == 201)
            assert client.get("/api/v1/views", headers=told).json()["views"][0]["name"] == "v"


def test_an_export_by_code_has_a_folder_per_code_that_tells_no_hidden_answer(lab, browser):
    given = lab.take("G7", name="given.tif", reasons=("uncertain",))
    lab.store.labels.decide(given, Decision("code", "Ann", code="G8"), at=DAY)
    alone = lab.take("G7", name="model.tif")
    twice = lab.take("G8", reasons=("uncertain",), thresholds={"double_share": 1.0})
    lab.store.labels.decide(twice, Decision("code", "Bob", code="M8"), at=DAY)

    answer = browser.post("/archive/export", data={"as": "folders"})

    with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
        folders = {name.partition("/")[0] for name in files.namelist()}
        names = {name.partition(".")[0] for name in files.namelist()}
    assert folders == {"G8", "unlabelled", "manifest.csv"}
    assert names == {f"G8/{given}", f"unlabelled/{alone}", f"unlabelled/{twice}", "manifest"}


def test_a_program_exports_what_the_facets_leave(lab, browser):
    for name, code in (("a.tif", "G7"), ("b.tif", "G8"), ("c.tif", "B8")):
        lab.take(code, name=name)
    asked = {"facets": {"code": ["G7", "B8"], "source": ["LOM-07"]}}

    answer = browser.post("/api/v1/archive/export", json=asked)
    wrong = browser.post("/api/v1/archive/export", json={"facets": {"colour": ["red"]}})

    assert {row["structure_code"] for row in read_csv(answer.content)} == {"G7", "B8"}
    assert wrong.status_code == 422


def test_the_history_is_searched_by_name_object_and_day_and_exported(lab, browser):
    one = lab.take("G8", name="first.tif", reasons=("uncertain",))
    other = lab.take("G8", name="second.tif", reasons=("uncertain",))
    lab.store.labels.decide(one, Decision("code", "Ann", code="G8", comment="=1+1"), at=DAY)
    lab.store.labels.decide(other, Decision("code", "100%", code="G7"), at=DAY)

    def acts(**asked: str) -> list[str]:
        page = browser.get("/history", params={"kind": "label."} | asked).text
        return re.findall(r"<bdi>(first\.tif|second\.tif)</bdi>", page)

    assert acts() == ["second.tif", "first.tif"]
    assert acts(who="ann") == acts(subject=one[:9].upper()) == ["first.tif"]
    assert acts(who="%") == ["second.tif"]
    assert acts(first="2026-11-24", last="2026-11-24") == ["second.tif", "first.tif"]
    assert acts(last="2026-11-23") == acts(who="_") == []
    assert "Write a day such as" in browser.get("/history?first=24.11.2026").text
    rows = read_csv(browser.get("/history.csv?kind=label.").content)
    assert [row["subject"] for row in rows] == [other, one]
    assert browser.get("/api/v1/history?act=label.&limit=1").json()["next_before"]


def test_the_history_keeps_an_open_double_review_to_itself(lab, browser):
    twice = lab.take("G8", reasons=("uncertain",), thresholds={"double_share": 1.0})
    lab.store.labels.decide(twice, Decision("code", "Bob", code="M8", comment="rim"), at=DAY)

    for path in ("/history", "/history.csv", "/api/v1/history"):
        page = browser.get(path, params={"subject": twice}).text
        found = browser.get(path, params={"facts": "m8"}).text
        assert "Bob" in page
        assert "M8" not in page, path
        assert "rim" not in page, path
        assert "Bob" not in found, path


def test_the_history_is_searched_by_words_of_the_facts(lab, browser):
    ids = [lab.take("G8", name=f"f_{n}.tif", reasons=("uncertain",)) for n in range(3)]
    comments = ("Größe am Rand", 'a "pearlite" \\ rim, 100%', "")
    for public_id, comment in zip(ids, comments, strict=True):
        decision = Decision("code", "Ann", code="G7", comment=comment)
        lab.store.labels.decide(public_id, decision, at=DAY)

    def acts(facts: str) -> list[str]:
        page = browser.get("/history", params={"kind": "label.", "facts": facts}).text
        return re.findall(r"<bdi>(f_\d)\.tif</bdi>", page)

    assert acts("G7") == ["f_2", "f_1", "f_0"]
    assert acts("rand größe") == ["f_0"]
    assert acts('"pearlite"') == acts("\\") == acts("100%") == ["f_1"]
    assert acts("rim Größe") == acts("1_0%") == []
    answer = browser.get("/api/v1/history", params={"facts": "G7", "limit": 2}).json()
    older = {"facts": "G7", "limit": 2, "before": answer["next_before"]}
    rest = browser.get("/api/v1/history", params=older).json()
    assert [act["subject"] for act in answer["acts"] + rest["acts"]] == ids[::-1]
    assert rest["next_before"] is None
    assert len(read_csv(browser.get("/history.csv?facts=größe").content)) == 1


def test_a_search_that_matches_only_what_is_not_shown_ends_and_finds_nothing(lab, browser):
    public_id = lab.take("G8", reasons=("uncertain",))
    by_web = lab.store.acting_as(Origin("web", address="10.0.0.7"))
    by_web.labels.decide(public_id, Decision("code", "Ann", code="G7"), at=DAY)

    page = browser.get("/history", params={"facts": "10.0.0.7"}).text

    assert "No act matches." in page


def test_the_history_is_a_pdf_of_the_same_acts_with_the_hash_of_the_newest(lab, browser):
    public_id = lab.take("G8", name="first.tif", reasons=("uncertain",))
    lab.store.labels.decide(public_id, Decision("code", "Ann", code="G7"), at=DAY)
    href = re.search(
        r'href="(/history\.pdf[^"]*)"', browser.get("/history", params={"facts": "G7"}).text
    )[1]

    answers = [browser.get(html.unescape(href)) for _ in range(2)]

    assert href == "/history.pdf?facts=G7"
    assert answers[0].headers["content-type"] == "application/pdf"
    assert answers[0].content.startswith(b"%PDF-")
    assert answers[0].content == answers[1].content


def test_an_act_with_more_facts_than_a_page_is_drawn(lab, browser):
    metrics = {f"figure {n}": {"n": n, "of": "a long story " * 9} for n in range(400)}
    lab.store.promotions.promote("20261101-0badcafe", by="A" * 80, reason="x" * 900, at=DAY,
                                 metrics=metrics)  # fmt: skip

    answer = browser.get("/history.pdf")

    assert (answer.status_code, answer.content[:5]) == (200, b"%PDF-")


def test_the_exports_of_the_history_go_on_from_the_page_that_is_shown(lab, browser):
    for n in range(3):
        lab.store.audit_log.add(at=DAY, actor="Ann", act="lab.opened", subject=str(n))
    newest = lab.store.audit_log.get_head().number

    rows = read_csv(browser.get(f"/history.csv?before={newest}&who=Ann").content)

    assert [row["subject"] for row in rows] == ["1", "0"]
    page = browser.get(f"/history?before={newest}").text
    assert f"/history.csv?before={newest}" in page
    assert f"/history.pdf?before={newest}" in page


def test_what_a_pdf_of_the_history_says():
    entry = TrailEntry(7, DAY, "Plant 1", "Ann", "label.given", "first.tif", {}, "ab" * 32)
    row = {"entry": entry, "at": "24 Nov 2026 10:00", "act": "Decision"}
    asked = {"subject": "first", "facts": "G7", "kind": "label."}
    page = {
        "rows": [row | {"subject": "first.tif", "href": "", "facts": "code: G7"}] * 40,
        "asked": dict.fromkeys(("who", "first", "last"), "") | asked,
        "kinds": {"label.": "Decisions"},
        "next_href": "/history?before=7",
        "problem": "",
    }
    draw = partial(render_history_pdf, page, site="Plant 1", at=DAY, generated="now")

    drawn = draw(sha256="ab" * 32)

    assert re.search(rb"/Count 2\b", drawn)  # pages
    assert drawn == draw(sha256="ab" * 32)
    assert drawn != draw(sha256="cd" * 32)


def test_a_change_of_settings_shows_its_reason_and_what_changed_alone(lab, browser):
    first = {"site": {"change_reason": ""}, "triage": {"alpha": 0.02, "control": 0.01}}
    reason = "R. Stahl: fewer alarms after the audit"
    second = {"site": {"change_reason": reason}, "triage": {"alpha": 0.01, "control": 0.01}}
    third = {"site": {"change_reason": reason}, "triage": {"alpha": 0.03, "control": 0.01}}
    for settings in (first, second, third):
        lab.store.settings_history.record(settings, at=DAY)

    page = browser.get("/history?kind=settings.").text
    newest, second_row = re.findall(r'<td class="any small">(.*?)</td>', page)[:2]

    assert newest == "reason: none given · triage.alpha: 0.01 → 0.03"
    assert f"reason: {reason}" in second_row
    assert "triage.alpha: 0.02 → 0.01" in second_row
    assert "triage.control" not in newest + second_row
