"""In the open page of a demonstration a candidate is trained, compared and promoted."""

from __future__ import annotations

import pytest
from labs.service import until

from agent import settings as settings_room
from agent.cli.app import open_store
from agent.cli.start.demo import await_candidate, play, train_candidate
from agent.demo.demo import AgentProcess, DemoFolders, DemoSize

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
