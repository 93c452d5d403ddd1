"""Freeze statements where an order changes: after each act at once, and in rounds.

A writer into the audit log (service, page, command) freezes afterwards what the act changed.
Results and files write none, so the service searches for them every few seconds; a round of
`jobs.outbound` finds what is left. A fault here never undoes the act: the next round freezes what
is missing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from agent.archive import Archive
from agent.errors import AgentError
from agent.objects import ObjectsUnavailableError
from agent.orders.facts.order_policy import load_policy, taxonomy_in_force
from agent.orders.instruments.instrument_holds import load_holds
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import Position, begin, list_touched
from agent.orders.statements.freezing import freeze_orders
from agent.orders.statements.statement_document import Issuer
from agent.orders.statements.statement_files import PDF, Signer, find_signer, write_files
from agent.service.copies import keep_end, lacks_kept_end, record_older
from agent.service.data_folder import bundles_folder, clock
from agent.settings import Settings
from agent.site_time import compute_age
from agent.store import FrozenStatement, Store, StoreFaultError
from model import ModelError

log = structlog.get_logger()

STATEMENTS_EVERY_S = 2.0
PER_ROUND = 20
"""Statements whose files are written in a round, about 10 s of processor time."""
MOST_AFTER_AN_ACT = 100
"""Orders that are examined before an act returns, about 1 s; the service examines the rest."""
PATIENCE_S = 5.0
LOOKED_AT_AGAIN = timedelta(minutes=1)
"""So often the certificate is opened where nothing is to be signed."""


def make_lab(settings: Settings, store: Store, *, now: datetime) -> OrderPolicy:
    """Read what the lab has laid down for its orders. Raises `SpecificationError`."""
    taxonomy = taxonomy_in_force(settings, store)
    return load_policy(settings, store, taxonomy, now=now, held=load_holds(settings, store))


def make_issuer(settings: Settings) -> Issuer:
    """Return the site and software that issue statements."""
    folder = bundles_folder(settings)

    def describe(name: str) -> dict[str, Any]:
        try:
            text = (folder / name / "bundle.json").read_bytes()
            manifest = json.loads(text)
        except (OSError, ValueError):
            return {}
        known = {key: manifest.get(key) for key in ("created_at", "recipe", "scheme")}
        return {"sha256": hashlib.sha256(text).hexdigest(), **known}

    return Issuer(settings.site.name, settings.site.time_zone, bundle=describe)


class StatementKeeper:
    """Freezes what was touched since it was made, or since its last call.

    Args:
        settings: Of the lab.
        store: Open.
        now: Returns the time, aware UTC.
        position: Where the last round ended, None: changes from now on.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime] = clock,
        position: Position | None = None,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._position = position or begin(store)
        self._lock = threading.RLock()
        self._is_freezing = False
        self._unsigned = ""
        self._filed = -1
        self._broken: set[str] = set()
        self._seen_at: datetime | None = None

    def listen(self) -> None:
        """Freeze after each act of the store from now on."""
        self._store.after_each_act(self.after_act)

    def tend(self) -> str:
        """Freeze what was touched, write files that are missing; why PDFs stay unsigned, or ""."""
        self.freeze_touched()
        newest, now = self._store.statements.newest_id(), self._now()
        age = compute_age(self._seen_at, now) if self._seen_at else None
        if newest == self._filed and age is not None and age < LOOKED_AT_AGAIN:
            return self._unsigned
        signer = find_signer(self._settings.statements, now=now)
        if signer.note and signer.note != self._unsigned:
            log.warning("statements.unsigned", reason=signer.note)
        self._seen_at, self._unsigned = now, signer.note
        if newest != self._filed and self._write_files(signer):
            self._filed = newest
        return signer.note

    def finish(self) -> str:
        """Freeze what was touched and write every file that is missing; see `tend`.

        What waits for an object storage that is away is written by the next call.
        """
        try:
            note = self.tend()
            while self._filed != self._store.statements.newest_id():
                note = self.tend()
        except ObjectsUnavailableError as error:
            return f"files of statements: {error}"
        return note

    def _write_files(self, signer: Signer) -> bool:
        """Write a batch of files; whether none is missing any more.

        A statement that no page can be made of is logged once; its document is frozen all the same.
        One whose pictures are only in an object storage that is away waits, and no other does.
        """
        away: ObjectsUnavailableError | None = None
        most = PER_ROUND + len(self._broken)
        lacking = self._store.statements.lacking(PDF, most)
        for statement in lacking:
            if statement.sha256 in self._broken:
                continue
            try:
                self._write(statement, signer)
            except ObjectsUnavailableError as error:
                away = error
            except (StoreFaultError, OSError):
                raise  # database or disk: the next round writes it
            except Exception:
                self._broken.add(statement.sha256)
                log.exception(
                    "statement.unwritable", order=statement.order, sha256=statement.sha256
                )
        if away:
            raise away
        return len(lacking) < most

    def _write(self, statement: FrozenStatement, signer: Signer) -> None:
        is_mine = write_files(
            self._store,
            Archive.open(self._settings),
            statement,
            language=self._settings.report.language,
            signer=signer,
            now=self._now(),
        )
        if is_mine:
            log.info(
                "statement.written",
                order=statement.order,
                number=statement.number,
                sha256=statement.sha256,
                signed=bool(signer.subject),
            )

    def freeze_touched(self, *, most: int | None = None, patience_s: float = -1) -> list[str]:
        """Freeze a statement of each order that was touched.

        Args:
            most: Examine at most so many orders and leave the rest to the next call.
            patience_s: Wait so long for another thread that freezes, then leave it to the next
                call; -1: for ever.

        Returns:
            The hashes of new statements.
        """
        if not self._lock.acquire(timeout=patience_s):
            return []
        try:
            if self._is_freezing:  # an act of freezing itself, such as a noted specification
                return []
            self._is_freezing = True
            try:
                return self._freeze(most)
            finally:
                self._is_freezing = False
        finally:
            self._lock.release()

    def _freeze(self, most: int | None) -> list[str]:
        now = self._now()
        lab: list[OrderPolicy] = []

        def get_lab() -> OrderPolicy:
            if not lab:
                lab.append(make_lab(self._settings, self._store, now=now))
            return lab[0]

        numbers, position = list_touched(self._store, get_lab, position=self._position, now=now)
        frozen = []
        if numbers:
            issuer = make_issuer(self._settings)
            frozen = freeze_orders(self._store, get_lab(), issuer, numbers[:most], now=now)
        if most is None or len(numbers) <= most:
            self._position = position
        return frozen

    def after_act(self) -> None:
        """Freeze what an act touched, so that no later act precedes its statement.

        Then the end of the audit log is noted next to the database. One that is noted and missing
        is recorded first, so that no statement rests on a database that lost acts.
        """
        try:
            if lacks_kept_end(self._settings, self._store):
                record_older(self._settings, self._store, now=self._now())
            self.freeze_touched(most=MOST_AFTER_AN_ACT, patience_s=PATIENCE_S)
            keep_end(self._settings, self._store, now=self._now())
        except (AgentError, ModelError, StoreFaultError, OSError) as fault:
            log.warning("statement.delayed", reason=str(fault))
        except Exception:
            log.exception("statement.delayed")
