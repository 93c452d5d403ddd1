"""A model card says what a bundle learned from, how good it is, what for it is not, who signed."""

import html
import json
import re

import pytest
from labs.small import twin_of
from labs.words import Words, english_in

from agent.retrain import save_card
from agent.retrain.bundle_registry import get_bundle, list_bundles
from agent.store import Store, store_url
from model import read_manifest, verify_bundle


@pytest.fixture
def lab(own_lab):
    return own_lab


@pytest.fixture
def bundle(lab):
    (bundle,) = list_bundles(lab.folder / "data")
    return bundle


def card(bundle):
    record = bundle / "record"
    return (
        (record / "card.html").read_text("utf-8"),
        json.loads((record / "card.json").read_text("utf-8")),
    )


def test_a_taught_bundle_has_its_card_and_is_what_it_was(bundle):
    page, document = card(bundle)

    manifest = verify_bundle(bundle)
    assert document["name"] == manifest.name
    assert document["files"] == manifest.files
    assert document["data"]["micrographs"]["test"] == len(manifest.split["test"])
    assert document["metrics"]["accuracy"] == manifest.metrics["accuracy"]
    assert document["environment"]["torch"]
    assert document["at_work"]
    for sha256 in manifest.files.values():
        assert sha256 in page


def test_every_share_on_the_card_has_its_interval_and_how_many_it_rests_on(bundle):
    page, document = card(bundle)

    accuracy, n = document["metrics"]["accuracy"], document["metrics"]["n"]
    row = re.search(r"<td[^>]*>structure code right</td>(.*?)</tr>", page)[1]
    said = re.findall(r">([^<]+)</td>", row)
    assert said == [
        f"{100 * accuracy['value']:.1f}\u00a0%",
        f"{100 * accuracy['low']:.1f}\u00a0% to {100 * accuracy['high']:.1f}\u00a0%",
        str(n),
    ]


def test_calibration_stands_on_the_card_with_its_intervals(bundle):
    page, document = card(bundle)

    metrics = document["metrics"]
    for title, key in (("NLL", "nll"), ("ECE", "ece")):
        row = re.search(rf"<td[^>]*>[^<]*\({title}\)</td>(.*?)</tr>", page)[1]
        low, high = metrics[f"{key}_interval"]
        said = re.findall(r">([^<]+)</td>", row)
        assert said[:2] == [f"{metrics[key]:.2f}", f"{low:.2f} to {high:.2f}"]


def test_the_card_says_what_the_bundle_is_not_for(bundle):
    _, document = card(bundle)

    said = " ".join(document["not_for"])
    assert "no grain-size rating" in said
    assert "not trained on" in said
    assert "Fewer than 20 test images of" in said


def test_the_card_asks_the_network_for_nothing(bundle):
    page, _ = card(bundle)

    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "default-src 'none'" in html.unescape(page)


def test_who_signed_stands_on_the_card_and_who_is_at_work_no_more_too(lab, bundle):
    twin = twin_of(bundle)
    by = ("--by", "E. Meier <lead>", "--reason")

    assert lab.agent("models", "promote", twin.name, *by, "better on G7") == 0

    page, document = card(twin)
    assert "In use since" in page
    assert "E. Meier &lt;lead&gt;" in page
    assert document["signatures"][0]["reason"] == "better on G7"
    assert document["signatures"][0]["shown"]["orders"] == 0
    assert "Retired" in card(bundle)[0]

    assert lab.agent("models", "rollback", *by, "worse") == 0
    assert not card(twin)[1]["at_work"]
    assert card(bundle)[1]["at_work"]


def test_a_candidate_says_that_nobody_signed(lab, bundle):
    twin = twin_of(bundle)
    with Store.open(store_url(lab.folder / "data"), site="Small lab", agent="test") as store:
        save_card(twin, store.promotions.list_all(), site="Small lab", at="now")

    page, document = card(twin)

    assert document["signatures"] == []
    assert "not promoted" in page


def test_a_german_card_says_nothing_in_english_and_its_json_nothing_in_german(lab, bundle):
    twin = twin_of(bundle)
    with Store.open(store_url(lab.folder / "data"), site="Labor", agent="test") as store:
        save_card(twin, store.promotions.list_all(), site="Labor", at="11.12.", language="de")

    page, document = card(twin)

    words = Words(page)
    assert words.lang == "de"
    kept = {*document["notes"], *document["files"]}
    assert [one for one in english_in(page) if one not in kept] == []
    assert any("specification limits" in one for one in document["not_for"])


def test_the_card_says_in_the_language_of_the_page_that_pixels_were_kept(lab, bundle):
    twin = twin_of(bundle, framing="native")
    save_card(twin, (), site="Labor", at="11.12.", language="de")
    german, _ = card(twin)
    save_card(twin, (), site="Lab", at="11.12.")
    english, _ = card(twin)

    assert "eigene Pixel, da die Aufnahmen viele Maßstäbe haben" in german
    assert "own pixels, because the images are of many scales" in english
    assert "own pixels" not in card(bundle)[0]


def test_the_card_goes_out_with_the_bundle(lab, bundle, tmp_path):
    assert lab.agent("models", "export", bundle.name, tmp_path / "out") == 0

    assert card(tmp_path / "out" / bundle.name) == card(bundle)
    assert read_manifest(tmp_path / "out" / bundle.name).name == bundle.name
    assert get_bundle(lab.folder / "data", bundle.name) == bundle
