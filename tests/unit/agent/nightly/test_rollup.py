"""Who is in charge of several sites sees on one page what needs a person at each of them."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import pytest
from labs.lab import DAY, SETTINGS, Lab, minutes

from agent.nightly import write_report
from agent.nightly.write import write_sites
from agent.store import SourceHealth, Store
from agent.store.sites.site_folders import reports_folder

NIGHT = date(2026, 11, 24)
AFTERWARDS = DAY + timedelta(hours=20)
OTHER = dataclasses.replace(SETTINGS, site="<i>Plant 2</i>", review_url="http://two:8787")


@pytest.fixture
def labs(address, tmp_path):
    """Two sites on one database, and one data folder, of either kind."""
    one, two = Lab(tmp_path / "one"), Lab(tmp_path / "two")
    for lab, site in ((one, "Plant 1"), (two, OTHER.site)):
        lab.store.close()
        lab.store = Store.open(address, site=site, agent="PC")
    yield one, two
    one.store.close()
    two.store.close()


def write(lab, settings, data, *, now=AFTERWARDS):
    folder = reports_folder(data, lab.store)
    return write_report(lab.store, lab.archive, folder, NIGHT, settings, now=now).path


def test_two_sites_in_one_folder_have_pages_of_their_own(labs, tmp_path):
    first, second = labs
    first.take("G8")

    one, two = write(first, SETTINGS, tmp_path), write(second, OTHER, tmp_path)

    assert one == tmp_path / "reports" / "2026-11-24.html"
    assert two == tmp_path / "reports" / "site-2" / "2026-11-24.html"
    assert "1 micrograph, all settled" in one.read_text("utf-8")
    assert "Nothing came in this night" in two.read_text("utf-8")


def test_one_page_says_of_every_site_what_needs_a_person(labs, tmp_path):
    first, second = labs
    first.take("G8")
    second.take("G8", at=minutes(1), reasons=("uncertain",), name="b.tif")
    write(first, SETTINGS, tmp_path)
    write(second, OTHER, tmp_path)

    page = (tmp_path / "reports" / "site-2" / "sites.html").read_text("utf-8")

    plant_2, plant_1 = (
        page.index("&lt;i&gt;Plant 2&lt;/i&gt;</bdi></b>"),
        page.index("Plant 1</bdi></b>"),
    )
    assert plant_2 < plant_1  # who needs a person stands first
    assert "<i>Plant 2</i>" not in page
    assert "1 micrograph to review" in page
    assert 'href="http://two:8787/reports/2026-11-24.html"' in page
    assert "1, the oldest since 24 Nov" in page
    assert 'href="sites.html"' in (tmp_path / "reports" / "site-2" / "index.html").read_text(
        "utf-8"
    )


def test_a_site_that_fell_silent_stands_first_and_says_so(labs, tmp_path):
    first, second = labs
    second.take("G8", reasons=("uncertain",))
    first.store.sources.record(
        [
            SourceHealth(
                name="LOM-07",
                folder="/export",
                mode="native",
                online=False,
                offline_since=DAY,
                last_scan_at=DAY,
                found_by_scan=0,
                found_by_event=0,
                problem="",
            )
        ]
    )
    write(first, SETTINGS, tmp_path)
    write(second, OTHER, tmp_path)

    later = AFTERWARDS + timedelta(days=3)
    page = write_sites(second.store, tmp_path, OTHER, now=later).read_text("utf-8")

    assert "the report is 3 days old" in page
    assert "LOM-07" in page


def test_a_site_alone_has_no_such_page(tmp_path):
    lab = Lab(tmp_path / "data")
    lab.take("G8")

    index = write(lab, SETTINGS, tmp_path).parent / "index.html"

    assert not (index.parent / "sites.html").exists()
    assert "sites.html" not in index.read_text("utf-8")
    lab.store.close()
