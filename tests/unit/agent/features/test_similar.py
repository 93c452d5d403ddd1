"""Similar micrographs and the map are shown to who may see them, without hidden answers."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest
from fastapi.testclient import TestClient
from labs.feature_shards import keep
from labs.lab import HOME, web_of

from agent.features import SimilarIndex, compute_map, load_map, save_map
from agent.web import create_app


@pytest.fixture
def browser(lab, folder):
    web = dataclasses.replace(web_of(lab), similar=SimilarIndex(folder))
    with TestClient(create_app(web), base_url=HOME) as client:
        client.cookies.set("reviewer", "Ann")
        yield client


def names(page: str) -> list[str]:
    return re.findall(r'class="name any"><bdi>([^<]*)', page)


def test_the_most_similar_come_first_those_of_the_same_scale_before_all(lab, browser, folder):
    lab.compares_places = False
    ids = [lab.take("G8", name=f"f_{n}.tif") for n in range(5)]
    views = [lab.store.results.find(public_id) for public_id in ids]
    for view, look in zip(views, (0.0, 0.4, 0.1, 0.2, 0.05), strict=True):
        keep(folder, view, look, um_per_px=0.5 if look == 0.05 else 0.12)
    folder.compact()

    page = browser.get(f"/archive/similar/{ids[0]}").text
    answer = browser.get(f"/api/v1/micrographs/{ids[0]}/similar?limit=3").json()

    assert names(page) == ["f_0.tif", "f_2.tif", "f_3.tif", "f_1.tif", "f_4.tif"]
    assert page.index("At the same scale") < page.index("At other scales")
    assert "0.995" in page
    assert f'href="/archive/similar/{ids[2]}"' in page
    assert answer["has_features"] is True
    assert [hit["micrograph"]["id"] for hit in answer["similar"]] == [ids[2], ids[3], ids[1]]
    assert [hit["same_scale"] for hit in answer["similar"]] == [True, True, True]
    assert f"/archive/similar/{ids[0]}" in browser.get(f"/review/{ids[0]}").text


def test_a_micrograph_without_kept_features_says_how_to_make_them(lab, browser):
    public_id = lab.take("G8", name="f.tif")

    page = browser.get(f"/archive/similar/{public_id}")
    answer = browser.get(f"/api/v1/micrographs/{public_id}/similar")

    assert "agent models features --fill" in page.text
    assert answer.json() == {"has_features": False, "similar": []}
    assert browser.get("/archive/similar/ffffffffffffffff").status_code == 404
    assert browser.get("/api/v1/micrographs/ffffffffffffffff/similar").status_code == 404
    assert browser.get(f"/api/v1/micrographs/{public_id}/similar?limit=0").status_code == 422


def test_a_blind_micrograph_is_shown_without_its_answer_and_without_those_of_its_like(
    lab, browser, folder
):
    lab.compares_places = False
    blind = lab.take("G7", name="blind.tif", reasons=("control_sample",))
    other = lab.take("G8", name="other.tif")
    for public_id, look in ((blind, 0.0), (other, 0.1)):
        keep(folder, lab.store.results.find(public_id), look)
    folder.compact()

    of_blind = browser.get(f"/archive/similar/{blind}").text
    of_other = browser.get(f"/archive/similar/{other}").text
    told = browser.get(f"/api/v1/micrographs/{blind}/similar").json()["similar"]
    told_of_blind = browser.get(f"/api/v1/micrographs/{other}/similar").json()["similar"]

    assert names(of_blind) == ["blind.tif", "other.tif"]
    assert "G7" not in of_blind
    assert "G8" not in of_blind
    assert "G8" in of_other
    assert "G7" not in of_other
    assert told[0]["micrograph"]["structure_code"] is None
    assert told_of_blind[0]["micrograph"]["structure_code"] is None


def test_the_map_puts_what_looks_alike_together_and_is_the_same_each_time(lab, folder):
    lab.compares_places = False
    for n in range(12):
        view = lab.store.results.find(lab.take("G8", name=f"f_{n}.tif"))
        keep(folder, view, 0.1 * n if n < 6 else 2.0 + 0.1 * n)
    folder.compact()

    first, again = compute_map(folder), compute_map(folder)
    save_map(folder.folder, first)
    loaded = load_map(folder.folder)

    assert first is not None
    assert np.array_equal(first.xy, again.xy)
    assert np.array_equal(loaded.xy, first.xy)
    assert loaded.sha256.tolist() == first.sha256.tolist()
    assert 0.99 < loaded.explained <= 1.0
    assert loaded.rows == 12
    assert loaded.xy.min() >= 0
    assert loaded.xy.max() <= 1
    content = (folder.folder / "map.npz").read_bytes()
    at = content.rindex(b"PK\x01\x02")  # entry of the last array in the directory of the ZIP
    flips = [(8, 1), (8, 32), (10, 1)]  # encrypted, patched, another compression
    harms = [content[:200], *(_flip(content, at + n, bit) for n, bit in flips)]
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for harm in (*harms, array.getvalue()):
        (folder.folder / "map.npz").write_bytes(harm)
        assert load_map(folder.folder) is None
    save_map(folder.folder, dataclasses.replace(first, xy=first.xy * np.nan))
    assert load_map(folder.folder) is None


def _flip(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def test_the_map_has_a_table_colours_and_no_code_that_is_not_decided(lab, browser, folder):
    lab.compares_places = False
    assert "agent models features --fill" in browser.get("/archive/map").text
    ids = [lab.take("G8", name=f"f_{n}.tif", microscope="M-1") for n in range(3)]
    ids.append(lab.take("G7", name="waits.tif", reasons=("uncertain",)))
    for n, public_id in enumerate(ids):
        keep(folder, lab.store.results.find(public_id), 0.3 * n)
    folder.compact()
    save_map(folder.folder, compute_map(folder))

    page = browser.get("/archive/map").text
    points = browser.get("/api/v1/map").json()
    chosen = browser.get(f"/archive/map/selection?ids={ids[0]},{ids[3]},nonsense").text

    codes = next(colour for colour in points["colours"] if colour["name"] == "code")
    of = dict(zip(points["id"], codes["of"], strict=True))
    assert sorted(points["id"]) == sorted(ids)
    assert codes["groups"] == ["G8", ""]
    assert [of[public_id] for public_id in ids] == [0, 0, 0, 1]
    assert max(points["x"] + points["y"]) <= 4095
    assert 'href="/archive?code=G8"' in page
    assert 'href="/archive?microscope=M-1"' in page
    assert "G7" not in page
    assert names(chosen) == ["f_0.tif", "waits.tif"]
    assert "data-mark" in chosen
    assert names(browser.get("/archive/map/selection?ids=").text) == []


def test_the_map_of_another_lab_shows_none_of_its_micrographs(lab, browser, folder):
    keep(folder, lab.store.results.find(lab.take("G8", name="own.tif")), 0.0)
    stranger = dataclasses.make_dataclass("Stranger", ["sha256", "page"])("f" * 64, 0)
    keep(folder, stranger, 0.1)
    folder.compact()
    save_map(folder.folder, compute_map(folder))

    points = browser.get("/api/v1/map").json()
    similar = browser.get(f"/api/v1/micrographs/{points['id'][0]}/similar").json()

    assert len(points["id"]) == 1
    assert similar == {"has_features": True, "similar": []}
