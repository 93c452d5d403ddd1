"""Chart plates come from their folder and from nowhere else, and a missing folder is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, NEXT_DAY, web_of

from agent.archive import Archive
from agent.errors import BadSettingsError
from agent.files.pictures import encode_png
from agent.settings import Settings
from agent.web import create_app
from agent.web.app import app_of
from agent.web.review.chart_plates import Chart

PIXELS = np.full((60, 80, 3), 130, np.uint8)
CAL = "<C><XMetresPerPixel>1.2e-7</XMetresPerPixel><YMetresPerPixel>1.2e-7</YMetresPerPixel></C>"


@pytest.fixture
def folder(tmp_path):
    chart = tmp_path / "chart"
    (chart / "9-10").mkdir(parents=True)
    (chart / "8_a.png").write_bytes(encode_png(PIXELS))
    (chart / "8_a.cal.xml").write_text(CAL, encoding="utf-8")
    (chart / "9-10" / "fine.png").write_bytes(encode_png(PIXELS))
    (chart / "banded.png").write_bytes(encode_png(PIXELS))
    (chart / "7.png").write_bytes(b"not an image")
    (chart / "read me.txt").write_text("no plate", encoding="utf-8")
    return chart


@pytest.fixture
def browser(lab, folder):
    web = replace(web_of(lab), chart=Chart(folder))
    with TestClient(create_app(web), base_url=HOME) as client:
        yield client


def test_the_wall_shows_the_plates_by_size_and_names_what_it_cannot_read(browser):
    page = browser.get("/chart").text

    titles = [page.index(title) for title in ("Size 7", "Size 8", "Size 9-10", "banded")]
    assert titles == sorted(titles)
    assert "0.12 µm per pixel" in page
    assert page.count("scale unknown") == 3
    assert "it does not begin like any image format" in page
    assert "read me" not in page


def test_a_plate_is_served_by_its_key_and_nothing_else_of_the_disk_is(browser, folder, tmp_path):
    (tmp_path / "secret.png").write_bytes(encode_png(PIXELS))
    (folder / "6.png").symlink_to(tmp_path / "secret.png")
    page = browser.get("/chart").text
    keys = [part.split(".jpg")[0] for part in page.split('src="/chart/')[1:]]

    assert len(keys) == 3
    assert [browser.get(f"/chart/{key}.jpg").headers["content-type"] for key in keys] == [
        "image/jpeg"
    ] * 3
    for key in ("../secret", "..%2Fsecret", "0" * 16, "8_a", "%2e%2e%2fsecret"):
        assert browser.get(f"/chart/{key}.jpg").status_code == 404


def test_a_micrograph_is_compared_with_its_fields_and_the_chart(lab, browser):
    named = {"order": "4711", "specimen": "1"}
    first = lab.take(reasons=("uncertain",), field="1", **named)
    lab.take("M8", um_per_px=0.24, field="2", **named)

    groups = browser.get(f"/review/{first}/companions").json()["groups"]

    assert [group["title"] for group in groups] == [
        "Fields of this specimen",
        "Chart plates: Size 8",
        "Chart plates: Size 9-10",
        "Chart plates: banded",
    ]
    (field,) = groups[0]["pictures"]
    assert (field["title"], field["um_per_px"], field["width"]) == ("field 2", 0.24, 100)
    assert "M8" not in str(groups)  # a code would lead who decides blind
    assert groups[1]["pictures"][0]["um_per_px"] == pytest.approx(0.12)
    assert groups[2]["pictures"][0]["um_per_px"] is None
    assert browser.get(field["src"]).status_code == 200


def test_a_folder_that_is_missing_is_refused_and_one_that_goes_is_named(lab, folder, tmp_path):
    settings = Settings.model_validate({"review": {"chart": str(tmp_path / "none")}})
    with pytest.raises(
        BadSettingsError, match=r"\[review\] chart: the folder .*none cannot be read"
    ):
        app_of(
            settings,
            store=lab.store,
            archive=Archive(lab.folder),
            now=lambda: NEXT_DAY,
            status=dict,
        )

    web = replace(web_of(lab), chart=Chart(folder))
    with TestClient(create_app(web), base_url=HOME) as client:
        folder.rename(tmp_path / "moved")
        answer = client.get("/chart")
    assert answer.status_code == 422
    assert "[review] chart" in answer.text


def test_without_a_chart_the_page_says_how_to_get_one(lab):
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
        answer = client.get("/chart")

    assert answer.status_code == 404
    assert "sets [review] chart to a folder" in answer.text


def test_a_link_that_leads_to_itself_or_nowhere_is_no_plate(browser, folder):
    for name, goal in (("5.png", "5.png"), ("6.png", "gone.png"), ("round", "round")):
        (folder / name).symlink_to(folder / goal)

    page = browser.get("/chart")

    assert page.status_code == 200
    assert "5.png" not in page.text
    assert "8_a.png" in page.text
