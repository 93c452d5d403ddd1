"""Whatever was ever taken at a site is found by any word of it, at once, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from labs.lab import DAY, Lab
from labs.two_sites import HERE, THERE, open_lab
from sqlalchemy import Engine, event, text

from agent.errors import UsageError
from agent.store import Decision, Entry, SearchQuery, Store, engine
from agent.store.search.search_terms import parse_search, split_terms

BERLIN = "Europe/Berlin"


@pytest.fixture
def site(address, tmp_path):
    """A lab of one site, on each database."""
    lab = open_lab(tmp_path / "data", address, HERE)
    yield lab
    lab.store.close()


def find(lab: Lab, typed: str = "", **chosen: str) -> list[str]:
    query = SearchQuery(typed, {name: [value] for name, value in chosen.items()}, BERLIN)
    return [view.id for view in lab.store.search.find_page(query).micrographs]


def test_a_micrograph_is_found_by_every_word_of_it_and_by_the_beginning_of_one(site) -> None:
    process = {"order": "A-4711", "heat": "H 88/2", "specimen": "3b", "material": "100Cr6"}
    wanted = site.take("G9-10", name="2026/50050_03_Prüfung-é.tif", microscope="LOM", **process)
    site.take("G8", name="other.tif", order="A-4712", heat="H 89", specimen="4")

    for typed in (
        *("50050_03", "50050", "5005", "03 pruf", "PRÜFUNG", "a-4711", "4711", "h 88/2", "3b"),
        *(
            "100cr",
            "g9-10",
            wanted,
            "order:A-4711",
            "order:a4711 lom",
            'heat:"H 88/2"',
            "code:g9-10",
        ),
    ):
        expected = [] if typed == "order:a4711 lom" else [wanted]
        assert find(site, typed) == expected, typed
    assert len(find(site)) == 2
    assert find(site, "A-4711 A-4712") == []


HOSTILE = [
    *(
        "\"'; DROP TABLE micrograph; --",
        "NEAR(a b) OR * AND NOT",
        '"unclosed',
        "words:",
        ":",
        "*",
    ),
    *(
        "a\x00b",
        "😀🔬",
        "'':* | !& <->",
        "\\",
        "%",
        "x" * 10_000,
        "order:'",
        "=s1",
        "((((",
        "٣",
    ),
    *(
        "漢字",
        "2026-13",
        "0000-01",
        "9999-12",
        "9999-12-31",
        "0001-01-01",
        "a " * 5000,
        "\ud83d",
    ),
]


def test_a_hostile_text_finds_nothing_and_breaks_nothing(site) -> None:
    site.take("G8", name="field.tif")

    for typed in HOSTILE:
        assert find(site, typed) == [], typed[:20]
        assert find(site, code=typed) == [], typed[:20]
        assert len(find(site, "field")) == 1, typed[:20]


def test_a_hostile_value_is_found_by_itself(site) -> None:
    name = 'o\'); DROP TABLE "micrograph"; -- 😀.tif'
    wanted = site.take("G8", name=name, order="'\"\\:*|&", heat="{x}")

    assert find(site, name) == [wanted]
    assert find(site, "order:'\"\\:*|&") == [wanted]


def test_a_range_of_days_and_minutes_is_that_of_the_site(site) -> None:
    taken = [
        site.take("G8", name=f"{hour}.tif", at=datetime(2026, 11, 24, hour - 1, tzinfo=UTC))
        for hour in (10, 11, 12)
    ]

    assert find(site, "since:2026-11-24T10:30") == [taken[2], taken[1]]
    assert find(site, "until:2026-11-24T10:30") == [taken[0]]
    assert find(site, "since:2026-11-24T10:30 until:2026-11-24T11:30") == [taken[1]]
    assert find(site, "since:2026-11-24 until:2026-11-25") == taken[::-1]
    assert find(site, "since:2026-11-25") == find(site, "until:2026-11-23") == []


def test_days_and_months_are_those_of_the_site(site) -> None:
    before = site.take("G8", name="a.tif", at=datetime(2026, 10, 31, 22, 30, tzinfo=UTC))
    after = site.take("G8", name="b.tif", at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))

    assert find(site, "2026-10") == [before]
    assert find(site, "2026-11") == [after]
    assert find(site, "2026-11-01") == [after]
    assert find(site, "tif 2026-10-31") == [before]
    assert find(site, "2026-10 2026-11") == []
    assert find(site, month="2026-11") == [after]
    page = site.store.search.find_page(SearchQuery(zone=BERLIN))
    assert page.facets["month"] == {"2026-11": 1, "2026-10": 1}


def test_an_entry_follows_each_decision_in_its_transaction(site) -> None:
    one = site.take("G8", reasons=("uncertain",))
    other = site.take("G7", reasons=("uncertain",))
    plain = site.take("G8")

    assert set(find(site, outcome="waiting")) == {one, other}
    assert find(site, outcome="automatic") == [plain]
    site.store.labels.decide(one, Decision("code", "Ann Ö", code="G8"), at=DAY)
    site.store.labels.decide(
        other, Decision("code", "Bob", code="M8", comment="coarse rim"), at=DAY
    )
    assert find(site, outcome="confirmed") == [one]
    assert find(site, outcome="corrected") == find(site, "coarse rim") == [other]
    assert find(site, reviewer="Ann Ö") == find(site, 'reviewer:"ann ö"') == [one]
    assert find(site, code="M8") == [other]
    site.store.labels.undo(other, by="Bob", at=DAY)
    assert find(site, "coarse rim") == []
    assert find(site, code="G7") == [other]
    page = site.store.search.find_page(SearchQuery())
    assert page.facets["code"] == {"G8": 2, "G7": 1}
    assert page.facets["outcome"] == {"waiting": 1, "automatic": 1, "confirmed": 1}
    assert page.count == 3
    assert not page.is_cut


DECIDES = """
import sys
from datetime import datetime
from agent.store import Decision, Store
address, name, at = sys.argv[1:]
with Store.open(address, site="Plant 1", agent="PC") as store:
    print("agent.store.search.search_index" in sys.modules)
    decision = Decision("code", "Ann", code="G8")
    store.labels.decide(name, decision, at=datetime.fromisoformat(at))
"""


def test_an_entry_follows_a_process_that_searched_nothing_before(site, address) -> None:
    wanted = site.take("G8", reasons=("uncertain",))

    words = [sys.executable, "-c", DECIDES, address, wanted, DAY.isoformat()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert find(site, outcome="confirmed") == find(site, reviewer="Ann") == [wanted]


def test_what_a_reviewer_may_not_see_yet_is_not_found_either(site) -> None:
    blind = site.take("G8", name="blind.tif", reasons=("control_sample",))
    twice = site.take(
        "G8", name="twice.tif", reasons=("uncertain",), thresholds={"double_share": 1.0}
    )
    site.store.labels.decide(twice, Decision("code", "Ann", code="M8", comment="rim"), at=DAY)

    assert find(site, code="G8") == find(site, "G8") == find(site, "rim") == find(site, "ann") == []
    assert set(find(site, outcome="waiting")) == {blind, twice}
    site.store.labels.decide(blind, Decision("code", "Ann", code="G8"), at=DAY)
    site.store.labels.decide(twice, Decision("code", "Bob", code="M8"), at=DAY)
    assert find(site, code="G8") == [blind]
    assert find(site, "rim bob") == [twice]


def test_a_renamed_file_and_a_copy_are_found_by_every_name(site) -> None:
    wanted = site.take("G8", name="first_name.tif")
    site.duplicate("second-name.tif", wanted)

    assert find(site, "first_name") == find(site, "second-name") == [wanted]


def test_a_field_that_is_assigned_is_found_by_its_new_order(site) -> None:
    wanted = site.take("G8", name="loose.tif")
    site.store.orders.take_list([Entry("Z-99")], "list.csv", by="Ann", at=DAY)
    site.store.order_corrections.assign(
        wanted, {"order": "Z-99", "specimen": "1"}, by="Ann", reason="noted", at=DAY
    )

    assert find(site, "z-99") == find(site, "order:Z-99") == [wanted]


def test_pages_go_on_without_a_gap_and_without_a_repeat(site) -> None:
    taken = [site.take("G8", name=f"f_{n}.tif") for n in range(7)][::-1]

    seen, before = [], None
    while True:
        page = site.store.search.find_page(SearchQuery("f"), limit=3, before=before)
        seen += [view.id for view in page.micrographs]
        assert page.count == 7
        before = page.next_before
        if before is None:
            break
    assert seen == taken


def test_postgresql_reads_the_hits_with_its_own_plan_again(postgres, tmp_path) -> None:
    # The plan of the text search would read the table of results whole, a second at a million.
    lab = open_lab(tmp_path / "data", postgres.empty("ours"), HERE)
    taken = [lab.take("G8", name=f"f_{n}.tif") for n in range(3)]
    usual, seen = [], []

    def look(_connection, cursor, statement, *_rest) -> None:
        if "FROM result" in statement:
            settings = cursor.connection.execute(
                "SELECT setting, reset_val FROM pg_settings WHERE name ~ '^(jit|enable_)'"
            ).fetchall()
            seen.extend(now for now, _own in settings)
            usual.extend(own for _now, own in settings)

    event.listen(Engine, "before_cursor_execute", look)
    page = lab.store.search.find_page(SearchQuery("f"))
    event.remove(Engine, "before_cursor_execute", look)

    assert [view.id for view in page.micrographs] == taken[::-1]
    assert seen
    assert seen == usual
    lab.store.close()


def test_a_site_finds_nothing_of_another(address, tmp_path) -> None:
    here = open_lab(tmp_path / "here", address, HERE)
    there = open_lab(tmp_path / "there", address, THERE)
    own = here.take("G8", name="shared_name.tif", order="4711")
    theirs = there.take("G8", name="shared_name.tif", order="4711", heat="only-there")

    assert find(here, "shared") == [own]
    assert find(there, "shared") == [theirs]
    assert find(here, "only-there") == find(here, "=s2") == []
    assert here.store.search.find_page(SearchQuery()).count == 1
    here.store.saved_views.save("Ann", "mine", "q=x", at=DAY)
    assert there.store.saved_views.list_all("Ann") == []
    here.store.close()
    there.store.close()


def test_a_lost_index_is_made_again_and_holds_the_older_rows(site, address) -> None:
    wanted = site.take("G8", name="kept.tif")
    site.store.labels.decide(wanted, Decision("code", "Ann", code="G8"), at=DAY)
    site.store.close()
    opened = engine.make_engine(address)
    with opened.begin() as connection:
        connection.execute(text("DROP TABLE search_words"))
    opened.dispose()

    site.store = Store.open(address, site=HERE, agent="PC")

    assert find(site, "kept") == find(site, reviewer="Ann") == [wanted]
    assert site.store.audit_log.find_problems() == []
    assert site.store.checks.find_problems(thorough=True) == []
    assert site.store.checks.find_foreign_triggers() == []
    later = site.take("G8", name="later.tif")
    assert find(site, "later") == [later]


def test_a_refused_decision_leaves_the_entry_as_it_was(site) -> None:
    wanted = site.take("G8", name="one.tif")
    site.store.labels.decide(wanted, Decision("code", "Ann", code="G8"), at=DAY)

    with pytest.raises(UsageError):
        site.store.labels.decide(wanted, Decision("code", "Bob", code="M8"), at=DAY)

    assert find(site, reviewer="Ann") == [wanted]
    assert find(site, reviewer="Bob") == []


def test_views_are_kept_for_their_owner_alone(site) -> None:
    views = site.store.saved_views
    views.save("Ann", "  my   view ", "q=G8", at=DAY)
    views.save("Ann", "my view", "q=G9", at=DAY)
    views.save("Bob", "my view", "q=M8", at=DAY)

    assert [(view.name, view.query) for view in views.list_all("Ann")] == [("my view", "q=G9")]
    assert views.delete("Bob", "my view")
    assert not views.delete("Bob", "my view")
    assert len(views.list_all("Ann")) == 1
    with pytest.raises(UsageError, match="a name of at most"):
        views.save("Ann", "x" * 61, "", at=DAY)


def test_terms_are_without_accents_and_case_and_split_where_names_are() -> None:
    assert split_terms("50050_03-Größe.TIF ½µm Ⅳ") == [
        "50050",
        "03",
        "grosse",
        "tif",
        "1",
        "2μm",
        "iv",
    ]
    assert parse_search("reviewer:Ann x:y").words == ("x", "y")


def test_where_more_is_found_than_is_wanted_no_hits_are_returned(site) -> None:
    for _ in range(3):
        site.take("G8", order="4711", specimen="1")

    hits = site.store.search.list_hits(SearchQuery("order:4711"), most=3)

    assert hits is not None
    assert len(hits) == 3
    assert site.store.search.list_hits(SearchQuery("order:4711"), most=2) is None


def test_hits_are_sorted_by_time_code_and_answer_and_hidden_ones_come_last(site) -> None:
    labelled = [site.take("G8", name=f"{code}.tif") for code in ("q10", "q9", "q1")]
    for public_id, code in zip(labelled, ("q10", "q9", "q1"), strict=True):
        site.store.labels.decide(public_id, Decision("code", "Ann", code=code), at=DAY)
    strange = site.take("G7", name="odd.tif", reasons=("strange",))
    blind = site.take("G7", name="blind.tif", reasons=("control_sample",))
    query = SearchQuery("", {}, BERLIN)

    def hits(sort: str, *, limit: int = 9, before: int | None = None) -> list[str]:
        page = site.store.search.find_page(replace(query, sort=sort), limit=limit, before=before)
        return [view.id for view in page.micrographs]

    oldest = [*labelled, strange, blind]
    assert hits("oldest") == oldest
    assert hits("newest") == oldest[::-1]
    assert hits("code") == [strange, *labelled[::-1], blind]
    assert (hits("unusual")[0], hits("unusual")[-1]) == (strange, blind)
    assert hits("uncertain")[-1] == blind
    for sort in ("oldest", "code"):
        first = site.store.search.find_page(replace(query, sort=sort), limit=3)
        assert hits(sort, limit=3, before=first.next_before) == hits(sort)[3:]
