"""A page does not wait for a slow object storage; what it needs is there when it is loaded again.

Against a real S3 server on this PC, behind a server that holds every request until the test lets
it go.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, Lab, web_of
from servers.object_storage import connect, make_bucket, make_older, open_pc, serve, serve_through
from servers.object_storage import write_credentials as write_keys

from agent.store import Decision
from agent.web.app import create_app

SHORT_S, LONG_S, NEVER_S = 0.2, 60.0, 600.0


@pytest.fixture(scope="module")
def endpoint():
    with serve() as address:
        yield address


@pytest.fixture
def slow(endpoint, tmp_path, request):
    """Make a lab whose pictures are only in a storage that answers when `go` is set."""
    go, asked = threading.Event(), []

    def hold(method: str, path: str) -> None:
        asked.append((method, path))
        go.wait(NEVER_S)

    bucket = hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    with serve_through(endpoint, hold) as behind:
        make_bucket(endpoint, bucket)
        lab = Lab(tmp_path / "data")
        public_id = lab.take("G8", reasons=("uncertain",))
        keys = write_keys(tmp_path)
        first = open_pc(lab.archive.folder, connect(endpoint, f"s3://{bucket}/3", keys))
        make_older(first.folder)
        first.mirror.run_round()
        for name in ("crops", "objects.sqlite"):  # as on a new PC
            path = lab.archive.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        lab.archive = open_pc(lab.archive.folder, connect(behind, f"s3://{bucket}/3", keys))
        yield SimpleNamespace(lab=lab, id=public_id, go=go, asked=asked)
        go.set()
        lab.store.close()


def browse(slow, *, wait_s: float) -> TestClient:
    """Return a browser of the lab's pages."""
    app = create_app(web_of(slow.lab), storage_wait_s=wait_s)
    return TestClient(app, base_url=HOME, headers={"accept": "text/html,image/*"})


@pytest.mark.parametrize("name", ["crop.jpg", "field.jpg", "whole.jpg"])
def test_a_picture_is_a_placeholder_until_it_is_fetched(slow, name) -> None:
    with browse(slow, wait_s=SHORT_S) as browser:
        first = browser.get(f"/pictures/{slow.id}/{name}")  # the storage answers nothing yet
    slow.go.set()
    with browse(slow, wait_s=LONG_S) as browser:
        then = browser.get(f"/pictures/{slow.id}/{name}")

    assert first.status_code == 503
    assert first.headers["content-type"] == "image/svg+xml"
    assert first.headers["cache-control"] == "no-store"
    assert "Being fetched from the object storage." in first.text
    assert then.status_code == 200
    assert then.headers["content-type"] == "image/jpeg"
    gets = [path for method, path in slow.asked if method == "GET"]
    assert len(gets) == len(set(gets))  # the second page joined what the first had begun


def test_what_was_begun_is_there_for_a_page_that_waits_no_more(slow) -> None:
    with browse(slow, wait_s=SHORT_S) as browser:
        assert browser.get(f"/pictures/{slow.id}/thumb.jpg").status_code == 503
    slow.go.set()
    view = slow.lab.store.results.find(slow.id)
    with browse(slow, wait_s=LONG_S) as browser:
        browser.get(f"/pictures/{slow.id}/thumb.jpg")

    assert slow.lab.archive.thumbnail_path(view.sha256, view.page).is_file()
    with browse(slow, wait_s=0.0) as browser:
        assert browser.get(f"/pictures/{slow.id}/thumb.jpg").status_code == 200


def test_all_reads_of_a_page_wait_together_no_longer_than_one(slow) -> None:
    """The review page reads maps, and looks up crops and thumbnails of references."""
    with browse(slow, wait_s=SHORT_S) as browser:
        page = browser.get(f"/review/{slow.id}")
        companions = browser.get(f"/review/{slow.id}/companions")
        full = browser.get(f"/pictures/{slow.id}/full.jpg")

    assert page.status_code == 200
    assert companions.status_code == 200
    assert (full.status_code, full.headers["refresh"]) == (503, "5")
    assert "Being fetched from the object storage" in full.text
    assert full.headers["content-type"].startswith("text/html")  # the viewer keeps the smaller one


def test_a_page_that_cannot_be_built_yet_says_so_and_loads_again_by_itself(slow) -> None:
    slow.lab.store.labels.decide(slow.id, Decision("code", "Ada", code="G8"), at=DAY)

    with browse(slow, wait_s=SHORT_S) as browser:
        first = browser.get("/models/training")
    slow.go.set()
    with browse(slow, wait_s=LONG_S) as browser:
        then = browser.get("/models/training")

    assert (first.status_code, first.headers["refresh"]) == (503, "5")
    assert "the page loads again by itself" in first.text
    assert then.status_code == 200


def test_an_export_waits_until_it_is_complete(slow) -> None:
    answers = []
    with browse(slow, wait_s=SHORT_S) as browser:
        sent = {"as": "zip", "micrograph": slow.id}
        waiting = threading.Thread(
            target=lambda: answers.append(
                browser.post("/archive/export", data=sent, headers={"origin": HOME})
            )
        )
        waiting.start()
        while not slow.asked:
            waiting.join(0.01)
        slow.go.set()
        waiting.join()

    assert answers[0].status_code == 200
    assert answers[0].content.startswith(b"PK")
