"""The database of a site: its connection, its identity and its repositories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from agent.store import as_of, own_database, schema
from agent.store import engine as engines
from agent.store.engine import AgentIdentity, reading, write_retrying, writing
from agent.store.evidence import audit_log
from agent.store.sites import site_scope, sites

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from sqlalchemy import Engine

    from agent.store.backup import Backup
    from agent.store.bundles.promotions import Promotions
    from agent.store.bundles.rollouts import Rollouts
    from agent.store.database_copy import TableDigest
    from agent.store.evidence.audit_log import AuditLog, Origin
    from agent.store.evidence.database_checks import DatabaseChecks
    from agent.store.evidence.history import History, SettingsHistory
    from agent.store.evidence.quality_records import Records
    from agent.store.orders.order_changes import OrderChanges
    from agent.store.orders.order_corrections import OrderCorrections
    from agent.store.orders.order_naming import OrderNaming
    from agent.store.orders.orders import Orders, SpecificationVersions
    from agent.store.orders.statements import Statements
    from agent.store.orders.unread_names import UnreadNames
    from agent.store.people.accounts import Accounts, SavedViews
    from agent.store.people.campaigns import Campaigns
    from agent.store.people.labelled_micrographs import LabelledMicrographs
    from agent.store.people.labels import Labels
    from agent.store.people.review_queue import ReviewQueue
    from agent.store.results.live_figures import LiveFigures
    from agent.store.results.needles import NeedleFields, NeedleMeasurements
    from agent.store.results.nightly_reports import NightlyReports
    from agent.store.results.places import Places
    from agent.store.results.results import Results
    from agent.store.results.retention import Retention
    from agent.store.search.search import Search
    from agent.store.sites.sites import Agents, AllSites, Sources
    from agent.store.upgrade import Upgrade
    from agent.store.work.files import Files
    from agent.store.work.jobs import Jobs
    from agent.store.work.work_queue import WorkQueue


class Store:
    """Database of a site, with one repository per subject; open it with `Store.open`.

    It can be shared between threads.

    Args:
        engine: An engine at this program's schema.
        whose: The site and the agent that use it.
    """

    def __init__(self, engine: Engine, whose: AgentIdentity) -> None:
        self._engine = site_scope.bind(engine, whose.site_id)
        self._whose = whose

    @classmethod
    def open(
        cls,
        url: str,
        *,
        site: str,
        agent: str,
        exact_numbers: bool = False,
        folder: Path | None = None,
        accepts_other: bool = False,
        on_upgrade: Callable[[Upgrade], None] = lambda _upgrade: None,
        shares: Collection[str] = (),
        connections: int = engines.CONNECTIONS,
    ) -> Store:
        """Open a database, which is created or migrated where needed.

        Args:
            url: "sqlite:///…" or "postgresql+psycopg://…"; see `store_url`.
            site: Name of the site.
            agent: Name of this agent, unique at the site.
            exact_numbers: Orders whose numbers differ in case, spaces or leading zeros are two.
            folder: The data folder; a database of another folder is refused. None: any is opened.
            accepts_other: A database that is not the folder's own is opened; one that is, refused.
            on_upgrade: Called with the progress of a schema upgrade, every few seconds.
            shares: "accounts", "bundles": what the site shares with others that share it too.
            connections: Most connections at once to PostgreSQL; 0: each transaction opens its own.

        Raises:
            StoreError: It cannot be used; the message names the next step.
        """
        engine = engines.make_engine(url, connections=connections)
        try:
            if folder is not None:
                check = own_database.require_lost if accepts_other else own_database.require_own
                check(engine, folder)
                if engines.is_sqlite(engine):  # with PostgreSQL several PCs share the folder
                    own_database.make_private(folder)
            schema.bring_up(engine, folder=folder, listen=on_upgrade)
            with engines.opening(engine):
                whose = replace(_register(engine, site, agent), exact_numbers=exact_numbers)
            store = cls(engine, whose)
            if schema.lay_missing_guards(engine):
                store.audit_log.add(at=datetime.now(UTC), actor="agent", act="guards.laid_again")
            store.note_shares(shares)
            if folder is not None and not accepts_other:
                own_database.keep_mark(engine, folder, site)
        except BaseException:
            engine.dispose()
            raise
        return store

    def after_each_act(self, listen: Callable[[], None]) -> None:
        """Set a listener for transactions of this store that write into the audit log.

        Args:
            listen: Called without a transaction, in the thread of the act. It must not raise.
        """
        self._engine.update_execution_options(**{engines.AFTER_ACT: listen})

    def as_of(self, at: datetime) -> Store:
        """Return the same site's store as it was at an instant; it only reads. Close it.

        What has no time reads as it is now, see `agent.store.as_of`.
        """
        return Store(as_of.open_engine(self._engine, at), self._whose)

    def acting_as(self, origin: Origin) -> Store:
        """Return the same store with an origin that is stored with each of its acts."""
        return Store(self._engine.execution_options(**{audit_log.ORIGIN: origin}), self._whose)

    def over_all_sites(self) -> AllSites:
        """Return the queries over all sites, the one way past the site; they write nothing."""
        from agent.store.sites.sites import AllSites

        return AllSites(self._engine)

    def note_shares(self, shares: Collection[str]) -> None:
        """Record what this site shares with others that share it too.

        Args:
            shares: "accounts", "bundles" or neither.
        """
        with reading(self._engine) as session:
            if sites.shared(session, self._whose) == frozenset(shares):
                return
        with writing(self._engine) as session:
            sites.note_shares(session, self._whose, shares)
            audit_log.append(
                session,
                self._whose.site_id,
                at=datetime.now(UTC),
                actor="agent",
                act=sites.SHARES_CHANGED,
                facts={"shares": sorted(shares)},
            )

    def take_as_own(self, folder: Path) -> None:
        """Mark this database as a data folder's own."""
        own_database.renew_mark(self._engine, folder, self.site)

    def copy_to(
        self, url: str, *, at: datetime, progress: Callable[[int, int, str], None]
    ) -> tuple[dict[str, TableDigest], str]:
        """Copy the database with all sites into an empty one, and record that in both.

        Args:
            url: Address of the empty database.
            at: Now, aware UTC.
            progress: Called with (rows done, rows in total, table).

        Returns:
            Table → what it holds in both; and the place of the copy.

        Raises:
            StoreError: The target is not empty, or cannot hold the same; it stays empty then.
        """
        from agent.store.database_copy import copy_database

        target = engines.make_engine(url)
        place = engines.place(target)
        try:
            self.audit_log.add(at=at, actor="agent", act="database.copied", facts={"to": place})
            return copy_database(self._engine, target, progress=progress), place
        finally:
            target.dispose()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- identity ---

    @property
    def place(self) -> str:
        """Address of the database, without its password."""
        return engines.place(self._engine)

    @property
    def kind(self) -> str:
        """Kind of database: "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @property
    def exact_numbers(self) -> bool:
        """Whether order numbers that differ in case, spaces or leading zeros are two orders."""
        return self._whose.exact_numbers

    @property
    def site(self) -> str:
        """Name of this site."""
        with reading(self._engine) as session:
            return sites.name_of(session, self._whose)

    @property
    def site_id(self) -> int:
        """Number of this site among those that share the database, the first is 1."""
        return self._whose.site_id

    # --- repositories ---

    @property
    def accounts(self) -> Accounts:
        """Accounts and log-in sessions."""
        from agent.store.people.accounts import Accounts

        return Accounts(self._engine, self._whose)

    @property
    def agents(self) -> Agents:
        """Agents of this site."""
        from agent.store.sites.sites import Agents

        return Agents(self._engine, self._whose)

    @property
    def audit_log(self) -> AuditLog:
        """Acts, chained by hash."""
        from agent.store.evidence.audit_log import AuditLog

        return AuditLog(self._engine, self._whose)

    @property
    def backup(self) -> Backup:
        """Backup of the whole database."""
        from agent.store.backup import Backup

        return Backup(self._engine, self._whose)

    @property
    def campaigns(self) -> Campaigns:
        """Round robins and their ratings."""
        from agent.store.people.campaigns import Campaigns

        return Campaigns(self._engine, self._whose)

    @property
    def checks(self) -> DatabaseChecks:
        """Checks of the database and of the evidence in it."""
        from agent.store.evidence.database_checks import DatabaseChecks

        return DatabaseChecks(self._engine, self._whose)

    @property
    def files(self) -> Files:
        """Discovered files and their status."""
        from agent.store.work.files import Files

        return Files(self._engine, self._whose)

    @property
    def history(self) -> History:
        """Past acts, as pages list them."""
        from agent.store.evidence.history import History

        return History(self._engine, self._whose)

    @property
    def jobs(self) -> Jobs:
        """Long-running jobs."""
        from agent.store.work.jobs import Jobs

        return Jobs(self._engine, self._whose)

    @property
    def labelled_micrographs(self) -> LabelledMicrographs:
        """Micrographs with a valid label."""
        from agent.store.people.labelled_micrographs import LabelledMicrographs

        return LabelledMicrographs(self._engine, self._whose)

    @property
    def labels(self) -> Labels:
        """Decisions of reviewers."""
        from agent.store.people.labels import Labels

        return Labels(self._engine, self._whose)

    @property
    def live_figures(self) -> LiveFigures:
        """Counts for the dashboard."""
        from agent.store.results.live_figures import LiveFigures

        return LiveFigures(self._engine, self._whose)

    @property
    def needle_measurements(self) -> NeedleMeasurements:
        """Needles that reviewers measured."""
        from agent.store.results.needles import NeedleMeasurements

        return NeedleMeasurements(self._engine, self._whose)

    @property
    def nightly_reports(self) -> NightlyReports:
        """Frozen facts of nightly reports."""
        from agent.store.results.nightly_reports import NightlyReports

        return NightlyReports(self._engine, self._whose)

    @property
    def order_changes(self) -> OrderChanges:
        """Orders by their changes and their age."""
        from agent.store.orders.order_changes import OrderChanges

        return OrderChanges(self._engine, self._whose)

    @property
    def order_corrections(self) -> OrderCorrections:
        """Acts that correct an order, its specimens and its fields."""
        from agent.store.orders.order_corrections import OrderCorrections

        return OrderCorrections(self._engine, self._whose)

    @property
    def order_naming(self) -> OrderNaming:
        """What files name of orders."""
        from agent.store.orders.order_naming import OrderNaming

        return OrderNaming(self._engine, self._whose)

    @property
    def needle_fields(self) -> NeedleFields:
        """Needles of micrographs, with their results."""
        from agent.store.results.needles import NeedleFields

        return NeedleFields(self._engine, self._whose)

    @property
    def orders(self) -> Orders:
        """Orders with their specimens and fields."""
        from agent.store.orders.orders import Orders

        return Orders(self._engine, self._whose)

    @property
    def places(self) -> Places:
        """Landmarks of micrographs, and pairs that show the same place."""
        from agent.store.results.places import Places

        return Places(self._engine, self._whose)

    @property
    def promotions(self) -> Promotions:
        """Promotions of model bundles."""
        from agent.store.bundles.promotions import Promotions

        return Promotions(self._engine, self._whose)

    @property
    def records(self) -> Records:
        """Quality records."""
        from agent.store.evidence.quality_records import Records

        return Records(self._engine, self._whose)

    @property
    def results(self) -> Results:
        """Micrographs and their results."""
        from agent.store.results.results import Results

        return Results(self._engine, self._whose)

    @property
    def retention(self) -> Retention:
        """Archived files and what protects them."""
        from agent.store.results.retention import Retention

        return Retention(self._engine, self._whose)

    @property
    def review_queue(self) -> ReviewQueue:
        """Micrographs that wait for review."""
        from agent.store.people.review_queue import ReviewQueue

        return ReviewQueue(self._engine, self._whose)

    @property
    def rollouts(self) -> Rollouts:
        """Bundles that the PCs take in rings."""
        from agent.store.bundles.rollouts import Rollouts

        return Rollouts(self._engine, self._whose)

    @property
    def saved_views(self) -> SavedViews:
        """Searches that people keep under a name."""
        from agent.store.people.accounts import SavedViews

        return SavedViews(self._engine, self._whose)

    @property
    def search(self) -> Search:
        """Search over every micrograph."""
        from agent.store.search.search import Search

        return Search(self._engine, self._whose)

    @property
    def settings_history(self) -> SettingsHistory:
        """Settings of this agent over time."""
        from agent.store.evidence.history import SettingsHistory

        return SettingsHistory(self._engine, self._whose)

    @property
    def sources(self) -> Sources:
        """Watched folders and their last known state."""
        from agent.store.sites.sites import Sources

        return Sources(self._engine, self._whose)

    @property
    def specifications(self) -> SpecificationVersions:
        """Specification entries and their versions."""
        from agent.store.orders.orders import SpecificationVersions

        return SpecificationVersions(self._engine, self._whose)

    @property
    def statements(self) -> Statements:
        """Statements of conformity."""
        from agent.store.orders.statements import Statements

        return Statements(self._engine, self._whose)

    @property
    def unread_names(self) -> UnreadNames:
        """Names of files that are not read yet."""
        from agent.store.orders.unread_names import UnreadNames

        return UnreadNames(self._engine, self._whose)

    @property
    def work_queue(self) -> WorkQueue:
        """Queued contents and their claims."""
        from agent.store.work.work_queue import WorkQueue

        return WorkQueue(self._engine, self._whose)


def _register(engine: Engine, site: str, agent: str) -> AgentIdentity:
    with reading(engine) as session:
        number = sites.find_site(session, site)
    bound = site_scope.bind(
        engine, number or write_retrying(engine, lambda session: sites.add_site(session, site))
    )
    with reading(bound) as session:
        if registered := sites.find_registered(session, site, agent):
            return registered
    return write_retrying(bound, lambda session: sites.register(session, site, agent))
