"""An administrator names the lab's classes on a page, and nothing is replaced unseen."""

from __future__ import annotations

import re
from html import unescape

from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, NEXT_DAY, Lab
from labs.words import Words, english_in
from servers.databases import tamper

from agent.settings import read
from agent.store import Decision
from agent.store.people import auth
from agent.web.app import app_of
from model import load_taxonomy

SETTINGS = '[site]\ntime_zone = "UTC"\n[store]\nfolder = "data"\n[model]\ntaxonomy = "own.toml"\n'
OWN = """
name = "own"
[[size]]
name = "7"
title = "seven"
[[size]]
name = "8"
look_for = "thin plates"
[[subtype]]
name = "G"
sizes = ["7", "8"]
"""


def open_pages(lab: Lab, settings: str = SETTINGS, own: str | None = OWN) -> TestClient:
    folder = lab.folder.parent
    (folder / "agent.toml").write_text(settings, encoding="utf-8")
    if own is not None:
        (folder / "own.toml").write_text(own, encoding="utf-8")
    app = app_of(
        read(folder / "agent.toml"),
        store=lab.store,
        archive=lab.archive,
        now=lambda: NEXT_DAY,
        status=dict,
    )
    return TestClient(app, base_url=HOME, follow_redirects=False)


def form_of(page: str) -> dict[str, list[str]]:
    """Every field of the form of the classes, as a browser would send it."""
    page = page[page.index('id="classes"') :]
    fields: dict[str, list[str]] = {}
    for tag, name, rest in re.findall(r'<(input|textarea)[^>]*? name="(\w+)"([^<]*)', page):
        value = re.search(r'value="([^"]*)"', rest)
        text = rest.partition(">")[2] if tag == "textarea" else value[1] if value else ""
        if "checkbox" not in rest and name != "several":
            fields.setdefault(name, []).append(unescape(text))
    return fields


def post(pages: TestClient, act: str, **fields):
    return pages.post("/setup/taxonomy", data={**fields, "act": act})


def test_the_form_shows_what_applies_with_an_example_of_each_class(lab):
    shown = lab.take("G8")
    lab.store.labels.decide(shown, Decision("code", "Ann", code="G8"), at=DAY)

    page = open_pages(lab).get("/setup/taxonomy")

    fields = form_of(page.text)
    assert (page.status_code, fields["subtype"][0], fields["sizes"][0]) == (200, "G", "7\n8")
    assert fields["size_title"] == ["seven", ""]
    assert f"/pictures/{shown}/thumb.jpg" in page.text
    assert page.text.count("/thumb.jpg") == 1  # G7 has no label yet


def test_an_imported_set_fills_the_form_with_its_own_codes(lab):
    imported, watched = lab.take("G8"), lab.take("G7")
    for public_id, code in ((imported, "G8"), (watched, "G7")):
        lab.store.labels.decide(public_id, Decision("code", "Ann", code=code), at=DAY)
    tamper(
        f"sqlite:///{lab.folder / 'martensight.db'}",
        "UPDATE micrograph SET origin = 'import' WHERE id = 1",
    )
    pages = open_pages(lab)

    page = pages.get("/setup/taxonomy")
    filled = pages.get("/setup/taxonomy?source=LOM-07")

    assert 'href="/setup/taxonomy?source=LOM-07"' in page.text
    assert form_of(filled.text)["sizes"][0] == "8"
    assert pages.get("/setup/taxonomy?source=LOM-08").status_code == 404


def test_nothing_is_written_before_its_effects_were_shown(lab):
    shown = lab.take("G7")
    lab.store.labels.decide(shown, Decision("code", "Ann", code="G7"), at=DAY)
    pages, file = open_pages(lab), lab.folder.parent / "own.toml"
    fields = form_of(pages.get("/setup/taxonomy").text)
    fields["sizes"][0] = "8\n9"

    unseen = post(pages, "write", **fields)

    assert "Training leaves out the labels of unknown codes: G7 (1)." in unescape(unseen.text)
    assert "The sizes of G become 8, 9" in unseen.text
    assert file.read_text("utf-8") == OWN

    written = post(pages, "write", **form_of(unseen.text))

    assert 'role="status"' in written.text
    assert load_taxonomy(file).codes == ("G8", "G9")
    assert load_taxonomy(file).subtypes[0].sizes[0].look_for.en == "thin plates"
    copies = list(file.parent.glob("own-*.toml"))
    assert [copy.read_text("utf-8") for copy in copies] == [OWN]


def test_another_form_or_a_file_that_changed_meanwhile_leads_to_a_new_preview(lab):
    pages, file = open_pages(lab), lab.folder.parent / "own.toml"
    fields = form_of(pages.get("/setup/taxonomy").text)
    seen = form_of(post(pages, "check", **fields).text)

    other = post(pages, "write", **{**seen, "name": ["renamed"]})
    file.write_text(OWN + "# somebody was here\n", encoding="utf-8")
    changed = post(pages, "write", **seen)

    assert 'role="status"' not in other.text + changed.text
    assert file.read_text("utf-8").endswith("# somebody was here\n")


def test_a_new_state_is_recorded_under_the_administrators_name(lab):
    pages = open_pages(lab)
    pages.post("/review/name", data={"by": "Ada", "then": "/review"})
    fields = form_of(pages.get("/setup/taxonomy").text)
    fields["subtype"][1], fields["title_de"][1] = "K", "Kern"

    post(pages, "write", **form_of(post(pages, "check", **fields).text))

    assert lab.store.records.all("taxonomy")[-1].by == "Ada"
    assert load_taxonomy(lab.folder.parent / "own.toml").subtype("K").title_de == "Kern"


def test_typed_names_fill_the_form_and_names_that_collide_are_both_named(lab):
    pages = open_pages(lab)

    filled = post(pages, "propose", names="lath fine\nlath coarse\nnetwork\n")
    wrong = post(pages, "propose", names="Network\nnetwork")

    fields = form_of(filled.text)
    assert fields["subtype"][:2] == ["lath", "network"]
    assert fields["sizes"][0] == "coarse\nfine"
    assert wrong.status_code == 422
    assert "&#39;Network&#39; and &#39;network&#39;" in wrong.text


def test_a_file_that_cannot_be_read_can_be_replaced_here(lab):
    pages = open_pages(lab, own="name = [")

    broken = pages.get("/setup/taxonomy")
    fields = form_of(post(pages, "propose", names="a\nb").text)
    written = post(pages, "write", **form_of(post(pages, "check", **fields).text))

    assert (broken.status_code, "not valid TOML" in broken.text) == (200, True)
    assert 'role="status"' in written.text


def test_an_administrator_alone_may_see_and_change_it(lab):
    pages = open_pages(lab)
    for role in ("lead", "admin"):
        lab.store.accounts.add(
            role, kind="person", role=role, by="Ada", at=DAY,
            hashed=auth.hash_password("four long words here", name=role),
        )  # fmt: skip

    def log_in(name: str) -> None:
        form = {"name": name, "password": "four long words here"}
        pages.post("/login", data=form, headers={"Origin": HOME})

    log_in("lead")
    assert pages.get("/setup/taxonomy").status_code == 403
    refused = pages.post("/setup/taxonomy", data={"act": "check"}, headers={"Origin": HOME})
    assert refused.status_code == 403
    assert "/setup/taxonomy" not in pages.get("/models").text
    log_in("admin")
    assert pages.get("/setup/taxonomy").status_code == 200
    assert "/setup/taxonomy" in pages.get("/models").text


def test_the_german_page_says_nothing_in_english(lab):
    pages = open_pages(lab, SETTINGS + '[report]\nlanguage = "de"\n')
    fields = form_of(pages.get("/setup/taxonomy").text)
    fields["sizes"][0] = "8"

    page = post(pages, "check", **fields)

    assert Words(page.text).lang == "de"
    shown = re.sub(r"<pre.*?</pre>", "", page.text, flags=re.DOTALL)
    assert english_in(shown) == []


def test_classes_are_proposed_from_subfolders_and_named_in_the_settings(lab, tmp_path):
    for code in ("pearlite fine", "pearlite coarse"):
        (tmp_path / "labelled" / code).mkdir(parents=True)
        (tmp_path / "labelled" / code / "a.tif").write_bytes(b"x")
    pages = open_pages(lab, SETTINGS.partition("[model]")[0] + "# a comment\n", own=None)

    proposed = post(pages, "propose", folder="labelled")  # as agent.toml means it
    checked = post(pages, "check", **form_of(proposed.text))
    written = post(pages, "write", **form_of(checked.text))

    file = lab.folder.parent / "agent.toml"
    assert read(file).model.taxonomy == str(file.with_name("taxonomy.toml"))
    assert "# a comment" in file.read_text("utf-8")
    assert load_taxonomy(file.with_name("taxonomy.toml")).subtypes[0].name == "pearlite"
    assert "Start the agent again" in written.text
    assert lab.store.records.all("taxonomy")[-1].by == "agent"  # it applies after a restart


def test_an_imported_specimen_of_several_subtypes_switches_them_on(lab):
    for code in ("G8", "M8"):
        taken = lab.take(code, order="4711", specimen="1")
        lab.store.labels.decide(taken, Decision("code", "Ann", code=code), at=DAY)
    tamper(f"sqlite:///{lab.folder / 'martensight.db'}", "UPDATE micrograph SET origin = 'import'")

    pages = open_pages(lab, SETTINGS.partition("[model]")[0], own=None)
    filled = pages.get("/setup/taxonomy?source=LOM-07").text

    assert re.search(r'name="several"[^>]*checked', filled)
