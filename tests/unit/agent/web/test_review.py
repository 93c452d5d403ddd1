"""A metallographer decides by keyboard alone, or from the shell, and every act leaves a row."""

from __future__ import annotations

import csv
import json
import os
import re
import statistics
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import httpx2
import numpy as np
import pytest
from labs.lab import DAY, SETTINGS, minutes, web_of
from labs.lab import NEXT_DAY as NOW
from servers.browser import CHROMIUM, until, until_ready
from servers.pages import decided, served

from agent.nightly import write_index, write_report
from agent.nightly.page import layout as night_page
from agent.store import Decision

# --- from the shell -----------------------------------------------------------------------------


def test_what_waits_is_listed_the_weightiest_first(lab, agent):
    lab.take(reasons=("uncertain",), name="unsure.tif")
    lab.take(reasons=("strange",), name="odd.tif")

    _, table, _ = agent("review", "list")
    _, lines, _ = agent("review", "list", "--json")

    documents = [json.loads(line) for line in lines.splitlines()]
    assert table.index("odd.tif") < table.index("unsure.tif")
    assert [document["reasons"] for document in documents] == [["strange"], ["uncertain"]]
    assert documents[0]["id"] in table


def test_a_decision_from_the_shell_is_a_row_like_any_other(lab, agent):
    public_id = lab.take(reasons=("uncertain",))

    code, out, _ = agent(
        "review", "label", public_id, "g9–10", "--by", "Ann", "--criterion", "max", "--comment", "x"
    )

    label = lab.store.results.find(public_id).label
    assert code == 0
    assert "This decision is not used for training: " in out
    assert (label.code, label.by, label.criterion, label.comment) == ("G9-10", "Ann", "max", "x")


ELSE_SAID = [
    (("--strange", "pearlite"), "strange"),
    (("--unusable", "x"), "unusable"),
    (("--cannot-tell",), "cannot_tell"),
]


def test_everything_else_can_be_said_from_the_shell(lab, agent):
    for option, kind in ELSE_SAID:
        public_id = lab.take(reasons=("uncertain",))

        agent("review", "label", public_id, *option, "--by", "Ann")

        assert lab.store.results.find(public_id).label.kind == kind, option


SAYS_NOTHING = [
    (("G99", "--by", "Ann"), "Did you mean"),
    (("G8",), "needs the name"),
    (("--by", "Ann"), "Choose one"),
    (("G8", "--strange", "x", "--by", "Ann"), "Choose one"),
    (("G8", "--by", "Ann", "--criterion", "median"), "criterion"),
]


def test_a_decision_that_says_nothing_is_refused_in_a_sentence(lab, agent):
    for arguments, said in SAYS_NOTHING:
        public_id = lab.take(reasons=("uncertain",))

        code, _, complaint = agent("review", "label", public_id, *arguments)

        assert code == 2, arguments
        assert said in complaint, arguments
        assert "Traceback" not in complaint, arguments
        assert lab.store.results.find(public_id).label is None, arguments


def test_an_unknown_id_is_refused_in_a_sentence(lab, agent):
    code, _, complaint = agent("review", "label", "0" * 16, "G8", "--by", "Ann")

    assert code == 2
    assert "no micrograph" in complaint


def test_a_decision_is_taken_back_from_the_shell(lab, agent):
    public_id = lab.take(reasons=("uncertain",))
    agent("review", "label", public_id, "G8", "--by", "Ann")

    agent("review", "label", public_id, "--undo", "--by", "Bea")

    view = lab.store.results.find(public_id)
    assert view.label is None
    assert [label.undone for label in view.labels] == [True]


def test_labelled_micrographs_are_exported_with_a_manifest(lab, agent, tmp_path):
    public_id = lab.take(reasons=("uncertain",), order="4711")
    agent("review", "label", public_id, "M8", "--by", "Ann", "--criterion", "mean")
    folder = tmp_path / "out"

    code, _, _ = agent("export", "labelled", "--out", str(folder))

    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 0
    assert (folder / "M8" / f"{public_id}.png").is_file()
    assert [(row["file"], row["code"], row["order"]) for row in rows] == [
        (f"M8/{public_id}.png", "M8", "4711")
    ]


def test_an_export_writes_over_nothing(lab, agent, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")

    code, _, complaint = agent("export", "labelled", "--out", str(tmp_path / "out"))

    assert code == 2
    assert "is not empty" in complaint


def test_a_report_is_written_by_command(lab, agent):
    lab.take(reasons=("strange",))

    code, said, aside = agent("report", "--date", "2026-11-24")

    assert code == 0
    assert said.strip().endswith("2026-11-24.html")
    assert "1 micrograph to review" in aside


@pytest.mark.parametrize(
    ("date", "said"), [("2999-01-01", "has not started"), ("yesterday", "write a day such as")]
)
def test_a_night_that_cannot_be_is_refused(lab, agent, date, said):
    code, _, complaint = agent("report", "--date", date)

    assert code == 2
    assert said in complaint


def test_the_pages_of_a_week_and_a_month_are_written_by_command(lab, agent, tmp_path):
    lab.take("G8", reasons=("strange",))
    code, _, complaint = agent("report", "--week", "2026-W48")
    assert (code, "agent report --date 2026-11-23" in complaint) == (2, True)
    agent("report", "--date", "2026-11-24")

    week = agent("report", "--week", "2026-W48")
    month = agent("report", "--month", "2026-11")

    for (code, said, _), name in ((week, "2026-W48"), (month, "2026-11")):
        assert (code, said.strip()) == (0, str(lab.reports / f"{name}.html"))
        assert 'href="2026-11-24.html"' in (lab.reports / f"{name}.html").read_text("utf-8")
        assert f'href="{name}.html"' in (lab.reports / "index.html").read_text("utf-8")


NO_PERIODS = [
    (("--week", "2026-11"), "--week"),
    (("--week", "2026-W54"), "--week"),
    (("--month", "2026-W48"), "--month"),
    (("--week", "2026-W48", "--month", "2026-11"), "one of them"),
    (("--week", "2026-W48", "--refresh"), "--refresh"),
    (("--month", "2026-11", "--date", "2026-11-24"), "--date"),
]


def test_a_week_or_month_that_cannot_be_is_refused(lab, agent):
    for options, named in NO_PERIODS:
        code, said, complaint = agent("report", *options)

        assert (code, said) == (2, ""), options
        assert named in complaint, options


# --- by keyboard, in a real browser -------------------------------------------------------------


@pytest.fixture
def web(lab):
    return web_of(lab)


def say_who(tab, name):
    """Type a name, and wait until the micrograph takes keys."""
    tab.fill("#by", name)
    tab.locator("h1").click()
    tab.wait_for_selector("[data-review][data-ready]")


def test_links_of_a_served_report_lead_to_the_address_that_it_came_from(lab, web, tab):
    public_id = lab.take("G8", reasons=("uncertain",), order="4711", specimen="1")
    write_report(lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=NOW)
    review = f"/review/{public_id}"
    page = (lab.reports / "2026-11-24.html").read_text("utf-8")
    assert f'href="{SETTINGS.review_url}{review}"' in page  # the file leads to the agent's address

    with served(web) as address:
        assert not address.startswith(SETTINGS.review_url)
        tab.goto(f"{address}/reports/2026-11-24.html")
        links = tab.locator("a").evaluate_all("links => links.map(link => link.href)")
        assert {f"{address}/review", f"{address}/orders", f"{address}{review}"} <= set(links)
        assert not [link for link in links if link.startswith(SETTINGS.review_url)]

        tab.goto(f"{address}{review}")
        assert tab.locator("h1").count() == 1


@pytest.mark.slow
def test_every_key_does_what_the_help_says(lab, web, tab):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(5)]
    with served(web) as address:
        tab.goto(f"{address}/review/{ids[0]}")
        tab.fill("#by", "Ann")
        tab.keyboard.press("9")  # typed into the name: no decision
        assert lab.store.results.find(ids[0]).label is None
        say_who(tab, "Ann")

        tab.keyboard.press("Enter")
        until_ready(tab, ids[1])
        assert decided(lab, ids[0]).code == "G8"

        tab.keyboard.press("3")
        tab.keyboard.press("Escape")
        tab.keyboard.press("Numpad1")
        tab.keyboard.press("7")
        until_ready(tab, ids[2])
        assert decided(lab, ids[1]).code == "B7"

        tab.keyboard.press("s")
        tab.keyboard.press("2")
        until_ready(tab, ids[3])
        assert decided(lab, ids[2]).strange_kind == "pearlite"

        tab.keyboard.press("c")
        tab.keyboard.press("n")
        tab.keyboard.press("u")
        tab.keyboard.press("1")
        until_ready(tab, ids[4])
        label = decided(lab, ids[3])
        assert (label.why, label.by) == ("out_of_focus", "Ann")
        assert label.viewing_s >= 0
        assert label.unsure
        assert not decided(lab, ids[2]).unsure

        tab.keyboard.press("z")
        until_ready(tab, ids[3])
        assert lab.store.results.find(ids[3]).label is None
        tab.keyboard.press("j")
        until_ready(tab, ids[4])
        tab.keyboard.press("k")
        until_ready(tab, ids[3])

        tab.keyboard.press("h")
        assert tab.locator(".over-subtype").is_visible()
        tab.keyboard.press("h")
        assert tab.locator(".over-size").is_visible()
        tab.keyboard.press("w")
        assert tab.locator(".canvas .field").is_visible()
        tab.keyboard.press("?")
        assert tab.locator("dialog").is_visible()
        tab.keyboard.press("Escape")
        tab.keyboard.press("t")
        until_ready(tab, ids[4])
        assert decided(lab, ids[3]).kind == "cannot_tell"


@pytest.mark.slow
def test_a_correction_by_keyboard_is_asked_for_its_reason_first(lab, web, tab):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    lab.store.labels.decide(first, Decision(kind="code", by="Bea", code="G7"), at=NOW)
    with served(web) as address:
        tab.goto(f"{address}/review/{first}")
        say_who(tab, "Ann")

        tab.keyboard.press("t")
        assert tab.locator("[data-say]").inner_text().startswith("It is decided already")
        tab.keyboard.press("2")
        tab.keyboard.press("t")
        until_ready(tab, second)

    label = lab.store.results.find(first).label
    assert (label.kind, label.comment) == ("cannot_tell", "looked again, more closely")


STOPWATCH = """
window.took_ms = [];
performance.setResourceTimingBufferSize(10000);
let pressed_ms = null;
let shown = null;
document.addEventListener("keydown", event => { pressed_ms = event.timeStamp; }, true);
new MutationObserver(() => {
  const image = document.querySelector(".crop img");
  if (!image || image === shown) { return; }
  shown = image;
  const began_ms = pressed_ms;
  pressed_ms = null;
  if (began_ms === null) { return; }
  image.decode().then(() => requestAnimationFrame(() => setTimeout(() => {
    window.took_ms.push(performance.now() - began_ms);
  })));
}).observe(document, { childList: true, subtree: true });
"""
"""In the page: from each key to the next crop decoded and painted, in ms."""
LOOKED_AHEAD = """document.querySelector("[data-review]").dataset.prefetch.split(" ")
  .every(src => performance.getEntriesByName(new URL(src, location)).length)"""
FETCHED_MS = """since_ms => performance.getEntriesByType("resource")
  .filter(one => one.initiatorType === "fetch" && one.startTime >= since_ms)
  .map(one => one.duration)"""

PICTURES_MS = """since_ms => performance.getEntriesByName("decided-to-picture")
  .filter(one => one.startTime >= since_ms).map(one => one.duration)"""
SHOWN = """count => new Promise(done => {
  const look = () => took_ms.length > count ? done() : setTimeout(look, 20);
  look();
})"""
"""In the page too, since asking again and again from outside would slow down what is measured."""


def step(tab, key, *, to):
    """Press a key once the next picture has been fetched ahead, and see the next micrograph."""
    tab.wait_for_selector("[data-review][data-ready]")
    until(tab, LOOKED_AHEAD)
    count = tab.evaluate("took_ms.length")
    tab.keyboard.press(key)
    tab.evaluate(SHOWN, count)
    tab.wait_for_url(f"**/{to}")


def measured(tab, act):
    """Say how long each step took, and what of it was waiting for the server; in ms."""
    since_ms = tab.evaluate("took_ms.length = 0, performance.now()")
    act()
    whole, fetched = tab.evaluate("took_ms"), tab.evaluate(FETCHED_MS, since_ms)
    print(  # noqa: T201 - the figure
        f"from key to next image shown: median {statistics.median(whole):.0f} ms, of which the "
        f"server's answer {statistics.median(fetched):.0f} ms, n = {len(whole)}; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    pictures = tab.evaluate(PICTURES_MS, since_ms)
    print(  # noqa: T201 - the figure
        f"its picture, drawn ahead: median {statistics.median(pictures):.0f} ms, "
        f"n = {len(pictures)}"
    )
    assert len(pictures) == len(whole)
    return statistics.median(whole)


@pytest.mark.slow
def test_thirty_images_are_reviewed_by_keyboard_alone(lab, web, tab):
    rng = np.random.default_rng(1)
    ids = [
        lab.take(
            "G8",
            reasons=("uncertain",),
            at=minutes(n),
            pixels=rng.integers(60, 200, (600, 800, 3), dtype=np.uint8),
        )
        for n in range(30)
    ]
    tab.add_init_script(STOPWATCH)
    with served(web) as address:
        tab.goto(f"{address}/review/name")
        tab.fill("#by", "Ann")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("[data-start]")
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/{ids[0]}")
        tab.wait_for_load_state("load")
        looked = measured(tab, lambda: [step(tab, "j", to=following) for following in ids[1:]])
        tab.goto(f"{address}/review/{ids[0]}")
        decided_ = measured(
            tab, lambda: [step(tab, "Enter", to=following) for following in ids[1:]]
        )
        tab.wait_for_selector("[data-review][data-ready]")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("text=Every flagged micrograph has been decided")

    assert [lab.store.results.find(one).label.code for one in ids] == ["G8"] * 30
    assert max(looked, decided_) <= 2000  # against a hang; the medians themselves are printed


@pytest.mark.slow
def test_what_somebody_else_decided_meanwhile_is_shown_in_place_and_not_overwritten(lab, web, tab):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(3)]
    page = tab.context.browser.new_page()  # its console says 409, which is what is wanted here
    with served(web) as address:
        page.goto(f"{address}/review/{ids[0]}")
        say_who(page, "Ann")
        lab.store.labels.decide(ids[0], Decision(kind="code", by="Bea", code="G7"), at=NOW)
        lab.store.labels.decide(ids[1], Decision(kind="code", by="Bea", code="G7"), at=NOW)

        page.keyboard.press("Enter")
        page.wait_for_selector("text=decided this micrograph first")
        assert lab.store.results.find(ids[0]).label.by == "Bea"
        page.fill("#all-the-same", "looked again")
        page.click("text=Say G8 all the same")
        page.wait_for_url(f"**/{ids[2]}")  # the second was fetched ahead, and is decided by now

    assert [lab.store.results.find(one).label.by for one in ids[:2]] == ["Ann", "Bea"]


@pytest.mark.slow
def test_the_browsers_way_back_leads_to_the_micrograph_before(lab, web, tab):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(3)]
    with served(web) as address:
        tab.goto(f"{address}/review/{ids[0]}")
        for following in ids[1:]:
            tab.keyboard.press("j")
            tab.wait_for_url(f"**/{following}")

        tab.go_back()
        until(tab, f"document.querySelector('.crop img').src.includes('{ids[1]}')")
        tab.go_forward()
        until(tab, f"document.querySelector('.crop img').src.includes('{ids[2]}')")
        tab.locator("[data-help]").click()
        assert tab.locator("dialog").is_visible()


@pytest.mark.slow
def test_a_decision_that_reaches_no_server_is_kept_and_sent_when_it_is_back(lab, web, tab):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    page = tab.context.browser.new_page()  # its console says what cannot be reached
    with served(web) as address:
        page.goto(f"{address}/review/{first}")
        say_who(page, "Ann")
        page.context.set_offline(offline=True)

        page.keyboard.press("Enter")
        page.get_by_text("Not saved; trying again").wait_for()
        assert lab.store.results.find(first).label is None
        page.context.set_offline(offline=False)
        page.wait_for_url(f"**/{second}")

    assert lab.store.results.find(first).label.code == "G8"


@dataclass
class Reviewer:
    """Somebody who decides whatever the page leads them to, until it leads them nowhere."""

    browser: httpx2.Client
    code: str
    written: list[str] = field(default_factory=list)
    refused: int = 0
    misled: int = 0

    def begin(self) -> str:
        """Say which micrograph the queue begins with, "" for none."""
        start = re.search(r'class="button" href="/review/([0-9a-f]+)"', self.get("/review"))
        return start[1] if start else ""

    def get(self, path: str) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == 200
        return answer.text

    def review(self) -> None:
        """Decide until nothing is left; what is decided already by somebody else is left so."""
        led, public_id = False, self.begin()
        while public_id:
            page = self.get(f"/review/{public_id}")
            if 'name="label_id" value=""' not in page:
                self.misled += led
                led, public_id = False, self.begin()
                continue
            result = re.search(r'name="result_id" value="(\d+)"', page)[1]
            form = {"decision": f"code:{self.code}", "result_id": result, "label_id": ""}
            answer = self.browser.post(f"/review/{public_id}/decide", data=form)
            if answer.status_code == HTTPStatus.CONFLICT:
                self.refused += 1
                led, public_id = False, self.begin()
                continue
            assert answer.status_code == HTTPStatus.SEE_OTHER
            self.written.append(public_id)
            led, public_id = True, answer.headers["location"].removeprefix("/review").strip("/")


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_two_reviewers_share_a_queue_and_none_is_decided_twice_or_skipped(lab, web, count):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(count)]
    two = {}
    with served(web) as address, ExitStack() as open_:
        for name, code in (("Ann", "G8"), ("Bea", "G7")):
            browser = open_.enter_context(httpx2.Client(base_url=address, timeout=60))
            browser.post("/review/name", data={"by": name})
            two[name] = Reviewer(browser, code)

        work = [threading.Thread(target=one.review) for one in two.values()]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()

    views = [lab.store.results.find(one) for one in ids]
    assert [len(view.labels) for view in views] == [1] * count
    for name, one in two.items():
        assert {view.id for view in views if view.label.by == name} == set(one.written)
        assert one.misled == 0  # nobody is led to what is decided by then
    print({name: (len(one.written), one.refused) for name, one in two.items()})  # noqa: T201 - the figure


@pytest.mark.slow
def test_a_report_is_sorted_searched_and_followed_offline_without_a_complaint(
    lab, tab, tmp_path, monkeypatch
):
    monkeypatch.setattr(night_page, "CARDS_PER_PAGE", 2)
    for name in ("odd.tif", "unsure.tif", "\u202efit.exe</script>.tif"):
        lab.take(reasons=("uncertain",), name=name)
    for name in ("b.tif", "a.tif", "c.tif"):
        lab.set_aside(name, "truncated", "It ends at row 3.")
    written = write_report(
        lab.store, lab.archive, lab.reports, minutes(0).date(), SETTINGS, now=minutes(1200)
    )
    asked = []
    tab.context.set_offline(offline=True)
    tab.on("request", lambda request: asked.append(request.url))

    tab.goto(written.path.as_uri())
    tab.fill("#find", "unsure.tif")
    assert tab.locator("article:visible").count() == 1
    assert tab.locator("[data-found]").inner_text().startswith("1 of")
    tab.fill("#find", "")
    files = tab.locator("section[aria-labelledby=unusable]")
    for first in ("a.tif", "c.tif"):
        files.get_by_role("button", name="File").click()
        assert files.locator("tbody tr").first.inner_text().split()[0].endswith(first)
    assert tab.screenshot(path=tmp_path / "night.png", full_page=True)
    tab.get_by_role("link", name="page 2").click()
    tab.wait_for_url("**/page-2.html")
    assert tab.locator("article").count() == 1
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.slow
def test_an_order_of_four_specimens_prints_on_one_page(lab, web, tab):
    for specimen in "1234":
        for number in range(5):
            lab.take("G8", order="4711", specimen=specimen, field=str(number), heat="H1")
    with served(web) as address:
        tab.goto(f"{address}/order/4711")
        tab.wait_for_load_state("networkidle")
        printed = tab.pdf(prefer_css_page_size=True)

    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("days", "said"), [(0, ""), (1, "1 day old"), (3, "3 days old")])
def test_the_list_of_nights_says_by_itself_how_old_the_last_report_is(lab, tab, days, said):
    written_at = datetime.now(UTC) - timedelta(days=days, hours=1)
    write_index(lab.store, lab.reports, SETTINGS, now=written_at)

    tab.goto((lab.reports / "index.html").as_uri())

    hint = tab.locator("[data-newest]")
    assert hint.is_visible() == bool(said)
    assert said in hint.inner_text()


@pytest.mark.slow
def test_the_basics_work_without_a_script(lab, web):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    public_id = lab.take("G8", reasons=("uncertain",))
    with served(web) as address, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{address}/review/{public_id}")
        page.locator("label[for=over-size]").click()
        assert page.locator(".over-size").is_visible()
        page.fill("#by", "Ann")
        page.locator("button[value='code:M8']").click()
        page.wait_for_selector("text=Every flagged micrograph has been decided")
        browser.close()

    assert lab.store.results.find(public_id).label.code == "M8"
