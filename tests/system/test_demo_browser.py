"""In the open page a demonstration promotes its candidate, and a new lab states its first order."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from labs.service import until
from labs.small import PIXELS, past, write_labelled
from servers.browser import until_ready

from agent import settings as settings_room
from agent.cli.app import open_store
from agent.cli.start.demo import await_candidate, play, train_candidate
from agent.demo.demo import AgentProcess, DemoFolders, DemoSize
from agent.demo.exporter import DemoPicture, encode

pytestmark = pytest.mark.slow

SMALL = DemoSize(
    codes=("G7", "G9-10", "M9-10"),
    specimens=11,
    exams=1,
    fields=2,
    pixels=(320, 240),
    strange_each=1,
)


def test_a_candidate_is_trained_compared_and_promoted_without_a_shell(tmp_path, tab):
    tab.set_default_timeout(600_000)
    play(tmp_path / "demo", SMALL, serve=False)
    places = DemoFolders(tmp_path / "demo")
    settings = settings_room.read(places.settings)
    page = f"http://127.0.0.1:{settings.web.port}"
    agent = AgentProcess(places.settings, tmp_path / "run.txt")
    with open_store(settings) as store:
        shipped = store.promotions.find_current()
        agent.start()
        try:
            train_candidate(settings, store, places, SMALL)  # as the demonstration does
            tab.goto(f"{page}/models")
            state = tab.locator(".models section .tag").first.inner_text()
            purpose = tab.locator("main").inner_text()
            tab.wait_for_selector("main[data-refresh] .value")  # a job, and how far it is
            await_candidate(settings, store, agent)
            until(lambda: store.jobs.list_ended("shadow"), deadline_s=900)
            tab.goto(f"{page}/models")
            tab.locator(f"h2 a:not([href$='{shipped}'])").click()
            candidate = tab.locator("h1").inner_text().split()[0]
            checks = tab.locator(".gate tbody tr").count()
            tab.fill("#by", "Ada")
            tab.fill("#reason", "trained here")
            if tab.locator(".sign [name=sure]").count():  # few pictures recommend nothing
                tab.check(".sign [name=sure]")
            tab.click(".sign button")
            tab.wait_for_selector("p[role=status]")
            message = tab.locator("p[role=status]").inner_text()

            assert state == "in use"
            assert "drawn, for the demo only" in purpose
            assert checks >= 3
            assert message.startswith(f"{candidate} is in use from the next specimen on.")
            assert store.promotions.find_current() == candidate
            assert candidate != shipped
        finally:
            agent.stop()


OWN = {"G7": "needles coarse", "G9-10": "needles fine", "M9-10": "network"}


class Hand:
    """A user at a tab: each click and key is counted, and the time between them is work."""

    def __init__(self, tab, address):
        self.tab, self.address = tab, address
        self.clicks = self.keys = 0
        self.waited_s, self.began_s = 0.0, time.monotonic()

    def click(self, selector):
        with self.tab.expect_navigation():
            self.mark(selector)

    def mark(self, selector):
        self.tab.locator(selector).first.click()
        self.clicks += 1

    def fill(self, selector, text):
        self.mark(selector)
        self.tab.fill(selector, "")
        self.tab.keyboard.type(text)
        self.keys += len(text)

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)
        self.keys += len(keys)

    def wait_for(self, path, text, *, n=1):
        """Open a page again until a text is there `n` times, as a user does; it is no work."""
        began_s = time.monotonic()
        self.tab.goto(f"{self.address}{path}")
        while self.tab.locator("main").inner_text().count(text) < n:
            assert time.monotonic() - began_s < 1800
            self.tab.wait_for_timeout(1000)
            self.tab.goto(f"{self.address}{path}")
        self.waited_s += time.monotonic() - began_s

    @property
    def work_s(self):
        return time.monotonic() - self.began_s - self.waited_s


def export(pictures: list[DemoPicture], folder) -> None:
    """Write micrographs as a microscope does, with their scale in the file."""
    for picture in pictures:
        name = f"{picture.name.rpartition('.')[0]}.tif"
        (folder / name).write_bytes(encode(picture.drawn(PIXELS, border=False), "tif"))


@contextmanager
def started(folder):
    """Run the agent of an empty folder as a new user starts it; yield the address of its page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "AGENT_WEB__PORT": str(port), "AGENT_IMAGING__WORKERS": "1"}
    agent, log = [sys.executable, "-m", "agent"], folder / "stderr.txt"
    subprocess.run([*agent, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
    command = [*agent, "--config", str(folder / "agent.toml"), "run"]
    with log.open("w") as file, subprocess.Popen(command, stderr=file, env=env) as running:
        try:
            until(lambda: "review page: " in log.read_text("utf-8"))
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait(60)


def write_own(folder) -> None:
    """Draw labelled micrographs in a folder per class, and an export folder with an older order."""
    write_labelled(past(11, first_order=1000, seed=3), folder / "own")
    (folder / "own" / "manifest.csv").unlink()
    for code, name in OWN.items():
        (folder / "own" / code).rename(folder / "own" / name)
    (folder / "export").mkdir()
    export(past(3, first_order=4650, seed=11)[:3], folder / "export")


def take_first_steps(hand: Hand) -> None:
    """Set zone, source and classes, restart, train."""
    hand.tab.goto(hand.address)
    hand.click("a[href='/setup#source']")
    hand.fill("#zone-zone", "Europe/Vienna")
    hand.click("button[value=zone]")
    hand.fill("#source-name", "LOM-07")
    hand.fill("#source-folder", "export")
    hand.fill("#source-material", "100Cr6")
    hand.click("button[value=source]")
    hand.fill("#classes-folder", "own")
    hand.click("button[value=propose]")
    hand.click("button[value=check]")
    hand.click("button[value=write]")
    hand.click("button[value=restart]")
    hand.wait_for("/setup", "In use: needles coarse, needles fine, network.")
    hand.fill("#train-folder", "own")
    hand.click("button[value=train]")
    hand.wait_for("/setup", "is in use")


def write_specification(hand: Hand, order: str) -> None:
    """Write and sign the specification of an order that is not assessed."""
    hand.click(f"a[href^='/specifications?order={order}']")
    hand.mark("input[name=allow-0]")
    hand.mark("input[name=limit-0][value=coarse]")
    hand.fill("#f-fields", "2")
    hand.tab.wait_for_selector("#preview h2:has-text('New specification 100Cr6')")
    hand.fill("#by", "Ada")
    hand.fill("#reason", "first order")
    hand.click("button[value=sign]")
    hand.click(f"[role=status] a[href='/order/{order}']")


def decide_fields(hand: Hand, order: str, n: int) -> None:
    """Decide the fields of an order one by one, each as "needles coarse"."""
    for done in range(n):
        hand.click(f"a[href^='/review/'][href*='order={order}']")
        until_ready(hand.tab, hand.tab.url.rpartition("/")[2].partition("?")[0])
        before = hand.tab.url
        hand.press("1", "1")
        hand.tab.wait_for_url(lambda url, before=before: url != before)
        hand.wait_for(f"/order/{order}", "decided by Ada", n=done + 1)  # saved while it moves on


def test_a_new_lab_gets_from_an_empty_folder_to_its_first_statement_in_pages_alone(tmp_path, tab):
    write_own(tmp_path)
    tab.set_default_timeout(300_000)
    with started(tmp_path) as address:
        hand = Hand(tab, address)
        take_first_steps(hand)
        export(past(2, first_order=4711, seed=12)[:2], tmp_path / "export")
        hand.wait_for("/orders", "4711")
        hand.wait_for("/order/4711", "field 02")
        write_specification(hand, "4711")
        decide_fields(hand, "4711", 2)
        stated = tab.locator(".notice b").first.inner_text()
        hand.wait_for("/order/4711", "Statement ")

    print(  # noqa: T201 - the figure
        f"first statement: {hand.clicks} clicks, {hand.keys} keys, {hand.work_s:.0f} s of pages, "
        f"{hand.waited_s:.0f} s of waiting; load {os.getloadavg()[0]:.1f}"
    )
    assert stated == "conforms"
    assert hand.clicks <= 30
