"""A lab is set up in the page: each step has a form, and `agent.toml` keeps its comments."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from html import unescape

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, NEXT_DAY, Lab, web_of
from labs.service import until
from labs.small import past, write_labelled
from servers.browser import grave
from servers.pages import served

from agent.cli.reference import render_toml
from agent.settings import read
from agent.store import Decision, Store
from agent.web.app import app_of

PASSWORD = "correct horse battery"  # noqa: S105 - of a test


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "data")
    (tmp_path / "agent.toml").write_text(render_toml(), encoding="utf-8")
    yield lab
    lab.store.close()


@pytest.fixture
def file(lab):
    return lab.folder.parent / "agent.toml"


@pytest.fixture
def pages(lab, file):
    app = app_of(
        read(file),
        store=lab.store,
        archive=lab.archive,
        now=lambda: NEXT_DAY,
        status=lambda: {"running": True},
    )
    return TestClient(app, base_url=HOME, headers={"origin": HOME})


def post(pages, act, **form):
    return pages.post("/setup", data={"act": act, **form})


def test_a_new_lab_has_seven_steps_to_do_and_nothing_to_restart(pages):
    page = pages.get("/setup").text

    assert page.count("to do</span>") == 7
    assert 'id="restart"' not in page
    assert 'href="/setup#source"' in pages.get("/").text


def test_a_file_that_cannot_be_read_is_refused_while_the_agent_still_runs(lab, file):
    restarts = []
    app = app_of(
        read(file),
        store=lab.store,
        archive=lab.archive,
        now=lambda: NEXT_DAY,
        status=lambda: {"running": True},
        restart=lambda: restarts.append(1),
    )
    pages = TestClient(app, base_url=HOME, headers={"origin": HOME})
    text = file.read_text("utf-8")
    file.write_text(text + "\n[sites]\n", encoding="utf-8")

    refused = post(pages, "restart")
    file.write_text(text, encoding="utf-8")
    post(pages, "zone", zone="Europe/Vienna")
    outdated = pages.get("/setup").text
    asked = post(pages, "restart")

    assert (refused.status_code, "sites" in refused.text) == (422, True)
    assert 'value="restart"' in outdated
    assert "restarts. This page continues by itself." in asked.text
    assert restarts == [1]


def test_where_no_agent_runs_the_page_names_the_commands_and_has_no_button(pages):
    post(pages, "zone", zone="Europe/Vienna")

    page = pages.get("/setup").text

    assert "agent service start" in page
    assert 'value="restart"' not in page
    assert post(pages, "restart").status_code == 404


def test_a_source_is_written_with_the_pattern_of_its_files_and_comments_stay(pages, file, tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    for field in ("01", "02", "03"):
        (export / f"4711_01_{field}_500x.tif").write_bytes(b"x")

    page = post(pages, "source", name="LOM-07", folder="export").text

    (source,) = tomllib.loads(file.read_text("utf-8"))["sources"]
    assert (source["name"], source["folder"]) == ("LOM-07", "export")
    assert read(file).sources[0].folder == export
    assert "reads as" in page
    assert 'id="restart"' in page
    comments = [line for line in render_toml().splitlines() if line.startswith("#")]
    assert set(comments) <= set(file.read_text("utf-8").splitlines())


def test_a_source_whose_folder_was_empty_gets_its_pattern_once_a_micrograph_is_there(
    pages, file, tmp_path
):
    (tmp_path / "export").mkdir()
    empty = post(pages, "source", name="LOM-07", folder="export").text
    for field in ("01", "02", "03"):
        (tmp_path / "export" / f"4711_01_{field}_500x.tif").write_bytes(b"x")

    post(pages, "source", name="LOM-07", folder="export", material="100Cr6")

    assert "enter the source again" in empty
    assert read(file).sources[0].fixed_process_data()["material"] == "100Cr6"
    (source,) = read(file).sources
    assert "(?P<order>" in source.pattern


def test_zone_and_back_up_folder_are_written_with_who_did_it(pages, file, tmp_path):
    pages.post("/review/name", data={"by": "Ada", "then": "/setup"})
    (tmp_path / "disk").mkdir()

    post(pages, "zone", zone="Europe/Vienna")
    page = post(pages, "backup", folder="disk/backups").text

    written = read(file)
    assert written.site.time_zone == "Europe/Vienna"
    assert written.backup.folder == str(tmp_path / "disk" / "backups")
    assert written.site.change_reason == "back-up folder, Ada"
    assert page.count("done</span>") == 2


@pytest.mark.parametrize(
    ("act", "form", "reason"),
    [
        ("zone", {"zone": "Mars/Base"}, "Europe/Berlin"),
        ("zone", {"zone": "posixrules"}, "Europe/Berlin"),
        ("source", {"name": "LOM-07", "folder": "nowhere"}, "cannot be read"),
        ("source", {"name": "", "folder": ""}, "needs a name and a folder"),
        ("source", {"name": "all", "folder": "."}, "contains the data folder"),
        ("source", {"name": "all", "folder": "/"}, "contains the data folder"),
        ("backup", {"folder": ""}, "Name a folder"),
        ("backup", {"folder": "agent.toml/x"}, "no such folder"),
        ("backup", {"folder": "disk/of/backups"}, "no such folder; only the last one is made"),
        ("backup", {"folder": "data/backups"}, "or is inside it"),
        ("train", {"folder": "nowhere"}, "no such folder"),
        ("account", {"name": "Ada", "password": "a", "again": "b"}, "differ"),
        ("account", {"name": "Ada", "password": "1", "again": "1"}, "password"),
    ],
)
def test_what_is_refused_says_why_and_writes_nothing(pages, lab, act, form, reason):
    file = lab.folder.parent / "agent.toml"
    before = file.read_bytes()

    answer = post(pages, act, **form)

    assert answer.status_code == 422
    assert reason in unescape(answer.text)
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".agent*"))
    assert not lab.store.accounts.are_there()


def test_of_two_first_accounts_at_once_one_is_made(pages, lab):
    start, codes = threading.Barrier(4), []

    def ask(name):
        start.wait()
        form = {"name": name, "password": "a long pass phrase", "again": "a long pass phrase"}
        codes.append(post(pages, "account", **form).status_code)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("Ada", "Bob", "Cy", "Dee")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lab.store.accounts.every()) == 1


def test_a_file_that_the_environment_overrides_is_not_written(pages, file, monkeypatch):
    monkeypatch.setenv("AGENT_SITE__TIME_ZONE", "UTC")
    before = file.read_bytes()

    answer = post(pages, "zone", zone="Europe/Vienna")

    assert "AGENT_SITE__TIME_ZONE" in answer.text
    assert file.read_bytes() == before


def test_the_first_account_is_an_administrator_s_and_then_all_log_in(pages, lab):
    answer = post(pages, "account", name="Ada", password=PASSWORD, again=PASSWORD, role="viewer")

    (account,) = lab.store.accounts.every()
    assert account.role == "admin"
    assert answer.url.path == "/login"
    assert pages.get("/setup", follow_redirects=False).headers["location"].startswith("/login")


def test_another_account_needs_the_administrator_s_own_password(pages, lab):
    post(pages, "account", name="Ada", password=PASSWORD, again=PASSWORD)
    pages.post("/login", data={"name": "Ada", "password": PASSWORD, "then": "/setup"})
    form = {"name": "Bob", "password": PASSWORD, "again": PASSWORD, "role": "reviewer"}

    refused = post(pages, "account", **form, own="wrong")
    added = post(pages, "account", **form, own=PASSWORD)

    assert (refused.status_code, added.status_code) == (422, 200)
    assert {a.name: a.role for a in lab.store.accounts.every()} == {
        "Ada": "admin",
        "Bob": "reviewer",
    }


def test_a_reviewer_opens_no_step(pages, lab):
    post(pages, "account", name="Ada", password=PASSWORD, again=PASSWORD)
    pages.post("/login", data={"name": "Ada", "password": PASSWORD})
    form = {"name": "Bob", "password": PASSWORD, "again": PASSWORD, "role": "reviewer"}
    post(pages, "account", **form, own=PASSWORD)
    pages.post("/logout")
    pages.post("/login", data={"name": "Bob", "password": PASSWORD})

    assert pages.get("/setup").status_code == 403
    assert post(pages, "zone", zone="UTC").status_code == 403


def test_the_first_training_is_requested_with_its_folder(pages, lab, tmp_path):
    for name in ("G7/a.tif", *(f"G8/{n}.tif" for n in range(48))):
        (tmp_path / "labelled" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "labelled" / name).write_bytes(b"as listed")

    page = post(pages, "train", folder="labelled").text

    request = lab.store.jobs.take_request("retrain", at=NEXT_DAY)
    assert request.facts["folder"] == str(tmp_path / "labelled")
    assert "labelled has 49 labelled micrographs of 2 structure codes." in page


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), "no labelled micrograph"),
        (("passwd",), "no labelled micrograph"),
        (("a.tif", "b.tif"), "2 pictures in no folder of a structure code"),
        (("ferrite/a.tif",), "1 picture left out"),
        (("G7/a.tif", "G8/b.tif"), "needs at least 49 reference images"),
    ],
)
def test_a_training_folder_without_labels_is_refused_with_what_was_found(
    pages, lab, tmp_path, names, found
):
    (tmp_path / "etc").mkdir()
    for name in names:
        (tmp_path / "etc" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_bytes(b"as listed")

    answer = post(pages, "train", folder="etc")

    assert (answer.status_code, found in unescape(answer.text)) == (422, True)
    assert lab.store.jobs.take_request("retrain", at=NEXT_DAY) is None


def test_the_training_says_how_many_labels_are_enough_and_of_which_code(pages, lab):
    for code, specimens in (("G7", 1), ("G8", 3), ("G9-10", 3)):
        for number in range(specimens):
            taken = lab.take(code, order=code, specimen=str(number))
            lab.store.labels.decide(taken, Decision("code", "Ann", code=code, blind=True), at=DAY)

    page = pages.get("/models/training").text

    assert "7 labels are used." in page
    assert "A code is trained from 3 specimens on. Lacking: G7 (+2)." in page
    assert "10 micrographs a code are a good start. Label more of: G8 (+7), G9-10 (+7)." in page
    assert "Enough for a first bundle of G8, G9-10." in page
    assert "Start the training" in page


@pytest.mark.slow
def test_the_steps_are_done_by_hand_on_each_screen_and_in_german(lab, file, tab, axe, tmp_path):
    (tmp_path / "export").mkdir()
    settings = read(file)
    web = replace(web_of(lab), settings_file=file, is_outdated=lambda written: written != settings)
    with served(web) as address:
        tab.goto(f"{address}/")
        tab.click("a[href='/setup#source']")
        tab.fill("#zone-zone", "Europe/Vienna")
        with tab.expect_navigation():
            tab.click("button[value=zone]")
        tab.fill("#source-name", "LOM-07")
        tab.fill("#source-folder", "export")
        with tab.expect_navigation():
            tab.click("button[value=source]")
        done = tab.locator(".first-steps > li .tag", has_text="done").count()
        restart = tab.locator("#restart").count()
        for language in ("de", "en"):
            tab.click(".tongue button")
            tab.wait_for_selector(f"html[lang={language}]")
            for width in (1280, 820, 390):
                tab.set_viewport_size({"width": width, "height": 800})
                wide = "document.documentElement.scrollWidth"
                assert tab.evaluate(wide) <= width

        assert (done, restart) == (2, 1)
        assert grave(axe, tab) == []
    assert read(file).sources[0].folder == tmp_path / "export"


@contextmanager
def running(folder):
    """Run the agent of a folder as an operator starts it; yield the address of its page."""
    command = [sys.executable, "-m", "agent", "--config", str(folder / "agent.toml"), "run"]
    log = folder / "stderr.txt"
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as agent,
    ):
        try:
            until(lambda: "review page: " in log.read_text("utf-8") or agent.poll() is not None)
            yield log.read_text("utf-8").split("review page: ")[1].split()[0]
        finally:
            agent.terminate()
            agent.wait(60)


@pytest.mark.slow
def test_the_first_training_is_followed_from_its_button_to_a_bundle_in_use(tmp_path, tab, axe):
    write_labelled(past(11, first_order=1000, seed=3), tmp_path / "labelled")
    text = '[site]\nname = "Plant 1"\n\n[web]\nport = 0\n\n[imaging]\nworkers = 1\n'
    (tmp_path / "agent.toml").write_text(text, encoding="utf-8")
    tab.set_default_timeout(300_000)
    with running(tmp_path) as address:
        tab.goto(f"{address}/setup#train")
        tab.fill("#train-folder", "labelled")
        with tab.expect_navigation():
            tab.get_by_role("button", name="Train the first bundle").click()
        told = tab.locator("main").inner_text()
        tab.goto(f"{address}/models/training")
        tab.locator("main", has_text="Cancel").wait_for()
        grave_while = grave(axe, tab)
        tab.goto(f"{address}/setup")
        while "is in use" not in tab.locator("main").inner_text():
            tab.wait_for_timeout(1000)
            tab.goto(f"{address}/setup")
        bundle = re.search(r"The bundle (\S+) is in use", tab.locator("main").inner_text())[1]
        buttons = tab.get_by_role("button", name="Train the first bundle").count()
        tab.goto(f"{address}/models/{bundle}")
        page = tab.locator("main").inner_text()

    assert "training" in told.casefold()
    assert (buttons, grave_while) == (0, [])
    assert "in use" in page
    with Store.open(
        f"sqlite:///{tmp_path / 'data' / 'martensight.db'}", site="Plant 1", agent="test"
    ) as store:
        (promotion,) = store.promotions.list_all()
    assert promotion.bundle == bundle
