"""Raters in real browsers rate at once, the server is killed meanwhile, and nothing is lost."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from labs.rounds import NAME, Round, comment, independent, lab_in
from servers.browser import CHROMIUM
from servers.pages import Server

playwright = pytest.importorskip("playwright.async_api", reason="no playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@dataclass
class Game:
    """Everybody rates everything; so many times the server is killed on the way.

    Args:
        round_, server: What is played, and where. kills: after so many accepted ratings each.
        accepted: What a rater saw accepted: the next page came.
    """

    round_: Round
    server: Server
    kills: list[int] = field(default_factory=list)
    accepted: set[tuple[str, int]] = field(default_factory=set)
    lost: set[tuple[str, int]] = field(default_factory=set)
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self) -> None:
        self.up.set()
        async with playwright.async_playwright() as started:
            browser = await started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            await asyncio.gather(*(self.rate(browser, rater) for rater in self.round_.tokens))
            await browser.close()

    async def rate(self, browser, rater: str) -> None:
        """Rate until all is rated; whatever fails, come back by the link when the server is up."""
        page = await browser.new_page(viewport={"width": 1180, "height": 820})
        while True:
            await self.up.wait()
            with suppress(playwright.Error):
                await page.goto(f"{self.server.url}/rate/{self.round_.tokens[rater]}")
                while await page.locator("[data-form]").count():
                    await self.one(page, rater)
                if "All rated" in await page.inner_text("h1"):
                    break
        await page.close()

    async def one(self, page, rater: str) -> None:
        src = await page.locator(".crop img").first.get_attribute("src")
        shown = await page.request.get(self.server.url + src)
        number = self.round_.seen[hashlib.sha256(await shown.body()).hexdigest()]
        subtype, size, criterion = self.round_.opinion(rater, number)
        await page.fill("#comment", comment(rater, number))
        if subtype is None:
            button = "[data-cannot]"
        else:
            await page.click(f"input[name=subtype][value='{subtype}'] + label")
            await page.click(f"input[name='size-{subtype}'][value='{size}'] + label")
            await page.check(f"input[name=criterion][value={criterion}]")
            button = "[data-submit]"
        async with page.expect_navigation():
            await page.click(button)
        if await page.locator("main").count():
            await self.note((rater, number))

    async def note(self, one: tuple[str, int]) -> None:
        self.accepted.add(one)
        if self.kills and len(self.accepted) >= self.kills[0]:
            self.kills.pop(0)
            self.up.clear()
            self.server.kill()
            self.lost |= self.accepted - self.round_.kept().keys()
            await asyncio.to_thread(self.server.start)
            self.up.set()


@pytest.fixture
def server_in(tmp_path):
    """Starts a server on the lab of a round."""
    servers = []

    def start(round_) -> Server:
        servers.append(Server(tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.slow
def test_fourteen_raters_rate_twenty_micrographs_at_once_and_the_report_is_right(
    tmp_path, server_in
):
    round_ = Round(lab_in(tmp_path), raters=14, images=20)
    server = server_in(round_)
    game = Game(round_, server, kills=[60, 150])

    asyncio.run(game.play())

    assert (game.kills, game.lost) == ([], set())
    assert round_.kept() == round_.everything()
    for words in (("close", NAME), ("report", NAME)):
        subprocess.run(server.agent("roundrobin", *words), check=True, capture_output=True)
    folder = tmp_path / "data" / "reports" / "roundrobin"
    found = json.loads((folder / f"{NAME}.json").read_text("utf-8"))
    expected = independent(round_, round_.everything())
    assert found["ratings"] == 280
    assert found["accuracy"]["subtype"]["value"] == pytest.approx(expected["subtype"])
    assert found["accuracy"]["code"]["value"] == pytest.approx(expected["code"])
    right = {name: one["code"]["right"] for name, one in found["per_rater"].items()}
    assert right == expected["right per rater"]
    with (folder / f"{NAME}.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {(one["rater"], int(one["image"])): one["comment"] for one in csv.DictReader(file)}
    assert rows == {key: comment(*key) for key in round_.everything()}
    round_.lab.store.close()
