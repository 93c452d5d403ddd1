"""The one door to the database: every question and every act of the program, by name.

In:  nouns of the rooms. Out: nouns of the store. It decides nothing; each method is one
transaction around a function of the module that its name belongs to.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from sqlalchemy.exc import IntegrityError

from agent.store import (
    audit_log,
    backup,
    deduplication,
    descriptions,
    file_status,
    files,
    guards,
    jobs,
    labels,
    nightly_reports,
    own_database,
    promotions,
    results,
    retention,
    row_checks,
    schema,
    seals,
    settings_history,
    site_policies,
    site_references,
    site_scope,
    sites,
    sources,
    work_queue,
)
from agent.store import (
    engine as engines,
)
from agent.store.accounts import Accounts
from agent.store.campaigns import Campaigns
from agent.store.engine import reading, writing
from agent.store.file_states import Lane, State
from agent.store.files import Intake
from agent.store.order_changes import OrderChanges
from agent.store.order_claims import ClaimedPlace
from agent.store.orders import Orders
from agent.store.places import Places
from agent.store.quality_records import Records
from agent.store.row_counts import count_rows
from agent.store.sites import AllSites
from agent.store.statements import Statements
from agent.store.unread_names import UnreadNames
from agent.store.unreadable import find_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import date, timedelta
    from pathlib import Path

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.audit_log import Origin, TrailEntry, TrailHead
    from agent.store.file_states import Claim, FileFate
    from agent.store.jobs import Job
    from agent.store.labels import Decision, LabelledMicrograph
    from agent.store.nightly_reports import NightHead, NightRow
    from agent.store.promotions import Promotion, Signature
    from agent.store.results import Finding, MicrographView
    from agent.store.retention import Kept, RetentionPlan
    from agent.store.row_checks import RowChecks
    from agent.store.sources import AgentSeen, SourceHealth, Whose
    from agent.store.upgrade import Upgrade
    from agent.triage import Reason
    from agent.watch import ListedFile

T = TypeVar("T")
TIMES = 5  # so many agents may write the same row at once, each before the next
NOTHING_GIVEN: Mapping[str, Mapping[str, str]] = MappingProxyType({})
NO_FACTS: Mapping[str, Any] = MappingProxyType({})


class Store:
    """A lab's database. Safe to share between threads. Open it with `Store.open`.

    Args:
        engine: An engine at this program's schema.
        whose: The site and the agent that ask.
    """

    def __init__(self, engine: Engine, whose: Whose) -> None:
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
        anew: bool = False,
        on_upgrade: Callable[[Upgrade], None] = lambda _upgrade: None,
        shares: Collection[str] = (),
    ) -> Store:
        """Open a database, made or migrated where needed.

        Args:
            url: "sqlite:///…" or "postgresql+psycopg://…"; see `store_url`.
            site: Name of the site.
            agent: Name of this agent, unique at the site.
            exact_numbers: Orders whose numbers differ in case, spaces or leading zeros are two.
            folder: The data folder; a database that is not its own is refused. None: any is taken.
            anew: A database that is not the folder's own is taken, and one that is, refused.
            on_upgrade: Called with how far an upgrade of the schema is, every few seconds.
            shares: "accounts", "bundles": what the site shares with others that share it too.

        Raises:
            BadStore: It cannot be used; one sentence says what to do.
        """
        engine = engines.make_engine(url)
        try:
            if folder is not None:
                check = own_database.require_lost if anew else own_database.require_own
                check(engine, folder)
                if engines.is_sqlite(engine):  # with PostgreSQL several PCs share the folder
                    own_database.make_private(folder)
            schema.bring_up(engine, folder=folder, listen=on_upgrade)
            with engines.opening(engine):
                whose = replace(_register(engine, site, agent), exact_numbers=exact_numbers)
            store = cls(engine, whose)
            if schema.lay_missing_guards(engine):
                store.remember(at=datetime.now(UTC), actor="agent", act="guards.laid_again")
            store.note_shares(shares)
            if folder is not None and not anew:
                own_database.keep_mark(engine, folder)
        except BaseException:
            engine.dispose()
            raise
        return store

    def after_each_act(self, listen: Callable[[], None]) -> None:
        """Call something after each transaction of this store that wrote into the audit log.

        Args:
            listen: Called without a transaction, in the thread of the act. It must not raise.
        """
        self._engine.update_execution_options(**{engines.AFTER_ACT: listen})

    def close(self) -> None:
        """Let every connection go."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Where the database is, without its password."""
        return engines.place(self._engine)

    @property
    def exact_numbers(self) -> bool:
        """Whether order numbers that differ in case, spaces or leading zeros are two orders."""
        return self._whose.exact_numbers

    @property
    def kind(self) -> str:
        """What it is: "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @property
    def orders(self) -> Orders:
        """The orders and their specimens; a door of their own."""
        return Orders(self._engine, self._whose)

    @property
    def places(self) -> Places:
        """What micrographs' places are recognised by, and which show the same one."""
        return Places(self._engine, self._whose)

    @property
    def order_changes(self) -> OrderChanges:
        """Orders by what was done to them and by their age; a door of its own."""
        return OrderChanges(self._engine, self._whose)

    @property
    def records(self) -> Records:
        """What the lab has to be able to show later; a door of its own."""
        return Records(self._engine, self._whose)

    @property
    def statements(self) -> Statements:
        """What was stated of orders, frozen when it changed; a door of its own."""
        return Statements(self._engine, self._whose)

    @property
    def unread_names(self) -> UnreadNames:
        """What names files that nobody has read yet."""
        return UnreadNames(self._engine, self._whose)

    @property
    def accounts(self) -> Accounts:
        """Who may come in: a door of its own."""
        return Accounts(self._engine, self._whose)

    @property
    def campaigns(self) -> Campaigns:
        """Round robins and their ratings: a door of their own."""
        return Campaigns(self._engine, self._whose)

    def problems(self, *, thorough: bool = False) -> list[str]:
        """Check that the database is sound; one sentence per problem."""
        return engines.problems(self._engine, thorough=thorough)

    def missing_guards(self) -> list[str]:
        """Return the names of the triggers on evidence that are missing, disabled or changed."""
        with engines.opening(self._engine), self._engine.connect() as connection:
            return guards.find_missing(connection)

    def foreign_triggers(self) -> list[str]:
        """Return the triggers of the database that are not this program's."""
        with engines.opening(self._engine), self._engine.connect() as connection:
            return guards.find_foreign(connection, site_references.list_names(connection))

    def rewritable_tables(self) -> list[str]:
        """Return the tables of evidence that this PostgreSQL user could rewrite; SQLite: none."""
        with engines.opening(self._engine), self._engine.connect() as connection:
            return guards.may_rewrite(connection)

    # --- journal: what the watch says ---

    def known(self, source: str) -> dict[str, tuple[int, int, int]]:
        """Say relative path → (size_bytes, mtime_ns, ctime_ns) of all but settling files."""
        with reading(self._engine) as session:
            return files.known(session, self._whose, source)

    def arrive(
        self,
        arrivals: Iterable[ListedFile],
        *,
        at: datetime,
        lane: str = "fresh",
        origin: str = "watch",
        process_data: Mapping[str, Mapping[str, str]] = NOTHING_GIVEN,
    ) -> int:
        """Queue files at rest; one that is already written down changes nothing.

        Args:
            arrivals: Files at rest.
            at: Now.
            lane: "urgent", "fresh" or "backlog".
            origin: "watch", "import" or "api".
            process_data: Relative path → column → value, where it came with the file.

        Returns:
            How many of them are news.
        """
        return self._take_in(
            arrivals, Intake(State.QUEUED, Lane[lane.upper()], origin, at, process_data)
        )

    def settle(self, arrivals: Iterable[ListedFile], *, at: datetime) -> int:
        """Write down files that are still being written, so that they show and are remembered."""
        return self._take_in(
            arrivals, Intake(State.SETTLING, Lane.FRESH, "watch", at, NOTHING_GIVEN)
        )

    def ignore(
        self, arrivals: Iterable[ListedFile], code: str, sentence: str, *, at: datetime
    ) -> int:
        """Write down files that are left alone on purpose, and why."""
        how = Intake(State.IGNORED, Lane.FRESH, "watch", at, NOTHING_GIVEN, code, sentence)
        return self._take_in(arrivals, how)

    def _take_in(self, arrivals: Iterable[ListedFile], how: Intake) -> int:
        listed = list(arrivals)
        return self._again(lambda session: files.take_in(session, self._whose, listed, how))

    def settling(self, source: str) -> set[str]:
        """Say the relative paths that were last seen still being written."""
        with reading(self._engine) as session:
            return files.settling(session, self._whose, source)

    def waiting(self, source: str, lane: str = "fresh", *, at_most: int) -> int:
        """Say how many of a source's files stand in a lane, counted no further than `at_most`."""
        with reading(self._engine) as session:
            number = int(Lane[lane.upper()])
            return file_status.waiting(session, self._whose, source, number, at_most=at_most)

    def gone(self, source: str, relatives: Iterable[str], *, at: datetime) -> None:
        """Write down that files are no longer listed; nothing is deleted or forgotten."""
        names = list(relatives)
        if names:
            with writing(self._engine) as session:
                files.gone(session, self._whose, source, names, at=at)

    # --- journal: what a worker says ---

    def claim(
        self, n: int, *, at: datetime, lease_s: float, only: Sequence[str] | None = None
    ) -> list[Claim]:
        """Take up to `n` due contents into this worker's hands; each attempt is counted.

        Args:
            n: How many at most.
            at: Now.
            lease_s: After this long (s) without `renew` another worker may take them over.
            only: Names of the sources this agent can reach; None: all of the site.
        """
        with writing(self._engine) as session:
            return work_queue.claim(session, self._whose, n, at=at, lease_s=lease_s, only=only)

    def renew(self, held: Iterable[Claim], *, at: datetime, lease_s: float) -> None:
        """Lengthen the leases of claims that still hold."""
        with writing(self._engine) as session:
            work_queue.renew(session, held, at=at, lease_s=lease_s)

    def take_back(self, *, at: datetime) -> int:
        """Queue again what this agent had in hand when it died; call it once, at the start."""
        with writing(self._engine) as session:
            return work_queue.take_back(session, self._whose, at=at)

    def hasten(self, source: str) -> None:
        """Let a source's waiting files go at once: the share they waited for is back."""
        with writing(self._engine) as session:
            work_queue.hasten(session, self._whose, source)

    def clock_set_back(self, by: timedelta, *, at: datetime) -> None:
        """Follow a clock that was set back, so that nothing is put off for longer than it was."""
        with writing(self._engine) as session:
            work_queue.set_back(session, self._whose, by, at=at)

    def identify(
        self,
        claim: Claim,
        sha256: str,
        *,
        at: datetime,
        is_there: Callable[[Path], bool] = deduplication.lies_there,
        names: Sequence[ClaimedPlace] = (),
        on_torn: Callable[[str], None] = lambda _: None,
    ) -> int | None:
        """Say whether a claimed content is already known; then the claim is over.

        Args:
            claim: What is in hand.
            sha256: Of the bytes that were read.
            at: Now.
            is_there: Says whether a file lies at a path.
            names: Orders and specimens that it names. Where it is a copy they are written in the
                same transaction, so that no kill in between forgets them.
            on_torn: Called with each micrograph that thereby belongs to no specimen any more.

        Returns:
            None: it is new, go on. Else the number of the content that has these bytes.
        """
        with reading(self._engine) as session:
            rivals = deduplication.rivals(session, claim, sha256)
        away = [place for place in rivals if deduplication.is_away(place, claim.path, is_there)]

        def ask(session: Session) -> int | None:
            content = work_queue.held(session, claim)
            if content is None:
                return claim.content_id  # another worker has it
            known = deduplication.identify(session, content, claim, sha256, at=at, away=away)
            if known is not None and known != claim.content_id and names:
                copies = [replace(one, origin="copy") for one in names]
                torn[:] = self.orders.claim_copy(
                    session, known, sha256, copies, claim.relative, at=at
                )
            return known

        torn: list[str] = []
        known = self._again(ask)
        for public_id in torn:
            on_torn(public_id)
        return known

    def finish(self, claim: Claim, findings: Sequence[Finding], *, at: datetime) -> bool:
        """Write every micrograph and result of a file, and `done`, in one transaction.

        Returns:
            False if nothing was written: another worker has it, or these bytes are known already.
        """
        sha256 = findings[0].crop_facts["sha256"] if findings else ""
        names = _names_of(claim, findings[0]) if findings else ()
        if findings and self.identify(claim, sha256, at=at, names=names) is not None:
            return False
        with writing(self._engine) as session:
            content = work_queue.held(session, claim)
            if content is None:
                return False
            for finding in findings:
                results.write(session, self._whose, content, claim.relative, finding, at=at)
            if content.id is not None and sha256:
                session.flush()
                self.orders.settle_copies(session, content.id, sha256, at=at)
            work_queue.done(content, at=at)
            session.add(content)
            return True

    def set_aside(
        self, claim: Claim, code: str, sentence: str, *, at: datetime, sha256: str | None = None
    ) -> bool:
        """Write down that a content is no use, and why; False if the claim no longer held."""
        with writing(self._engine) as session:
            return work_queue.set_aside(session, claim, code, sentence, at=at, sha256=sha256)

    def fail(self, claim: Claim, sentence: str, *, at: datetime) -> datetime | None:
        """Write down an unexpected crash of one file; when it is tried again, None: never."""
        with writing(self._engine) as session:
            return work_queue.fail(session, claim, sentence, at=at)

    def release(
        self, claim: Claim, *, at: datetime, retry_at: datetime, sentence: str | None = None
    ) -> bool:
        """Give a claim back uncounted: share, disk or database was at fault, not the file."""
        with writing(self._engine) as session:
            return work_queue.release(session, claim, sentence, retry_at=max(at, retry_at))

    def miss(self, claim: Claim, sentence: str, *, at: datetime, retry_at: datetime) -> bool | None:
        """Write down that a file was not there when it was to be read. See `claims.miss`."""
        with writing(self._engine) as session:
            return work_queue.miss(session, claim, sentence, at=at, retry_at=max(at, retry_at))

    # --- journal: what people ask ---

    def retry(self, which: Sequence[str] | None, *, at: datetime, by: str = "agent") -> int:
        """Queue again, by path, hash or number; None: everything failed or set aside."""
        with writing(self._engine) as session:
            count = file_status.retry(session, self._whose, which)
            if count:
                facts = {"which": list(which) if which is not None else "all", "count": count}
                self._remember(session, at=at, actor=by, act="files.retried", facts=facts)
            return count

    def files(
        self,
        state: str | Sequence[str] | None = None,
        source: str | None = None,
        *,
        code: str | None = None,
    ) -> Iterator[FileFate]:
        """Say what became of every content version of this site, oldest first."""
        states = [state] if isinstance(state, str) else state
        with reading(self._engine) as session:
            yield from file_status.files(
                session, self._whose, states=states, source=source, code=code
            )

    def counts(self) -> dict[str, int]:
        """Say state → how many content versions."""
        with reading(self._engine) as session:
            return file_status.counts(session, self._whose)

    # --- results ---

    def micrograph(self, public_id: str) -> MicrographView | None:
        """Say all about one micrograph, or None if there is none of this id."""
        with reading(self._engine) as session:
            return results.one(session, public_id)

    def add_result(self, public_id: str, finding: Finding, *, role: str, at: datetime) -> bool:
        """Write another answer about a known micrograph beside those that are there.

        Args:
            public_id: Of the micrograph.
            finding: The answer; its crop facts, process data and artefacts are not used.
            role: "live" becomes the current one; "shadow" and "reprocess" only stand beside it.
            at: Now.

        Returns:
            False if this bundle has said it before, by the same recipe.

        Raises:
            WrongUse: No such micrograph.
        """
        return self._again(
            lambda session: results.add(session, self._whose, public_id, finding, role=role, at=at)
        )

    def find(
        self,
        *,
        sha256: str | None = None,
        path: str | None = None,
        order: str | None = None,
        specimen: str | None = None,
        limit: int = 100,
    ) -> list[MicrographView]:
        """Say all about micrographs, the newest first.

        Args:
            sha256: Only those of this content.
            path: Only those of contents that ever had this path, whole or below their source.
            order: Only those of this order.
            specimen: Only those of specimens of this name.
            limit: No more than this many.
        """
        with reading(self._engine) as session:
            return results.found(
                session,
                self._whose,
                sha256=sha256,
                path=path,
                order=order,
                specimen=specimen,
                limit=limit,
            )

    def queue(
        self,
        *,
        reason: str | None = None,
        source: str | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> list[MicrographView]:
        """Say which micrographs wait for a person, the weightiest reason first."""
        with reading(self._engine) as session:
            return results.queue(
                session, self._whose, reason=reason, source=source, order=order, limit=limit
            )

    def queue_length(self) -> int:
        """Say how many micrographs wait for a person."""
        with reading(self._engine) as session:
            return results.queue_length(session, self._whose)

    def ask_again(
        self, public_ids: Sequence[str], reason: Reason, *, by: str, at: datetime
    ) -> None:
        """Put micrographs into the review queue for one more reason."""
        with writing(self._engine) as session:
            results.ask_again(session, self._whose, public_ids, reason)
            for public_id in public_ids:
                audit_log.append(
                    session,
                    self._whose.site_id,
                    at=at,
                    actor=by,
                    act="micrograph.asked_again",
                    subject=public_id,
                    facts={"reason": reason.value},
                )

    def waiting_until(self, until: datetime) -> tuple[int, datetime | None]:
        """Say how many of those done up to an instant wait for a person, and since when."""
        with reading(self._engine) as session:
            return results.waiting(session, self._whose, until=until)

    def between(self, after: datetime, until: datetime) -> list[MicrographView]:
        """Say what the watch brought and was done in (after, until], oldest first."""
        with reading(self._engine) as session:
            return results.between(session, self._whose, after, until)

    def late(self, until: datetime, *, after_id: int) -> list[MicrographView]:
        """Return what was done up to an instant and written after a result. See `results.late`."""
        with reading(self._engine) as session:
            return results.late(session, self._whose, until=until, after_id=after_id)

    def micrographs(self) -> Iterator[MicrographView]:
        """Say every micrograph of this site, oldest first."""
        with reading(self._engine) as session:
            yield from results.every(session, self._whose)

    def answers_of(self, bundle: str, *, since: datetime | None = None) -> Iterator[MicrographView]:
        """Say every micrograph that came since, or ever, with what one bundle said of it."""
        with reading(self._engine) as session:
            yield from results.by_bundle(session, self._whose, bundle, since)

    # --- labels ---

    def decide(
        self,
        public_id: str,
        decision: Decision,
        *,
        at: datetime,
        expected: int | Literal["any"] | None = "any",
    ) -> int:
        """Append what a person says of a micrograph; the label's number comes back.

        Args:
            public_id: Of the micrograph.
            decision: What is said.
            at: Now.
            expected: Number of the label that the person saw hold, None for none, "any" where
                the decision counts whatever holds.

        Raises:
            Overtaken: Another label holds than the expected one; nothing was written.
            WrongUse: No such micrograph, or the decision is incomplete.
        """
        with writing(self._engine) as session:
            return labels.decide(
                session, self._whose, public_id, decision, at=at, expected=expected
            )

    def find_decision(self, public_id: str, decision: Decision) -> int | None:
        """Return the number of the label that a decision of this id has already, or None.

        Raises:
            WrongUse: Another decision was sent under this id.
        """
        with reading(self._engine) as session:
            return labels.find_decision(session, public_id, decision)

    def describe(
        self, public_id: str, process_data: Mapping[str, str], *, by: str, at: datetime
    ) -> None:
        """Replace process data of an imported micrograph. See `descriptions.describe`."""
        with writing(self._engine) as session:
            descriptions.describe(session, self._whose, public_id, process_data, by=by, at=at)

    def doubt(self, public_id: str, *, label_id: int, sentence: str, by: str, at: datetime) -> bool:
        """Send a labelled micrograph back to review. See `labels.doubt`."""
        with writing(self._engine) as session:
            return labels.doubt(
                session,
                self._whose,
                public_id,
                label_id=label_id,
                sentence=sentence,
                by=by,
                at=at,
            )

    def undo(self, public_id: str, *, by: str, at: datetime) -> int:
        """Take the decision that holds back, by a row of its own.

        Raises:
            WrongUse: No such micrograph, or nothing to take back.
        """
        with writing(self._engine) as session:
            return labels.undo(session, self._whose, public_id, by=by, at=at)

    def blind_tally(self) -> tuple[int, int]:
        """Count control samples decided before the answer was seen, and how many equal it."""
        with reading(self._engine) as session:
            return labels.blind_tally(session, self._whose)

    def pairs(self) -> list[tuple[str, str, datetime]]:
        """Say the codes that two people gave to the same micrograph unseen, and when."""
        with reading(self._engine) as session:
            return labels.pairs(session, self._whose)

    def labelled(
        self, *, kinds: Sequence[str] = ("code",), origin: str | None = None
    ) -> list[LabelledMicrograph]:
        """Say every labelled micrograph with the label that holds."""
        with reading(self._engine) as session:
            return list(labels.labelled(session, self._whose, kinds=kinds, origin=origin))

    def find_labelled(self, public_id: str) -> LabelledMicrograph | None:
        """Return a micrograph with the label that holds, whatever its kind; None without one."""
        with reading(self._engine) as session:
            rows = labels.labelled(
                session, self._whose, kinds=labels.KINDS, origin=None, public_id=public_id
            )
            return next(rows, None)

    # --- bundles ---

    def promote(
        self, name: str, *, by: str, reason: str, at: datetime, metrics: Mapping[str, Any]
    ) -> None:
        """Make a bundle the current one: a person's act.

        Raises:
            WrongUse: Nobody is named, or no reason is given.
        """
        with writing(self._engine) as session:
            promotions.promote(
                session, self._whose, name, by=by, reason=reason, at=at, metrics=metrics
            )

    def sign(
        self,
        name: str,
        signature: Signature,
        *,
        metrics: Mapping[str, Any],
        promoters: int,
        instead_of: str | None,
    ) -> bool:
        """Sign for a bundle; True once enough people have, and it is at work.

        Raises:
            WrongUse: The same person signs twice, or another bundle than the one it was shown
                beside is at work by now.
        """
        with writing(self._engine) as session:
            return promotions.sign(
                session,
                self._whose,
                name,
                signature,
                metrics=metrics,
                promoters=promoters,
                instead_of=instead_of,
            )

    def proposals(self, name: str) -> list[Signature]:
        """Say who has signed for a bundle since one was last put to work, oldest first."""
        with reading(self._engine) as session:
            return promotions.proposals(session, self._whose, name)

    def current_bundle(self) -> str | None:
        """Say the current bundle's name, or None before the first promotion."""
        with reading(self._engine) as session:
            return promotions.current(session)

    def promotions(self) -> list[Promotion]:
        """Say every promotion, newest first."""
        with reading(self._engine) as session:
            return promotions.every(session)

    # --- nights ---

    def freeze_night(
        self, date: date, facts_json: str, *, at: datetime, revision: int = 1
    ) -> NightRow:
        """Keep a night's facts; a revision that is already there comes back as it is."""
        with writing(self._engine) as session:
            return nightly_reports.freeze(
                session, self._whose, date, facts_json, at=at, revision=revision
            )

    def night(self, date: date) -> NightRow | None:
        """Say a night's newest revision, or None if it was never written."""
        with reading(self._engine) as session:
            return nightly_reports.latest(session, self._whose, date)

    def nights(self) -> list[NightHead]:
        """Say every night's newest revision, newest night first."""
        with reading(self._engine) as session:
            return nightly_reports.every(session, self._whose)

    # --- sources, agents ---

    def sources_seen(self, health: Iterable[SourceHealth]) -> None:
        """Write down how each source was last seen."""
        said = list(health)
        self._again(lambda session: sources.seen(session, self._whose, said))

    def sources(self) -> list[SourceHealth]:
        """Say how each source of this site was last seen."""
        with reading(self._engine) as session:
            return sources.health(session, self._whose)

    def started(self, *, at: datetime) -> None:
        """Write down that this agent started."""
        with writing(self._engine) as session:
            sources.started(session, self._whose, at=at)

    def heartbeat(self, facts: Mapping[str, Any], *, at: datetime) -> None:
        """Write down that this agent lives, and what it says of itself."""
        with writing(self._engine) as session:
            sources.heartbeat(session, self._whose, facts, at=at)

    def agents(self) -> list[AgentSeen]:
        """Return every agent of this site that ever used this store."""
        with reading(self._engine) as session:
            return sources.agents(session)

    def over_all_sites(self) -> AllSites:
        """Return the one way past the site: questions about all of them; it writes nothing."""
        return AllSites(self._engine)

    def note_shares(self, shares: Collection[str]) -> None:
        """Write down what this site shares with others that share it too.

        Args:
            shares: "accounts", "bundles" or neither.
        """
        with reading(self._engine) as session:
            if sources.shared(session, self._whose) == frozenset(shares):
                return
        with writing(self._engine) as session:
            sources.note_shares(session, self._whose, shares)
            facts = {"shares": sorted(shares)}
            act = "site.shares_changed"
            self._remember(session, at=datetime.now(UTC), actor="agent", act=act, facts=facts)

    def unscoped_tables(self) -> list[str]:
        """Return the tables whose rows PostgreSQL does not hold apart by site; SQLite: none."""
        with engines.opening(self._engine), self._engine.connect() as connection:
            return site_policies.find_missing(connection)

    def is_exempt_from_policies(self) -> bool:
        """Return whether this user of PostgreSQL is bound by no policy, such as a superuser."""
        with engines.opening(self._engine), self._engine.connect() as connection:
            return site_policies.is_exempt(connection)

    @property
    def site_id(self) -> int:
        """The number of this site among those that share the database, the first is 1."""
        return self._whose.site_id

    # --- jobs ---

    def begin_job(
        self,
        name: str,
        *,
        at: datetime,
        due_at: datetime | None = None,
        facts: Mapping[str, Any] = NO_FACTS,
    ) -> int:
        """Write down that a long or scheduled piece of work began; its number comes back."""
        with writing(self._engine) as session:
            return jobs.begin(session, self._whose, name, at=at, due_at=due_at, facts=facts)

    def note_job(self, job_id: int, facts: Mapping[str, Any], *, at: datetime) -> str:
        """Write down how far a piece of work is; say who wants it to end, "" for nobody."""
        with writing(self._engine) as session:
            return jobs.note(session, job_id, facts, at=at)

    def cancel_jobs(self, name: str, *, by: str, at: datetime) -> int:
        """Ask every piece of work of a name that goes on to end; how many those are."""
        with writing(self._engine) as session:
            return jobs.cancel(session, self._whose, name, by=by, at=at)

    def end_job(
        self, job_id: int, outcome: str, *, at: datetime, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Write down how a piece of work ended."""
        with writing(self._engine) as session:
            jobs.end(session, job_id, outcome, facts or {}, at=at)

    def end_lost_jobs(self, name: str, *, at: datetime) -> None:
        """Write down that open pieces of work of a name ended: nobody does them any more."""
        with writing(self._engine) as session:
            jobs.end_lost(session, self._whose, name, at=at)

    def jobs_going_on(self, *, at: datetime) -> list[Job]:
        """Say what is being done now and has said how far it is, oldest first."""
        with reading(self._engine) as session:
            return jobs.going_on(session, self._whose, at=at)

    def ended_jobs(self, name: str) -> list[Job]:
        """Say every piece of work of a name that has ended, oldest first."""
        with reading(self._engine) as session:
            return jobs.ended(session, self._whose, name)

    def last_job(self, name: str) -> dict[str, Any]:
        """Say what the last piece of work of this name that ended left in its facts."""
        with reading(self._engine) as session:
            return jobs.last(session, self._whose, name)

    # --- upkeep ---

    def back_up(self, target: Path, *, progress: Callable[[int, int], None]) -> dict[str, int]:
        """Copy the whole database into a new file, as of one moment, while others work on.

        Returns:
            Table → rows in the copy.

        Raises:
            BadStore: It cannot be copied.
        """
        return backup.copy(self._engine, target, progress=progress)

    def count_rows(self) -> dict[str, int]:
        """Return table → rows of all sites, as a back-up holds them."""
        with engines.opening(self._engine), self._every.connect() as connection:
            return count_rows(connection)

    @property
    def site(self) -> str:
        """Name of the site that asks."""
        with reading(self._engine) as session:
            return sites.name_of(session, self._whose)

    def first_act(self) -> str:
        """Return the hash of the first act, by which the lab is known again; "" for no act."""
        with reading(self._engine) as session:
            return audit_log.first_sha256(session)

    @property
    def backup_name(self) -> str:
        """What a copy of this kind of database is called inside a backup."""
        return backup.copy_name(self._engine)

    def may_show(self, sha256: str) -> bool:
        """Return whether pixels of the archive, which sites may share, are of this site.

        With a shared bundle come the reference images of the site that taught it.
        """
        with reading(self._engine) as session:
            if "bundles" in sources.shared(session, self._whose):
                return True
            return retention.has_content(session, sha256)

    def kept(self, *, after: int = 0) -> Iterator[Kept]:
        """Say what is archived of every micrograph of this site, oldest first.

        Args:
            after: Number of the `Kept` to go on behind; 0 begins with the first.
        """
        with reading(self._engine) as session:
            yield from retention.kept(session, self._whose, after=after)

    def plan_retention(
        self, kind: str, *, before: datetime, statements_since: datetime
    ) -> RetentionPlan:
        """Return whose pixels may be deleted, and why others may not.

        Args:
            kind: "crops" or "originals".
            before: Only micrographs taken before this.
            statements_since: What a statement of this time or later names is evidence.

        What another site has too stays: the two may have one archive, and it is named by content.
        """
        with reading(self._engine) as session:
            plan = retention.plan_retention(
                session, self._whose, kind, before=before, statements_since=statements_since
            )
        with reading(self._every) as of_all:
            return retention.leave_elsewhere(of_all, self._whose, plan)

    def pruned(self, public_ids: Sequence[str], kind: str, *, at: datetime) -> None:
        """Write down that "crops" or "originals" of these micrographs were deleted."""
        with writing(self._engine) as session:
            retention.pruned(session, self._whose, public_ids, kind, at=at)

    def hold_order(
        self, number: str, *, hold: bool, by: str, at: datetime, reason: str = ""
    ) -> str:
        """Keep everything of an order from being pruned, or let it go again; its own spelling."""
        with writing(self._engine) as session:
            return retention.set_legal_hold(
                session, self._whose, number, hold=hold, by=by, at=at, reason=reason
            )

    def is_known_order(self, number: str) -> bool:
        """Return whether an order is known, or a micrograph names it, in any spelling."""
        with reading(self._engine) as session:
            return retention.is_known_order(session, self._whose, number)

    # --- trail ---

    def remember(
        self,
        *,
        at: datetime,
        actor: str,
        act: str,
        subject: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        """Add an act to the trail that has no table of its own, such as a changed setting."""
        with writing(self._engine) as session:
            self._remember(session, at=at, actor=actor, act=act, subject=subject, facts=facts)

    def note_settings(
        self, settings: Mapping[str, Any], *, at: datetime
    ) -> dict[str, tuple[Any, Any]]:
        """Write into the trail what was set differently at this agent's last start.

        Args:
            settings: Section → key → value, as JSON has it.
            at: Now.

        Returns:
            Setting → (before, now); empty if nothing changed.
        """
        with writing(self._engine) as session:
            return settings_history.note(session, self._whose, settings, at=at)

    def _again(self, act: Callable[[Session], T]) -> T:
        """Write; as often as another agent wrote the same row just now, look again and write."""
        return _again(self._engine, act)

    @property
    def _every(self) -> Engine:
        return site_scope.bind(self._engine, site_scope.EVERY_SITE)

    def _remember(self, session: Session, **said: Any) -> None:
        audit_log.append(session, self._whose.site_id, **said)

    def trail(self, act: str | None = None) -> Iterator[TrailEntry]:
        """Say every act, oldest first; `act` keeps those that begin with it."""
        with reading(self._engine) as session:
            yield from audit_log.entries(session, act=act)

    def trail_problems(self) -> list[str]:
        """Walk the trail of this site; say where it was changed or cut."""
        with reading(self._engine) as session:
            until, last = audit_log.find_ends(session)
        with reading(self._every) as of_all:
            common = audit_log.load_common(of_all, until)
        with reading(self._engine) as session:
            return audit_log.problems(session, common, last=last)

    def trail_head(self) -> TrailHead:
        """Return where the trail ends, to be kept outside the database."""
        with reading(self._engine) as session:
            return audit_log.head(session)

    def trail_hashes(self, numbers: Sequence[int]) -> dict[int, str]:
        """Return number → hash of the acts of these numbers that are there."""
        with reading(self._engine) as session:
            return audit_log.hashes(session, numbers)

    def seal_results(self, *, at: datetime) -> int:
        """Append a seal of results that none covers yet to the trail; how many those are."""
        with writing(self._engine) as session:
            return seals.seal(session, self._whose.site_id, at=at)

    def unreadable_values(self) -> list[str]:
        """Return a sentence per value that is not of its column's kind, as SQLite allows it."""
        with self._engine.connect() as connection:
            return list(find_unreadable(connection, self._whose.site_id))

    def examine_rows(self) -> RowChecks:
        """Compare every row of evidence with what the trail holds of it."""
        with reading(self._every) as of_all:
            covered = row_checks.find_covered(of_all)
        with reading(self._engine) as session:
            return row_checks.examine(session, covered)

    def take_as_own(self, folder: Path) -> None:
        """Mark this database as a data folder's own."""
        own_database.renew_mark(self._engine, folder)

    def acting_as(self, origin: Origin) -> Store:
        """Return the same store, each of whose acts keeps through what and by whom it came."""
        return Store(self._engine.execution_options(**{audit_log.ORIGIN: origin}), self._whose)


def _register(engine: Engine, site: str, agent: str) -> Whose:
    with reading(engine) as session:
        number = sources.find_site(session, site)
    bound = site_scope.bind(
        engine, number or _again(engine, lambda session: sources.add_site(session, site))
    )
    with reading(bound) as session:
        if found := sources.registered(session, site, agent):
            return found
    return _again(bound, lambda session: sources.register(session, site, agent))


def _again(engine: Engine, act: Callable[[Session], T]) -> T:
    """Write; as often as another agent wrote the same row just now, look again and write."""
    for _ in range(TIMES - 1):
        try:
            with writing(engine) as session:
                return act(session)
        except IntegrityError:
            continue
    with writing(engine) as session:
        return act(session)


def _names_of(claim: Claim, finding: Finding) -> tuple[ClaimedPlace, ...]:
    """Return every order that a file names, as claims of a copy."""
    told = finding.process_data
    own = ClaimedPlace(told.get("order", ""), told.get("specimen", ""), "path", claim.relative)
    return () if claim.origin == "import" else (own, *finding.claims)
