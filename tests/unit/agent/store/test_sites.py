"""Sites that share a database are held apart by one mechanism, and share what both want to."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from labs.stored import OTHER, SHA, file, finding
from labs.two_sites import HERE, HIDDEN, THERE, World, rows_of, sqlite_world, world
from servers.databases import tamper
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm.attributes import set_attribute

from agent.cli.app import main
from agent.errors import UsageError
from agent.store import Decision, RolloutState, Store, engine
from agent.store.sites.site_guards import find_references
from agent.store.sites.site_scope import EVERY_SITE, ForeignSiteError, bind, find_tables
from agent.store.tables import (
    PER_SITE,
    REFERRING,
    SHARED,
    MicrographRow,
    OfGroup,
    OfSite,
    Record,
    load_metadata,
)

__all__ = ["sqlite_world", "world"]

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
MICROGRAPH = load_metadata().tables["micrograph"]


@pytest.fixture
def stores(address: str) -> Iterator[tuple[Store, Store]]:
    """Two sites on one database, of either kind."""
    with (
        Store.open(address, site=HERE, agent="PC") as here,
        Store.open(address, site=THERE, agent="PC") as there,
    ):
        yield here, there


def list_sites(address: str) -> list[int]:
    """Return the numbers of the sites; PostgreSQL may have left some out."""
    opened = engine.make_engine(address)
    with opened.connect() as connection:
        found = connection.execute(text("SELECT id FROM site ORDER BY id")).scalars().all()
    opened.dispose()
    return [int(number) for number in found]


def take(store: Store, sha256: str, name: str, **told: str) -> str:
    store.files.add([file(name)], at=AT)
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
    store.work_queue.finish(claim, [finding(sha256, process=told, reasons=())], at=AT)
    return sha256[:16]


# --- the mechanism --------------------------------------------------------------------------------


def test_every_table_is_of_a_site_or_shared_with_a_reason() -> None:
    tables = load_metadata().tables
    of_sites = {one.__tablename__ for kind in (OfSite, OfGroup) for one in kind.__subclasses__()}

    assert of_sites.isdisjoint(SHARED)
    assert of_sites | set(SHARED) == set(tables)
    assert of_sites == PER_SITE
    assert {name for name in tables if "site_id" in tables[name].columns} == PER_SITE
    assert all(SHARED.values())


def test_every_table_that_refers_to_a_site_s_row_is_known_without_making_the_tables() -> None:
    assert set(find_references()) == REFERRING


@pytest.mark.parametrize(
    "statement",
    [
        text("SELECT sha256 FROM micrograph"),
        text("SELECT m.sha256 FROM micrograph AS m JOIN source AS s ON m.site_id = s.site_id"),
        text("DELETE FROM label WHERE id = 1"),
        text("UPDATE result SET current = true"),
        text("INSERT INTO label (micrograph_id) VALUES (1)"),
        text('SELECT 1 FROM site, "order"'),
        select(MICROGRAPH.c.id),
        update(MICROGRAPH).values(order=""),
    ],
)
def test_a_statement_that_names_no_site_is_refused(stores, address, statement) -> None:
    one, _two = list_sites(address)
    bound = bind(engine.make_engine(address), one)

    with bound.connect() as connection, pytest.raises(ForeignSiteError):
        connection.execute(statement)


def test_a_statement_that_names_another_site_is_refused(stores, address) -> None:
    one, two = list_sites(address)
    bound = bind(engine.make_engine(address), one)

    with (
        engine.reading(bound) as session,
        pytest.raises(ForeignSiteError, match=f"names site {two}"),
    ):
        session.execute(select(MicrographRow).where(MicrographRow.site_id == two)).all()


def test_a_connection_of_no_site_reaches_no_table_of_one(stores, address) -> None:
    one, _two = list_sites(address)
    unbound = engine.make_engine(address)
    bind(unbound, one)

    with unbound.connect() as connection, pytest.raises(ForeignSiteError, match="bound to no site"):
        connection.execute(text("SELECT sha256 FROM micrograph WHERE site_id = 1"))


def test_whoever_reads_all_sites_writes_none(stores, address) -> None:
    one, _two = list_sites(address)
    every = bind(engine.make_engine(address), EVERY_SITE)

    with engine.writing(every) as session, pytest.raises(ForeignSiteError, match="writes none"):
        session.execute(insert(Record).values(site_id=one, kind="x", at=AT, facts={}))


def test_a_row_of_another_site_is_neither_added_nor_changed_nor_moved(stores, address) -> None:
    one, two = list_sites(address)
    here, there = stores
    take(here, SHA, "a.tif", order="1", specimen="1")
    take(there, OTHER, "b.tif", order="1", specimen="1")
    bound = bind(engine.make_engine(address), one)

    with pytest.raises(ForeignSiteError), engine.writing(bound) as session:
        session.add(Record(site_id=two, kind="x", at=AT))
    with pytest.raises(ForeignSiteError), engine.writing(bound) as session:
        session.exec(select(MicrographRow)).scalars().one().site_id = two
    with engine.writing(bind(engine.make_engine(address), two)) as session:
        (foreign,) = session.exec(select(MicrographRow)).scalars()
        session.expunge(foreign)
    set_attribute(foreign, "order", "2")  # a row alone refuses it, since it would be lost
    with pytest.raises(ForeignSiteError), engine.writing(bound) as session:
        session.add(foreign)


def test_a_row_that_names_a_row_of_another_site_is_refused_by_the_database(stores, address) -> None:
    one, two = list_sites(address)
    here, there = stores
    take(here, SHA, "a.tif")
    take(there, OTHER, "b.tif")
    there.labels.decide(OTHER[:16], Decision("code", "Bea", code="G8"), at=AT)
    unguarded = engine.make_engine(address)

    added = (
        "INSERT INTO place (site_id, micrograph_id, landmarks) "  # noqa: S608 - ours
        f"VALUES ({one}, (SELECT id FROM micrograph WHERE site_id = {two}), '')"
    )
    moved = (
        f"UPDATE micrograph SET content_id = (SELECT id FROM content WHERE site_id = {two}) "  # noqa: S608 - ours
        f"WHERE site_id = {one}"
    )
    for statement in (added, moved):
        with unguarded.connect() as connection, pytest.raises(IntegrityError, match="another site"):
            connection.execute(text(statement))


def test_a_new_row_gets_the_site_of_its_engine(stores, address) -> None:
    one, two = list_sites(address)
    with engine.writing(bind(engine.make_engine(address), two)) as session:
        session.add(Record(kind="x", subject="y", at=AT))
        session.execute(insert(Record), [{"kind": "x", "at": AT, "facts": {}}])

    assert [len(rows_of(address, site)["record"]) for site in (one, two)] == [0, 2]


def test_what_the_guard_reads_of_a_statement() -> None:
    joined = (
        'SELECT "order".number FROM "order" JOIN specimen AS s_1 ON s_1.order_id = "order".id AND '
        '+s_1.site_id = ? WHERE +"order".site_id = ?'
    )

    assert find_tables(joined) == (frozenset({"order", "specimen"}), frozenset())
    assert find_tables(joined.replace("+s_1.site_id", "+s_1.id"))[1] == {"specimen"}
    assert find_tables("SELECT name FROM site")[0] == frozenset()
    assert find_tables("INSERT INTO label (id, site_id) VALUES (?, ?)")[1] == frozenset()


def test_a_field_is_found_by_its_index_and_not_by_its_site(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    Store.open(url, site=HERE, agent="PC").close()
    asked = {
        "uq_micrograph_public_id_site_id": "SELECT 1 FROM micrograph WHERE public_id = ? "
        "AND +site_id = ?",
        "ix_label_micrograph_id": "SELECT 1 FROM label WHERE micrograph_id = ? AND +site_id = ?",
        "ix_micrograph_specimen_id": "SELECT 1 FROM micrograph WHERE specimen_id IN (?, 2, 3) "
        "AND +site_id = ?",
        "uq_content_sha256_not_duplicate": "SELECT 1 FROM content WHERE sha256 = ? "
        "AND state != 'duplicate' AND +site_id = ?",
    }
    names = {
        str(row[0])
        for row in sqlite3.connect(tmp_path / "a.db").execute("SELECT name FROM sqlite_master")
    }

    for index, statement in asked.items():
        plan = sqlite3.connect(tmp_path / "a.db").execute(f"EXPLAIN QUERY PLAN {statement}", (1, 1))
        shown = str(plan.fetchall())
        assert index in shown or ("autoindex" in shown and index not in names), shown
        assert "SCAN" not in shown


# --- what each has --------------------------------------------------------------------------------


def test_the_same_content_is_a_field_of_each_site(stores) -> None:
    here, there = stores

    for store in stores:
        take(store, SHA, "a.tif", order="4711", specimen="1")

    for store in stores:
        assert [fate.state for fate in store.files.iter_status()] == ["done"]
        order = store.orders.order("4711")
        assert order is not None
        assert len(order.specimens[0].preparations[0].fields) == 1
    here.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)
    view = there.results.find(SHA[:16])
    assert view is not None
    assert view.label is None


def test_each_site_has_a_trail_of_its_own(stores, address) -> None:
    here, there = stores
    for n, store in enumerate((here, there, here, there)):
        store.audit_log.add(at=AT, actor=f"A{n}", act="x.done")

    assert {entry.actor for entry in here.audit_log.iter_acts(act="x.")} == {"A0", "A2"}
    assert [store.audit_log.find_problems() for store in stores] == [[], []]
    tamper(address, "UPDATE trail SET actor = 'Eve' WHERE actor = 'A1'")
    assert here.audit_log.find_problems() == []
    assert "was changed" in there.audit_log.find_problems()[0]
    assert here.audit_log.get_head().sha256 != there.audit_log.get_head().sha256
    tamper(address, "DELETE FROM trail WHERE actor = 'A0'")
    assert "missing before" in here.audit_log.find_problems()[0]


def test_a_bundle_serves_the_site_that_promoted_it_alone(stores) -> None:
    here, there = stores

    here.promotions.promote("20261101-0badcafe", by="Ada", reason="first", at=AT, metrics={})

    assert here.promotions.find_current() == "20261101-0badcafe"
    assert there.promotions.find_current() is None
    assert there.promotions.list_all() == []


def test_a_bundle_is_shared_where_both_sites_share_bundles(address) -> None:
    shares = ("bundles",)
    with Store.open(address, site=HERE, agent="PC", shares=shares) as here:
        here.promotions.promote("20261101-0badcafe", by="Ada", reason="first", at=AT, metrics={})
        with Store.open(address, site=THERE, agent="PC") as there:
            assert there.promotions.find_current() is None
        with Store.open(address, site=THERE, agent="PC", shares=shares) as there:
            assert there.promotions.find_current() == "20261101-0badcafe"
            assert there.over_all_sites().sharing("bundles") == [HERE, THERE]
            assert there.checks.compare_rows()[0] == []
        with Store.open(address, site=THERE, agent="PC") as there:
            assert there.promotions.find_current() is None
            assert [act.facts["shares"] for act in there.audit_log.iter_acts(act="site.")] == [
                ["bundles"],
                [],
            ]


def test_accounts_are_of_one_site_unless_both_share_them(address) -> None:
    shares = ("accounts",)
    with (
        Store.open(address, site=HERE, agent="PC", shares=shares) as here,
        Store.open(address, site=THERE, agent="PC") as there,
    ):
        here.accounts.add("Ada", kind="person", role="lead", hashed="x", by="A", at=AT)
        assert there.accounts.find("Ada") is None
        assert not there.accounts.are_there()
        there.accounts.add("Ada", kind="person", role="viewer", hashed="y", by="B", at=AT)
        there.note_shares(shares)

        assert [one.hashed for one in there.accounts.every()] == ["y"]  # its own goes first
        assert [one.hashed for one in here.accounts.every()] == ["x"]


def test_a_shared_account_logs_in_and_is_changed_at_its_own_site_alone(address) -> None:
    shares = ("accounts",)
    with (
        Store.open(address, site=HERE, agent="PC", shares=shares) as here,
        Store.open(address, site=THERE, agent="PC", shares=shares) as there,
    ):
        here.accounts.add("Ada", kind="person", role="lead", hashed="x", by="A", at=AT)

        assert there.accounts.begin_try("Ada", browser="", at=AT).account is not None
        there.accounts.begin("Ada", cookie="c", at=AT)
        assert there.accounts.logged_in("c") is not None
        assert [account.name for account in there.accounts.every()] == ["Ada"]
        with pytest.raises(UsageError, match="belongs to the site 'Plant 1'"):
            there.accounts.set_role("Ada", "admin", by="B", at=AT)
        with pytest.raises(UsageError, match="already"):
            there.accounts.add("Ada", kind="person", role="admin", hashed="z", by="B", at=AT)
        here.accounts.set_hash("Ada", "new", by="A", at=AT + timedelta(minutes=1))
        assert there.accounts.logged_in("c") is None
        assert there.checks.compare_rows()[0] == here.checks.compare_rows()[0] == []


def test_a_site_that_lost_the_accounts_of_others_without_an_act_is_named(address) -> None:
    shares = ("accounts",)
    with Store.open(address, site=HERE, agent="PC", shares=shares) as here:
        here.accounts.add("Ada", kind="person", role="lead", hashed="x", by="A", at=AT)
    with Store.open(address, site=THERE, agent="PC", shares=shares) as there:
        assert there.accounts.are_there()
        assert there.checks.compare_rows()[0] == []
        tamper(address, "UPDATE site SET shares_accounts = FALSE")
        assert not there.accounts.are_there()

        (fault,) = there.checks.compare_rows()[0]

    assert fault == f"site {THERE}: shares was ['accounts'] (trail number 3), is []"
    with Store.open(address, site=THERE, agent="PC", shares=shares) as there:
        (fault,) = there.checks.compare_rows()[0]  # its setting is written again

    assert fault.startswith(f"site {THERE}: what it shares was changed before trail number ")


def test_pixels_that_another_site_needs_are_not_pruned(stores) -> None:
    here, there = stores
    for store in stores:
        take(store, SHA, "a.tif", order="1", specimen="1")
    take(here, OTHER, "b.tif", order="1", specimen="1")
    later = AT + timedelta(days=9)

    assert [
        one.sha256
        for one in here.retention.plan("crops", before=later, statements_since=AT).prunable
    ] == [OTHER]
    there.retention.mark_pruned([SHA[:16]], "crops", at=AT)
    plan = here.retention.plan("crops", before=later, statements_since=AT)
    assert len(plan.prunable) == 2


def test_a_label_names_a_result_of_its_own_micrograph_alone(stores) -> None:
    here, there = stores
    take(there, OTHER, "b.tif")
    take(here, SHA, "a.tif")
    foreign = there.results.find(OTHER[:16])
    assert foreign is not None

    with pytest.raises(UsageError, match="no result of the number"):
        here.labels.decide(
            SHA[:16], Decision("code", "Ada", code="G8", result_seen=foreign.result.id), at=AT
        )


def test_all_sites_are_read_by_one_named_way(stores) -> None:
    here, _ = stores
    for store in stores:
        assert here.over_all_sites().names() == ([] if store is here else [HERE])  # none acted yet
        store.audit_log.add(at=AT, actor="Ada", act="x.done")

    assert here.over_all_sites().names() == [HERE, THERE]
    assert len(here.over_all_sites().agents()) == 2
    assert len(here.agents.list_all()) == 1


# --- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def owned(postgres) -> Iterator[str]:
    """A database whose owner is no superuser, so that row-level security binds it."""
    postgres.run("DROP ROLE IF EXISTS site_owner")
    postgres.run("CREATE ROLE site_owner LOGIN")
    url = postgres.empty()
    name = url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} OWNER TO site_owner")
    yield url.replace("//postgres@", "//site_owner@")
    postgres.run(f"ALTER DATABASE {name} OWNER TO postgres")
    with engine.make_engine(url).begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY site_owner CASCADE")
    postgres.run("DROP ROLE site_owner")


def test_postgresql_itself_holds_the_sites_apart(owned) -> None:
    for site, sha256 in ((HERE, SHA), (THERE, OTHER)):
        with Store.open(owned, site=site, agent="PC") as store:
            take(store, sha256, "a.tif", order="1", specimen="1")
            store.labels.decide(sha256[:16], Decision("code", "Ada", code="G8"), at=AT)
            assert store.checks.find_unscoped_tables() == []
            assert not store.checks.is_exempt_from_policies()
            assert store.audit_log.find_problems() == []
            assert len(store.over_all_sites().sites()) == (1 if site == HERE else 2)
    unguarded = engine.make_engine(owned)

    with unguarded.begin() as connection:
        count = "SELECT count(*) FROM label"
        assert connection.execute(text(count)).scalar() == 0
        connection.execute(text("SET LOCAL martensight.site = '2'"))
        assert connection.execute(text(count)).scalar() == 1
        assert connection.execute(text("SELECT min(site_id) FROM micrograph")).scalar() == 2
        changed = connection.execute(text("UPDATE content SET lane = 0 WHERE site_id = 1"))
        assert changed.rowcount == 0
        connection.execute(text("SET LOCAL martensight.site = '0'"))
        assert connection.execute(text(count)).scalar() == 2
        assert connection.execute(text("UPDATE content SET lane = 0")).rowcount == 0
    foreign = text(
        "INSERT INTO source (site_id, name, folder, mode, online, found_by_scan, found_by_event, "
        "facts) VALUES (2, 'x', 'y', '', true, 0, 0, '{}')"
    )
    with unguarded.connect() as connection:
        connection.execute(text("SET LOCAL martensight.site = '1'"))
        with pytest.raises(DBAPIError, match="row-level security"):
            connection.execute(foreign)


def test_a_site_is_not_kept_from_one_transaction_to_another_sites(owned) -> None:
    with Store.open(owned, site=HERE, agent="PC") as store:
        take(store, SHA, "a.tif")
        with pytest.raises(UsageError):
            store.labels.decide("0" * 16, Decision("code", "Ada", code="G8"), at=AT)  # rolled back
        assert store.results.find(SHA[:16]) is not None
        assert len(store.over_all_sites().sites()) == 1
        assert store.results.find(SHA[:16]) is not None


def test_policies_that_are_gone_are_named_and_laid_again(owned) -> None:
    with Store.open(owned, site=HERE, agent="PC") as store:
        with engine.make_engine(owned).begin() as connection:
            connection.exec_driver_sql("ALTER TABLE label DISABLE ROW LEVEL SECURITY")
        assert store.checks.find_unscoped_tables() == ["label"]

    with Store.open(owned, site=HERE, agent="PC") as store:
        assert store.checks.find_unscoped_tables() == []


def test_a_copy_holds_the_rows_of_all_sites_and_is_put_back_with_its_policies(
    owned, postgres, tmp_path
) -> None:
    from agent.store import put_back  # noqa: PLC0415 - only here

    for site, sha256 in ((HERE, SHA), (THERE, OTHER)):
        with Store.open(owned, site=site, agent="PC") as store:
            take(store, sha256, "a.tif")
    with Store.open(owned, site=HERE, agent="PC") as store:
        target = tmp_path / store.backup.file_name
        store.backup.write(target, progress=lambda *_: None)
        take(store, "e" * 64, "c.tif")

    put_back(owned, target, aside=tmp_path / "aside.pgdump")

    for site, sha256 in ((HERE, SHA), (THERE, OTHER)):
        with Store.open(owned, site=site, agent="PC") as store:
            assert [result.sha256 for result in store.results.iter_all()] == [sha256]
            assert store.checks.find_unscoped_tables() == []


# --- what is said ---------------------------------------------------------------------------------


def play(world: World, capsys, *words: str, shares: str = "") -> tuple[int, str]:
    settings = f'[site]\nname = "{HERE}"\n{shares}\n[store]\nfolder = "data"\n'
    file_ = world.folder.parent / "agent.toml"
    file_.write_text(settings, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(file_), *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


def test_status_says_which_sites_share_the_database_and_what(world, capsys) -> None:
    _, shown = play(world, capsys, "status", "--json", shares='shares = ["bundles"]')

    document = json.load(io.StringIO(shown))
    assert (document["site"], document["other_sites"], document["shares"]) == (
        HERE,
        [THERE],
        ["bundles"],
    )


def test_doctor_says_how_the_sites_are_held_apart(world, capsys) -> None:
    _, shown = play(world, capsys, "doctor", "--json", shares='shares = ["accounts"]')

    found = {(check["check"], check["level"]): check["sentence"] for check in json.loads(shown)}
    assert "2 sites share the database" in found["sites", "right"]
    assert "Plant 1 shares accounts" in found["shared", "right"]
    assert "no other site" in found["shared", "doubtful"]


def test_a_restore_over_several_sites_is_refused_until_it_is_said(world, capsys) -> None:
    file_ = world.folder.parent / "back-up.zip"
    play(world, capsys, "backup", str(file_))

    code, shown = play(world, capsys, "restore", str(file_))
    assert code == 2
    assert "--all-sites" in shown
    world.must_be_as_before("restore")
    code, shown = play(world, capsys, "restore", "--all-sites", str(file_))
    assert code == 0, shown
    assert f"{THERE}: the rollout that ran during the backup is stopped" in shown
    assert "To go on: agent models rollout --continue" in shown
    with Store.open(world.address, site=THERE, agent="PC", shares=("bundles",)) as there:
        assert there.rollouts.find_latest().state == RolloutState.STOPPED


def test_a_column_of_the_other_site_that_cannot_be_read_is_not_named_here(world) -> None:
    tamper(world.address, f"UPDATE job SET ended_at = '{HIDDEN}' WHERE site_id = 2")  # noqa: S608

    with Store.open(world.address, site=HERE, agent="PC") as here:
        assert here.checks.find_unreadable_values() == []
    with Store.open(world.address, site=THERE, agent="PC") as there:
        assert HIDDEN in there.checks.find_unreadable_values()[0]
