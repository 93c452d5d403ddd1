"""A round robin's report says what a computation of its own says, and names nobody."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, SETTINGS, minutes, web_of
from labs.rounds import AT, NAME, Round, independent, lab_in, play, seat_of, written

from agent.errors import UsageError
from agent.nightly import write_report
from agent.nightly.facts.collect import gather
from agent.roundrobin import report as reporting
from agent.roundrobin.campaign import close
from agent.store import ROUND_ROBIN, Decision, Opinion
from agent.web import create_app

WANTED = reporting.Wanted("Plant 1", "24 Nov 2026")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    round_ = Round(lab_in(tmp_path_factory.mktemp("round")), raters=5, images=8)
    play(round_)
    yield round_
    round_.lab.store.close()


def test_the_report_is_what_an_independent_computation_says(played, tmp_path):
    found = written(played, tmp_path / "r.html")

    expected = independent(played, played.everything())
    assert found["accuracy"]["subtype"]["value"] == pytest.approx(expected["subtype"])
    assert found["accuracy"]["code"]["value"] == pytest.approx(expected["code"])
    assert sum(one["untold"] for one in found["per_image"]) == expected["untold"]
    right = {name: one["code"]["right"] for name, one in found["per_rater"].items()}
    assert right == expected["right per rater"]


def test_kappa_of_what_all_told_is_what_statsmodels_says(played, tmp_path):
    from agent.roundrobin.campaign import build_panel  # noqa: PLC0415
    from agent.roundrobin.panel import Level  # noqa: PLC0415
    from agent.roundrobin.rater_statistics import agreement  # noqa: PLC0415

    store = played.lab.store.campaigns
    panel = build_panel(store.find(NAME), store.ratings(NAME))
    expected = independent(played, played.everything())
    whole = type(panel)(panel.taxonomy, panel.raters, tuple(expected["whole"]), panel.answers)

    assert agreement(whole, Level.CODE).kappa.value == pytest.approx(expected["kappa of whole"])


def test_page_csv_and_json_lie_side_by_side(played, tmp_path):
    found = written(played, tmp_path / "r.html")

    assert json.loads((tmp_path / "r.json").read_text("utf-8")) == json.loads(json.dumps(found))
    text = (tmp_path / "r.csv").read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 40
    kept = {(row["rater"], int(row["image"])): row["code"] for row in rows}
    everything = played.everything()
    assert kept == {key: (a + b if a else "") for key, (a, b, _, _) in everything.items()}
    fine = next(row for row in rows if row["code"].endswith("9-10"))
    assert (fine["size_min"], fine["size_max"]) == ("9", "10")


class Asked(HTMLParser):
    """What a page would ask the network for."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        src = told.get("src") or (told.get("href") if tag == "link" else None)
        if src and not src.startswith("data:"):
            self.found.append(src)


def test_the_page_asks_for_nothing_and_names_nobody(played, tmp_path):
    written(played, tmp_path / "r.html")

    page = (tmp_path / "r.html").read_text("utf-8")
    assert Asked(page).found == []
    assert "Person 1" not in page
    assert "R01" in page
    for title in (
        "Accuracy",
        "Agreement among raters",
        "Rater by rater",
        "Micrograph by micrograph",
        "The model on the same micrographs",
        "Pairs of raters, structure code",
    ):
        assert title in page
    assert "alludes to ISO 643; no grain-size rating" in page


def test_names_are_on_the_page_only_where_asked_for(played, tmp_path):
    written(played, tmp_path / "r.html", names=True)

    assert "Person 1" in (tmp_path / "r.html").read_text("utf-8")
    assert "Person 1" not in (tmp_path / "r.json").read_text("utf-8")


def test_any_subset_of_raters_can_be_asked_for(played, tmp_path):
    before = len(played.lab.store.records.all(ROUND_ROBIN))

    found = written(played, tmp_path / "r.html", raters=("R01", "R03"))

    assert found["agreement"]["code"]["raters"] == 2
    assert "Only R01, R03 of 5 raters" in (tmp_path / "r.html").read_text("utf-8")
    assert len(played.lab.store.records.all(ROUND_ROBIN)) == before
    with pytest.raises(UsageError, match=r"no rater 'R99'; there are R01"):
        written(played, tmp_path / "r.html", raters=("R99",))


def test_what_the_bundle_learned_from_is_not_held_to_its_credit(played, tmp_path):
    first = played.lab.store.results.find(played.ids[0])

    found = reporting.write(
        played.lab.store, played.lab.archive, NAME, tmp_path / "r.html", WANTED,
        learned=lambda bundles: dict.fromkeys(bundles, frozenset({first.sha256})),
        by="Lea", at=AT,
    )  # fmt: skip

    assert found["images_learned_from"] == [1]
    assert found["model"]["code"]["n"] == 7
    assert "Micrographs 1 are in its training set;" in (tmp_path / "r.html").read_text("utf-8")


def test_an_open_campaign_is_not_reported(tmp_path):
    round_ = Round(lab_in(tmp_path), raters=1, images=1)

    with pytest.raises(UsageError, match="not closed yet"):
        written(round_, tmp_path / "r.html")
    round_.lab.store.close()

    assert not (tmp_path / "r.html").exists()


def test_a_campaign_without_reference_or_ratings_is_reported_too(tmp_path):
    round_ = Round(lab_in(tmp_path), raters=2, images=2)
    round_.lab.store.campaigns.close(NAME, by="Lea", at=AT)

    found = written(round_, tmp_path / "r.html")
    round_.lab.store.close()

    assert found["accuracy"]["code"] == {
        "right": 0,
        "n": 0,
        "value": None,
        "low": None,
        "high": None,
    }


def test_a_report_is_recorded_and_stands_in_the_trail(played, tmp_path):
    written(played, tmp_path / "r.html")

    record = played.lab.store.records.latest(ROUND_ROBIN, NAME)
    assert record.by == "Lea"
    assert record.facts["agreement"]["code"]["raters"] == 5
    assert next(iter(played.lab.store.audit_log.iter_acts("round_robin.recorded"))).subject == NAME


# --- what it feeds ------------------------------------------------------------------------------


def test_the_nightly_report_says_how_far_raters_agree(tmp_path):
    round_ = Round(lab_in(tmp_path), raters=3, images=6)
    play(round_)
    before = gather(round_.lab.store, DAY.date(), SETTINGS, now=minutes(24 * 60))
    found = written(round_, tmp_path / "r.html")

    after = gather(round_.lab.store, DAY.date(), SETTINGS, now=minutes(24 * 60))
    page = write_report(
        round_.lab.store, round_.lab.archive, round_.lab.reports, DAY.date(), SETTINGS,
        now=minutes(24 * 60),
    )  # fmt: skip
    round_.lab.store.close()

    kappa = found["agreement"]["code"]["kappa"]["value"]
    assert before.agreement.raters is None
    assert after.agreement.raters.code[0] == kappa
    assert f"kappa {kappa:.2f} (95 % interval" in page.path.read_text("utf-8")
    assert "3 raters, 6 micrographs, round robin spring" in page.path.read_text("utf-8")


def test_what_people_disagree_on_waits_in_the_review_also_where_a_label_holds(tmp_path):
    round_ = Round(lab_in(tmp_path), raters=2, images=2)
    store = round_.lab.store
    for public_id in round_.ids:
        store.labels.decide(public_id, Decision("code", "Ann", code="G7"), at=AT)
    for rater, size in (("R01", "7"), ("R02", "8")):
        seat = seat_of(round_, rater)
        store.campaigns.rate(seat, 1, Opinion("G", size, "mean"), at=AT)
        store.campaigns.rate(seat, 2, Opinion("G", "8", "mean"), at=AT)

    disputed = close(store, NAME, by="Lea", at=AT)

    assert disputed == [round_.ids[0]]
    (waiting,) = store.review_queue.list_micrographs(reason="disagreement")
    assert (waiting.id, waiting.result.reasons) == (disputed[0], ("doubted_label", "disagreement"))
    assert (waiting.label.code, waiting.doubt) == ("G7", "raters")
    assert {
        labelled_micrograph.id: labelled_micrograph.is_doubted
        for labelled_micrograph in store.labelled_micrographs.list_all()
    } == dict(zip(round_.ids, (True, False), strict=True))
    store.labels.decide(waiting.id, Decision("code", "Bob", code="G8"), at=AT)
    assert store.review_queue.list_micrographs() == []
    assert next(iter(store.audit_log.iter_acts("campaign.disputed"))).facts == {
        "micrographs": disputed
    }
    store.close()


def test_a_majority_against_the_reference_is_disputed(tmp_path):
    round_ = Round(lab_in(tmp_path), raters=2, images=1)
    for rater in round_.tokens:
        round_.lab.store.campaigns.rate(seat_of(round_, rater), 1, Opinion("M", "8", "mean"), at=AT)

    assert close(round_.lab.store, NAME, by="Lea", at=AT) == round_.ids
    round_.lab.store.close()


def test_the_page_of_a_disputed_micrograph_says_why_it_is_there(tmp_path):
    round_ = Round(lab_in(tmp_path), raters=2, images=1)
    round_.lab.store.campaigns.close(NAME, by="Lea", at=AT)
    round_.lab.store.campaigns.ask_again(NAME, round_.ids, by="Lea", at=AT)

    with TestClient(create_app(web_of(round_.lab)), base_url=HOME) as browser:
        page = browser.get(f"/review/{round_.ids[0]}").text
        assert "Raters disagree" in browser.get("/review").text
    round_.lab.store.close()

    assert "Raters disagree." in page
