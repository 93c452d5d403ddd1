"""Every page can be used by everybody: axe-core finds nothing serious on it, light or dark."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from labs.bundles import SECOND, judged, two_bundles
from labs.lab import SETTINGS, Lab, web_of
from labs.needle_lengths import fill as fill_needles
from labs.order_pages import field_of, order_of, web_with
from labs.rounds import Round, play, written
from servers.browser import grave

from agent.files.pictures import encode_png
from agent.nightly import write_report
from agent.nightly.page import layout as night_page
from agent.nightly.write import write_sites
from agent.orders.instruments.prediction_flips import Flip
from agent.orders.specifications.taxonomy_changes import load_taxonomy_use, propose_class
from agent.retrain.impact import Changed, Impact
from agent.roundrobin.capability import StudyRun
from agent.service import Pages
from agent.settings import WebSection
from agent.store import Decision, RingRules, Signature, Store
from agent.store.people import auth
from agent.web import create_app
from agent.web.context import TaxonomySetup
from agent.web.review.chart_plates import Chart
from reports import DocumentSection, Fact, Table, confusion_svg, render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NIGHT = datetime(2026, 11, 24, tzinfo=UTC).date()
WRITTEN = datetime(2026, 11, 24, 22, 31, tzinfo=UTC)

pytestmark = pytest.mark.slow


@pytest.fixture(params=["light", "dark"])
def tab(request):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(color_scheme=request.param)
        browser.close()


@pytest.fixture
def address(lab):
    setup = TaxonomySetup(
        lab.folder / "taxonomy.toml",
        is_named=True,
        load_use=lambda: load_taxonomy_use(
            lab.store, data=lab.folder, specifications=lab.folder / "none.toml"
        ),
    )
    chart = lab.folder / "chart"
    chart.mkdir()
    (chart / "8.png").write_bytes(encode_png(np.full((60, 80, 3), 130, np.uint8)))
    web = replace(web_of(lab), taxonomy_setup=setup, chart=Chart(chart), correction_reasons=())
    pages = Pages(create_app(web), WebSection(port=0))
    pages.start()
    yield pages.url
    pages.stop()
    pages.join(10)


def test_a_night_and_the_lists_beside_it_have_no_grave_fault(lab, axe, tab, monkeypatch):
    monkeypatch.setattr(night_page, "CARDS_PER_PAGE", 1)
    for reasons in ((), ("strange", "uncertain"), ("scale_unknown",)):
        lab.take(reasons=reasons)
    lab.set_aside("cut.tif", "truncated", "it ends in the middle of the picture")
    written = write_report(lab.store, lab.archive, lab.reports, NIGHT, SETTINGS, now=WRITTEN)

    sites = lab.reports / "sites.html"
    with Store.open(f"sqlite:///{lab.folder}/martensight.db", site="Plant 2", agent="PC") as other:
        assert write_sites(other, lab.reports, SETTINGS, now=WRITTEN) == sites

    for path in (
        written.path,
        next(lab.reports.glob("*/page-2.html")),
        lab.reports / "index.html",
        sites,
    ):
        tab.goto(path.as_uri())
        assert grave(axe, tab) == [], path.name


def stop_rollout(store: Store) -> None:
    """Leave a rollout that a PC has stopped, so that the page of the PCs has its table and form."""
    store.agents.record_start(at=WRITTEN)
    store.promotions.sign(
        SECOND, Signature("Lea", "better", WRITTEN), metrics={}, promoters=1, instead_of=None,
        rings=RingRules(("test",)),
    )  # fmt: skip
    ticket = store.rollouts.find_wanted().ticket
    assert not store.rollouts.record_answers(ticket, {}, at=WRITTEN)


def test_the_review_pages_have_no_grave_fault(lab, axe, tab, address):
    named = {"order": "4711", "specimen": "1", "field": "1"}
    flagged = lab.take(reasons=("strange", "uncertain"), **named)
    lab.take("G8", order="4711", specimen="1", field="2")
    blind = lab.take(reasons=("control_sample",))
    decided = lab.take(reasons=("uncertain",))
    unscaled = lab.take(reasons=("scale_unknown",), um_per_px=None)
    pages = [
        "/",
        "/files",
        "/fleet",
        "/review",
        f"/review/{unscaled}",
        f"/review/{unscaled}/scale",
        f"/review/{flagged}",
        f"/review/{blind}",
        f"/review/{flagged}/viewer",
        f"/review/{flagged}/propose",
        "/review/name",
        "/docs",
        "/chart",
        "/nowhere",
        "/orders",
        "/order/4711",
        "/order/none",
        "/archive",
        "/archive?q=field&outcome=waiting",
        "/archive?q=nosuchword",
        "/archive/map",
        f"/archive/similar/{flagged}",
        "/history",
        "/history?first=x",
        "/trends?by=source",
        "/history?facts=G8",
        "/orders?state=held",
        "/roundrobin",
        "/models",
        "/help",
        "/help?q=scale bar",
        "/help/orders",
        "/help/own-classes",
        "/setup/taxonomy",
        "/help/commands",
    ]

    lab.store.labels.decide(decided, Decision("code", "Ann", code="G8"), at=WRITTEN)
    propose_class(lab.store, flagged, name="pearlite", text="rim", by="Ann", at=WRITTEN)
    stop_rollout(lab.store)
    for path in [*pages, f"/review/{decided}"]:
        tab.goto(address + path)
        assert grave(axe, tab) == [], path
    tab.goto(f"{address}/review/{flagged}")
    for key in ("Shift+C", "h", "Shift+D", "Shift+E", "Shift+G"):
        tab.keyboard.press(key)
    tab.wait_for_selector(".canvas.beside")
    assert grave(axe, tab) == []
    tab.goto(f"{address}/order/4711")
    tab.keyboard.press("v")
    tab.wait_for_selector("dialog[open] .canvas.live")
    assert grave(axe, tab) == []


def test_a_narrow_page_has_no_grave_fault(lab, axe, tab, address):
    tab.set_viewport_size({"width": 390, "height": 844})
    flagged = lab.take(reasons=("strange",))
    lab.set_aside("cut.tif", "truncated", "it ends in the middle of the picture")
    write_report(lab.store, lab.archive, lab.reports, NIGHT, SETTINGS, now=WRITTEN)

    for path in ("/docs", f"/review/{flagged}", "/archive", "/history", f"/reports/{NIGHT}.html"):
        tab.goto(address + path)
        assert grave(axe, tab) == [], path
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390, path
    for path, parts, least_px in (
        ("/setup/taxonomy", ".sizes input:not([type=hidden])", 150),
        ("/needles", "form[action='/needles/next'] button", 140),
    ):
        tab.goto(address + path)
        widths = tab.eval_on_selector_all(parts, "parts => parts.map(part => part.offsetWidth)")
        assert min(widths) >= least_px, (path, widths)


def test_the_order_desk_has_no_grave_fault(lab, axe, tab):
    order_of(lab, "4711", "G7")
    order_of(lab, "4712", reasons=("uncertain",))
    blind = field_of(lab, "4712", 4, reasons=("control_sample",))
    for one in order_of(lab, "4713"):
        lab.store.labels.decide(one, Decision("code", "Ann", code="G8"), at=WRITTEN)
    lab.store.order_corrections.set_urgent("4712", urgent=True, by="Leo", at=WRITTEN)
    pages = Pages(create_app(web_with(lab)), WebSection(port=0))
    pages.start()

    for path in (
        "/orders",
        "/orders?done=4713&together=1",
        "/orders?state=held",
        "/confirm/4711",
        "/confirm/4712",
        "/confirm/4713",
        "/order/4712",
        f"/review/{blind}?order=4712",
        "/review",
    ):
        tab.goto(pages.url + path)
        assert grave(axe, tab) == [], path
    pages.stop()
    pages.join(10)


def test_the_door_has_no_grave_fault(lab, axe, tab, address):
    hashed = auth.hash_password("a long pass phrase")
    lab.store.accounts.add(
        "Ann", kind="person", role="viewer", hashed=hashed, by="shell", at=WRITTEN
    )

    tab.goto(f"{address}/login")
    assert grave(axe, tab) == []
    tab.fill("#name", "Ann")
    tab.fill("#password", "wrong")
    tab.click("button")
    assert grave(axe, tab) == []


def test_the_page_of_experiments(axe, tab):
    names = ("G7", "G8", "G9-10")
    drawn = confusion_svg(names, [[3, 1, 0], [0, 4, 0], [0, 0, 5]], "ResNet-18 2S")
    wide = tuple(f"column {number}" for number in range(12))
    tables = (Table("Table 2", wide, (wide,)), Table("Figure 4", ("", *names), (), drawn))

    facts = {"site": "Plant 1", "sentences": ("n",), "found": tables, "generated": ""}
    tab.set_content(render("experiments", **facts))

    assert grave(axe, tab) == []


def test_the_pages_of_a_round_robin_have_no_grave_fault(tmp_path, axe, tab):
    round_ = Round(Lab(tmp_path / "data"), raters=2, images=2, may_go_back=True)
    pages = Pages(create_app(web_of(round_.lab)), WebSection(port=0))
    pages.start()

    link = f"{pages.url}/rate/{round_.tokens['R01']}"
    tab.goto(link)
    tab.click("input[name=subtype][value=G] + label")
    assert grave(axe, tab) == []
    tab.click("[data-submit]")  # the size is missing
    assert grave(axe, tab) == []
    for _ in range(2):
        tab.goto(link)
        tab.click("[data-cannot]")
    tab.goto(link)
    assert grave(axe, tab) == []
    tab.goto(f"{pages.url}/roundrobin")
    assert grave(axe, tab) == []
    pages.stop()
    pages.join(10)
    round_.lab.store.close()


def test_the_learning_loop_has_no_grave_fault(lab, axe, tab, address):
    public_id = lab.take("G8", reasons=("uncertain",))
    flip = {"key": lab.store.results.find(public_id).sha256, "true": "G8"}
    two_bundles(lab)
    judged(lab, flips=[flip | {"current": "G8", "candidate": "G7"}])
    lab.store.labels.decide(public_id, Decision("code", "Ann", code="G8", blind=True), at=WRITTEN)
    job = lab.store.jobs.begin("suggest", at=WRITTEN)
    curve = {"n": 100, "points": [[[30, 0.3], [100, 0.1]]]}
    more = {"value": 80, "low": 40, "high": None}
    facts = {"ids": [public_id], "gain": 0.02, "more_labels": more, "curve": curve}
    lab.store.jobs.end(job, "done", at=WRITTEN, facts=facts)

    for path in ("/models", "/models/training", f"/models/{SECOND}"):
        tab.goto(f"{address}{path}")
        assert grave(axe, tab) == [], path


def test_the_page_of_measured_needles_has_no_grave_fault(lab, axe, tab, address):
    fill_needles(lab, fields=4, needles=6)

    tab.goto(f"{address}/needles")

    assert tab.locator("svg.agreement").count() == 1
    assert grave(axe, tab) == []


def test_what_studies_found_has_no_grave_fault(tmp_path, axe, tab):
    round_ = Round(Lab(tmp_path / "data"), raters=3, images=4)
    play(round_)
    written(round_, tmp_path / "r.html")
    round_.lab.store.close()
    runs = [StudyRun(1, n, "S1", "Ann", "LOM-01", 1) for n in (1, 2)]
    plan = render("plan", site="Plant 1", name="MSA-1", runs=runs, generated="today")
    (tmp_path / "plan.html").write_text(plan, encoding="utf-8")

    for name in ("r.html", "plan.html"):
        tab.goto((tmp_path / name).as_uri())
        assert grave(axe, tab) == [], name


def test_what_would_change_and_the_model_card(axe, tab):
    flip = Flip(
        "0badcafe", "0" * 64, 0, "a.tif", "1", "", "G8", "G7", ("G8",), ("G7", "G8"), "automatic",
        "review", strange=False, strange_after=False, decided="G8",
    )  # fmt: skip
    order = Changed("4711", "conforms", "undecided", ("field 2 could be 7",), (flip,))
    impact = render(
        "impact",
        site="Plant 1",
        impact=Impact("b", "a", WRITTEN, 2, 2, 0, 0, (order,), (flip,)),
        headline="The conformity of 1 of 2 orders would change",
        sentences=("s",),
        tones={"conforms": "calm", "undecided": "attention"},
        shown=(flip,),
        pictures={flip.id: None},
        generated="now",
    )
    table = Table("Signatures", ("who", "why"), (("R. Stahl", "better"),))
    section = DocumentSection("What it is", ("A sentence.",), (Fact("Taught", "2026"),), (table,))
    facts = {"name": "b", "state": "In use", "is_current": True, "sections": (section,)}
    card = render("card", site="Plant 1", generated="now", **facts)

    for page in (impact, card):
        tab.set_content(page)
        assert grave(axe, tab) == []
