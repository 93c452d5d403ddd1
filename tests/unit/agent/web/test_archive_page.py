"""The archive and the history show what was searched for, to who may see it, whatever is typed."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from fastapi.testclient import TestClient
from labs.accounts import let_in
from labs.lab import DAY, HOME, NEXT_DAY, TAXONOMY, web_of

from agent.backup.verification import Outside, verify_trail
from agent.files.csv_export import plain
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.specifications.specification import Specifications
from agent.store import Decision, Origin, TrailEntry
from agent.store.evidence.declaration import EVIDENCE
from agent.store.orders.order_naming import ClaimedPlace
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
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
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
    assert "G7" not in page[: page.index("data-bar")]
    assert (row["id"], row["structure_code"], row["subtype"], row["reasons"]) == (blind, "", "", "")
    assert "G7" not in str(found)
    assert browser.get("/api/v1/search?code=G7").json()["count"] == 0


def test_a_csv_of_hits_is_sent_while_they_are_read_and_in_the_words_of_its_reader(lab):
    for n in range(3):
        public_id = lab.take("G8", name=f"f_{n}.tif")
        lab.store.labels.decide(public_id, Decision("cannot_tell", "Ann"), at=DAY)
    pieces: list[bytes] = []
    app = create_app(web_of(lab))

    async def counted(scope, receive, send):
        async def keep(message):
            pieces.append(message.get("body", b""))
            await send(message)

        await app(scope, receive, keep)

    with TestClient(counted, base_url=HOME) as client:
        client.cookies.set("language", "de")
        answer = client.post("/archive/export", data={"as": "csv"})

    header, *rest = [piece for piece in pieces if piece]
    assert header.startswith(b"\xef\xbb\xbfid,")
    assert header.count(b"\r\n") == 1
    assert header + b"".join(rest) == answer.content
    rows = read_csv(answer.content)
    assert [row["file"].rpartition("/")[2] for row in rows] == ["f_2.tif", "f_1.tif", "f_0.tif"]
    assert {row["decision"] for row in rows} == {"nicht zu entscheiden"}


def test_a_code_that_the_grid_has_shown_makes_no_blind_decision(lab):
    web = web_of(lab)
    shown = lab.take("G7", reasons=("uncertain",))
    with TestClient(create_app(web), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        client.get("/archive")

    view = lab.store.results.find(shown)
    assert web.shown.has("Ann", view.result.id)


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
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
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
            assert ('"/archive/review"' in client.get("/archive", headers=told).text) == (
                may == 201
            )
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


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("day=2026-11-24", "it knows who, subject, facts, first, last, kind, before"),
        ("first=24.11.2026", "Write a day such as 2026-11-24"),
        ("kind=decisions", "There is no kind “decisions”"),
    ],
)
def test_a_part_of_an_address_that_the_history_does_not_know_is_named(browser, query, sentence):
    page, *files = (browser.get(f"/history{kind}?{query}") for kind in ("", ".csv", ".pdf"))

    assert sentence in html.unescape(page.text)
    assert [(file.status_code, sentence in html.unescape(file.text)) for file in files] == [
        (422, True),
        (422, True),
    ]


@pytest.mark.parametrize("page", ["archive", "orders", "files", "review"])
def test_a_page_names_what_it_passes_over_in_its_address_and_nothing_else(browser, page):
    plain, odd = (browser.get(f"/{page}{query}").text for query in ("", "?day=2026-11-24"))

    assert "This page does not know “day” in its address" in odd
    assert "This page does not know" not in plain


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
    entry = TrailEntry(DAY, "Ann", "label.given", "first.tif", {}, 7, "Plant 1", "ab" * 32)
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
    newest, second_row = re.findall(r'<td class="any small">([^<]*)<', page)[:2]

    assert newest == "reason: none given · triage.alpha: 0.01 → 0.03"
    assert f"reason: {reason}" in second_row
    assert "triage.alpha: 0.02 → 0.01" in second_row
    assert "triage.control" not in newest + second_row


def test_facts_are_in_words_and_the_machines_form_is_a_click_away(lab, browser):
    other = lab.take("G8", name="other.tif")
    stated = {"number": 1, "conformity": "does_not_conform", "final": False, "state": "84a.f7"}
    for act, subject, facts in (
        (
            "files.set_aside",
            "",
            {"files": [[50, "LOM-07", "5_91.tif"], [51, "LOM-07", "6.tif"]]},
        ),
        ("place.found", other, {"other": other, "share": 0.41, "area_px": 9.0}),
        ("statement.frozen", "4711", stated),
        ("micrograph.described", other, {"before": {"heat": ""}, "after": {"heat": "H<1>"}}),
        ("field.assigned", other, {"before": {"order": "1"}, "now": {"order": "2"}, "after": {}}),
        ("taxonomy.recorded", "LOM-07", {"record": 1, "taxonomy": {"subtype": []}}),
        ("model.promoted", "b", {"reason": "uncertain", "metrics": {"n": 1}, "order": 3}),
    ):
        lab.store.audit_log.add(at=DAY, actor="Ann", act=act, subject=subject, facts=facts)

    def rows(language: str) -> list[tuple[str, str]]:
        browser.cookies.set("language", language)
        page = browser.get("/history?who=Ann").text
        cells = re.findall(r'<td class="any small">([^<]*)<details.*?<code>(.*?)</code>', page)
        return [(html.unescape(words), html.unescape(form)) for words, form in cells]

    shown = [words for words, _form in rows("en")]

    assert shown == [
        "reason: The model is unsure of the code",
        "",
        "order: 1 → 2",
        "heat: – → H<1>",
        "result: does not conform · final: no · statement: 1",
        "other micrograph: other.tif",
        "files: LOM-07: 5_91.tif, LOM-07: 6.tif",
    ]
    assert json.loads(rows("en")[4][1]) == stated
    assert "Ergebnis: entspricht nicht" in rows("de")[4][0]


def test_each_act_has_a_title_in_both_languages_and_a_statement_leads_to_its_order(lab, browser):
    kinds = (
        *("alarm_acknowledged", "bundle_taxonomy", "lost_file_named", "notice", "notice_sent"),
        *("order_list", "outbox", "outbox_acknowledged", "outbox_floor", "outbox_written"),
        *("reference", "resumption"),
    )
    acts = {name for evidence in EVIDENCE.values() for act in evidence.acts for name in act.names}
    acts |= {f"{kind}.recorded" for kind in kinds} - {"*.recorded"}
    acts |= {"agent.retired", "database.copied", "guards.laid_again", "trail.timestamped"}
    for act in sorted(acts - {"*.recorded"}):
        lab.store.audit_log.add(at=DAY, actor="Ann", act=act, subject="4711")

    titles = []
    for language in ("en", "de"):
        browser.cookies.set("language", language)
        page = browser.get("/history?who=Ann").text
        titles.append(dict(re.findall(r'<td title="([^"]*)">([^<]*)</td>', page)))

    english, german = titles
    assert {act for act in acts - {"*.recorded"} if english[act] == german[act]} == set()
    assert len(re.findall(r'<a href="/order/4711"', page)) == sum(
        act.startswith(("order.", "statement.")) for act in acts
    )


# --- labelling and assigning several at once ------------------------------------------------------


def listed_in(page: str) -> dict[str, str]:
    """Return the hidden fields of the page that shows what an act would change."""
    found = re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


def confirm(browser, path, page, ids, *, seen=None, **more):
    """Send the form of that page, with each picture seen unless other ids are named."""
    sent = listed_in(page) | more | {"decision_id": "d" * 12}
    answers = {f"answer-{public_id}": f"code:{sent.get('code')}" for public_id in ids}
    return browser.post(path, data=sent | answers | {"seen": ids if seen is None else seen})


def labels_of(lab, ids) -> list[str | None]:
    views = [lab.store.results.find(public_id) for public_id in ids]
    return [view.label.code if view.label else None for view in views]


def test_a_bulk_label_is_shown_before_it_is_written_and_names_what_it_leaves(lab, browser):
    plain_one, flagged = lab.take("G7", name="plain.tif"), lab.take("G7", reasons=("strange",))
    blind = lab.take("G7", name="blind.tif", reasons=("control_sample",))
    twice = lab.take("G7", name="twice.tif", reasons=("uncertain",),
                     thresholds={"double_share": 1.0})  # fmt: skip
    same = lab.take("G8", name="same.tif")
    lab.store.labels.decide(same, Decision("code", "Bob", code="G8"), at=DAY)
    chosen = {"micrograph": [plain_one, flagged, blind, twice, same], "code": "G8", "back": "q=tif"}

    unreasoned = browser.post("/archive/relabel", data=chosen)
    page = browser.post("/archive/relabel", data=chosen | {"why": "wrong chart"}).text

    assert unreasoned.status_code == 422
    assert "blind.tif</bdi></a>: decide it alone, without the model" in page
    assert "twice.tif</bdi></a>: decide it alone, without the model" in page
    assert "same.tif</bdi></a>: has this label already, by Bob" in page
    assert re.findall(r'name="seen" value="([^"]*)"', page) == [plain_one, flagged]
    assert page.count("data-look>") == 3  # the flagged one: picture and reason
    assert labels_of(lab, [plain_one, flagged, blind, twice]) == [None] * 4


def test_a_bulk_label_is_one_act_with_one_entry_a_field_and_one_undo(lab, browser):
    ids = [lab.take("G7", name=f"f_{n}.tif") for n in range(3)]
    lab.store.labels.decide(ids[0], Decision("code", "Bob", code="G7"), at=DAY)
    chosen = {"micrograph": ids, "code": "G8", "why": "wrong chart", "back": "q=tif"}
    page = browser.post("/archive/relabel", data=chosen).text

    unseen = confirm(browser, "/archive/relabel", page, ids, seen=ids[:2])
    other_code = confirm(browser, "/archive/relabel", page, ids, code="B8")
    between = labels_of(lab, ids)
    done = confirm(browser, "/archive/relabel", page, ids)
    again = confirm(browser, "/archive/relabel", page, ids)
    after, acts = labels_of(lab, ids), list(lab.store.audit_log.iter_acts("label.given"))
    later = browser.get("/archive").text.partition("Recent acts on")[2]
    taken_back = browser.post("/archive/undo", data=listed_in(later))

    assert "3 micrographs labelled. Ann" in later
    assert (unseen.status_code, "f_2.tif: not yet on screen." in unseen.text) == (409, True)
    assert other_code.status_code == 422
    assert between == ["G7", None, None]
    assert "3 micrographs labelled." in done.text
    assert "3 micrographs labelled." in again.text
    assert after == ["G8"] * 3
    assert sorted(act.subject for act in acts[1:]) == sorted(ids)
    assert {(act.actor, act.facts["comment"], act.facts["bulk"]) for act in acts[1:]} == {
        ("Ann", "wrong chart", True)
    }
    assert len({act.at for act in acts[1:]}) == 1
    assert "Taken back for 3 micrographs." in taken_back.text
    assert labels_of(lab, ids) == ["G7", None, None]
    assert lab.store.audit_log.find_problems() == []


def test_a_bulk_label_is_not_written_where_one_has_changed_since(lab, browser):
    ids = [lab.take("G7", name=f"f_{n}.tif") for n in range(2)]
    chosen = {"micrograph": ids, "code": "G8", "why": "wrong chart"}
    page = browser.post("/archive/relabel", data=chosen).text
    lab.store.labels.decide(ids[1], Decision("code", "Bob", code="G9-10"), at=DAY)

    answer = confirm(browser, "/archive/relabel", page, ids)

    assert answer.status_code == 409
    assert "f_1.tif has changed since." in answer.text
    assert "Nothing was written." in answer.text
    assert labels_of(lab, ids) == [None, "G9-10"]


def test_an_undo_leaves_what_was_decided_again_and_what_is_another_ones(lab, browser_of):
    for name, role in (("ann", "reviewer"), ("bob", "reviewer"), ("eva", "lead")):
        let_in(lab, name, role)
    ids = [lab.take("G7") for _ in range(2)]
    ann, bob, eva = (browser_of(name) for name in ("ann", "bob", "eva"))
    chosen = {"micrograph": ids, "code": "G8", "why": "wrong chart"}
    page = ann.post("/archive/relabel", data=chosen).text
    done = ann.get(confirm(ann, "/archive/relabel", page, ids).headers["location"]).text
    lab.store.labels.decide(
        ids[1], Decision("code", "bob", code="G9-10", comment="by the new chart"), at=DAY
    )

    refused = bob.post("/archive/undo", data=listed_in(done))
    before = labels_of(lab, ids)
    taken_back = eva.post("/archive/undo", data=listed_in(done))

    assert refused.status_code == 403
    assert before == ["G8", "G9-10"]
    assert taken_back.headers["location"].endswith("undone=1")
    assert labels_of(lab, ids) == [None, "G9-10"]


def test_all_hits_of_a_search_are_taken_up_to_the_limit(lab, browser):
    for n in range(3):
        lab.take("G7", name=f"a_{n}.tif")
    lab.take("G7", name="b.tif")
    asked = {"all": "1", "code": "G8", "why": "wrong chart", "back": "q=a"}

    page = browser.post("/archive/relabel", data=asked).text
    none = browser.post("/archive/relabel", data=asked | {"back": "q=zzz"})

    assert len(re.findall(r'name="seen"', page)) == 3
    assert none.status_code == 422
    assert "data-every" not in browser.get("/archive?q=zzz").text
    assert "Label or assign all 3 hits of the search" in browser.get("/archive?q=a").text


@pytest.fixture
def leads_browser(lab):
    policy = OrderPolicy(Specifications(), TAXONOMY, is_lead=lambda name: name == "Ann")
    web = replace(web_of(lab), lab=lambda: policy)
    with TestClient(create_app(web), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        yield client


def test_a_bulk_assignment_moves_all_or_none_and_one_undo_returns_each(lab, leads_browser):
    browser = leads_browser
    loose = [lab.take("G8", name=f"loose_{n}.tif") for n in range(2)]
    there = lab.take("G8", name="there.tif", order="4711", specimen="01")
    other = lab.take("G8", name="other.tif", order="4712", specimen="01")
    asked = {"micrograph": [*loose, there, other], "order": "4711", "specimen": "01"}

    page = browser.post("/archive/assign", data=asked | {"assign_why": "mixed up"}).text
    before = lab.store.orders.of_micrograph(loose[0])
    done = browser.post("/archive/assign", data=listed_in(page))
    again = browser.post("/archive/assign", data=listed_in(page))
    after = [lab.store.results.find(entry).process_data.get("order") for entry in loose]
    acts = list(lab.store.audit_log.iter_acts("field.assigned"))
    later = browser.get("/archive", params={"q": "loose"}).text
    taken_back = browser.post("/archive/undo", data=listed_in(later.partition("Recent acts on")[2]))
    listed = browser.get("/archive").text

    assert "3 micrographs assigned." in again.text
    assert "3 micrographs assigned. Ann" in later
    assert "3 micrographs assigned." not in listed
    assert "there.tif</bdi></a>: belongs there already" in page
    assert (before, after) == (None, ["4711"] * 2)
    assert "3 micrographs assigned." in done.text
    assert sorted(act.subject for act in acts) == sorted([*loose, other])
    assert len({act.at for act in acts}) == 1
    assert "Taken back for 3 micrographs." in taken_back.text
    assert [lab.store.orders.of_micrograph(entry) for entry in loose] == [None, None]
    view = lab.store.results.find(other)
    assert (view.process_data["order"], view.process_data["specimen"]) == ("4712", "01")
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])


def test_a_reviewer_assigns_in_bulk_what_a_single_act_would_let_through(lab, browser_of):
    let_in(lab, "ann", "reviewer")
    loose = lab.take("G8", name="loose.tif")
    other = lab.take("G8", name="other.tif", order="4712", specimen="01")
    ann = browser_of("ann")
    asked = {"micrograph": [loose, other], "order": "4711", "specimen": "01"}

    page = ann.post("/archive/assign", data=asked | {"assign_why": "mixed up"}).text

    assert "only a lead may" in page
    assert "Assign 1 micrograph" in page
    assert ann.post("/archive/assign", data=asked).status_code == 422
    let_in(lab, "vera", "viewer")
    for path in ("/archive/relabel", "/archive/assign", "/archive/undo"):
        assert browser_of("vera").post(path, data=asked).status_code == 403


def test_hits_are_sorted_and_narrowed_to_days(lab, browser):
    for name, code, day in (("a", "B8", DAY), ("b", "G9-10", DAY + timedelta(days=1)),
                            ("c", "G8", DAY + timedelta(days=2))):  # fmt: skip
        lab.take(code, name=f"{name}.tif", at=day)
    lab.take("G9-10", name="strange.tif", reasons=("strange",), at=DAY + timedelta(days=3))
    lab.take("G7", name="blind.tif", reasons=("control_sample",), at=DAY + timedelta(days=4))

    def hits(**asked: str) -> list[str]:
        return [
            name.removesuffix(".tif") for name in names(browser.get("/archive", params=asked).text)
        ]

    assert hits(sort="oldest") == ["a", "b", "c", "strange", "blind"]
    assert hits(sort="code") == ["a", "c", "strange", "b", "blind"]
    assert hits(sort="unusual")[0] == "strange"
    assert hits(sort="unusual")[-1] == "blind"
    assert hits(since="2026-11-25", until="2026-11-26") == ["c", "b"]
    assert hits(since="2026-13-45", q="a") == hits(sort="nonsense", q="a") == ["a"]
    page = browser.get("/archive?since=2026-11-25&sort=code&code=G9-10").text
    assert 'name="since" type="date" value="2026-11-25"' in page
    assert '<input type="hidden" name="code" value="G9-10">' in page
    assert "From: 2026-11-25" in page
    browser.cookies.set("blind_first", "1")
    assert hits(sort="code") == hits()


def test_sorted_hits_go_on_page_by_page(lab, browser):
    lab.compares_places = False
    for n in range(62):
        lab.take(f"G{6 + n % 3}", name=f"f_{n}.tif")

    for sort in ("oldest", "code", "uncertain"):
        page = browser.get(f"/archive?sort={sort}").text
        (older,) = re.findall(r'href="([^"]*)" rel="next"', page)
        following = browser.get(html.unescape(older)).text
        assert len({*names(page), *names(following)}) == 62, sort
        assert 'rel="next"' not in following


def test_an_assignment_that_settled_what_named_a_field_is_not_taken_back_to_no_order(
    lab, leads_browser
):
    torn = lab.take("G8", name="4711_01_1.tif", order="4711", specimen="01")
    claims = [ClaimedPlace("4712", "01", "path", "4712_01_1.tif")]
    lab.store.order_naming.claim_again(1, claims, "4712_01_1.tif", at=DAY)
    asked = {"micrograph": torn, "order": "4713", "specimen": "01", "assign_why": "mixed up"}

    page = leads_browser.post("/archive/assign", data=asked).text
    done = leads_browser.post("/archive/assign", data=listed_in(page))
    refused = leads_browser.post("/archive/undo", data=listed_in(done.text))

    assert refused.status_code == 422
    assert "settled what else names it" in refused.text
    assert lab.store.results.find(torn).process_data["order"] == "4713"
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])


def test_what_the_store_refuses_is_in_the_reader_s_language(lab, leads_browser):
    leads_browser.cookies.set("language", "de")
    taken = lab.take("G8", name="loose.tif")
    asked = {"micrograph": [taken], "order": "4711", "specimen": "01", "assign_why": "x"}
    page = leads_browser.post("/archive/assign", data=asked).text
    done = leads_browser.post("/archive/assign", data=listed_in(page))
    lab.store.order_corrections.assign(
        taken, {"order": "4712", "specimen": "01"}, by="Ann", reason="x", at=NEXT_DAY
    )

    refused = leads_browser.post("/archive/undo", data=listed_in(done.text))

    assert (refused.status_code, "seitdem verschoben" in refused.text) == (422, True)
