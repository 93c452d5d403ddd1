"""The macro for Fiji speaks HTTP that the agent understands: its own curl lines are run here.

ImageJ itself is not started; what only it can show (saving, the overlay) is seen by whoever
installs the macro.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess

import pytest
from folders import ROOT
from labs.lab import NEXT_DAY as NOW
from labs.lab import web_of

from agent.service import Pages
from agent.settings import WebSection
from agent.store.people import auth
from agent.web import Inbox, create_app

MACRO = ROOT / "deploy" / "integrations" / "grade_in_martensight.ijm"


@pytest.fixture
def url(lab):
    taking = Inbox(lab.folder / "inbox", lab.store, now=lambda: NOW)
    pages = Pages(create_app(dataclasses.replace(web_of(lab), inbox=taking)), WebSection(port=0))
    pages.start()
    yield pages.url
    pages.stop()
    pages.join(10)


def run_line(number, **variables):
    """Run one `exec("curl", …)` of the macro, its variables set; its answer comes back."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    line = re.findall(r"exec\((.+)\);", MACRO.read_text(encoding="utf-8"))[number]
    words = eval(f"[{line}]", {"__builtins__": {}}, variables)  # noqa: S307 - our own file
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


def token_of(lab):
    token = auth.make_token()
    lab.store.accounts.add(
        "Fiji", kind="program", role="reviewer", hashed=auth.hash_token(token), by="x", at=NOW
    )
    return token


@pytest.mark.parametrize("with_accounts", [False, True])
def test_the_image_is_taken_with_its_order(lab, url, tmp_path, with_accounts):
    token = token_of(lab) if with_accounts else ""
    path = tmp_path / "field 1.tif"
    path.write_bytes(b"II*\0 the bytes of an image\r\n")

    query = "?name=field_1.tif&order=4711"
    sent = run_line(0, url=url, token=token, path=str(path), query=query)

    claim = lab.store.work_queue.claim(1, at=NOW, lease_s=60)[0]
    assert sent["state"] == "queued"
    assert claim.path.read_bytes() == path.read_bytes()
    assert claim.process_data["order"] == "4711"


def test_the_answer_has_the_parts_that_the_macro_reads(lab, url):
    public_id = lab.take("G8")

    found = run_line(1, url=url, token="", id=public_id)

    assert found["structure_code"] == "G8"
    assert found["handling"] == "automatic"


def test_without_its_token_the_macro_is_told_so(lab, url, tmp_path):
    token_of(lab)
    path = tmp_path / "a.tif"
    path.write_bytes(b"x")

    sent = run_line(0, url=url, token="wrong", path=str(path), query="?name=a.tif")  # noqa: S106 - it is wrong

    assert "agent users add --program" in sent["detail"]
    assert "id" not in sent


def test_json_stands_as_the_macro_reads_it(lab, url):
    """The macro looks for "key":"value" without a space, as the agent writes it."""
    public_id = lab.take("G8")
    text = subprocess.run(
        ["curl", "-sS", f"{url}/api/v1/micrographs/{public_id}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout

    assert '"structure_code":"G8"' in text
