"""Statements that are frozen by hand."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from sqlalchemy import create_engine, text

from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.statements.freezing import freeze_orders
from agent.orders.statements.statement_document import Issuer
from agent.orders.statements.statement_files import Unsigned, write_files
from agent.store import Decision
from agent.store.evidence import guards
from labs.lab import DAY, RING_A, TAXONOMY

ISSUER = Issuer("Plant 1", "Europe/Berlin", bundle=lambda name: {"sha256": f"of {name}"})

RULES = OrderPolicy(Specifications((RING_A,)), TAXONOMY, zone="Europe/Berlin")


def take(lab, field="1", code="G8", *, order="4711", at=DAY, **more):
    keys = {"order": order, "specimen": "1", "field": field, "material": "100Cr6"}
    return lab.take(code, at=at, **(keys | more))


def label(lab, public_id, code="G8", *, by="Ada", at=DAY):
    lab.store.labels.decide(public_id, Decision("code", by, code=code, comment="looked"), at=at)


def freeze(lab, *numbers, rules=RULES, at=DAY):
    return freeze_orders(lab.store, rules, ISSUER, numbers or ("4711",), now=at)


def stated(lab, number="4711"):
    return [statement.conformity for statement in lab.store.statements.all(number)]


def newest(lab, number="4711"):
    return lab.store.statements.document(lab.store.statements.all(number)[-1].sha256)


def alter(lab, sql, **values):
    """Change the database as somebody would who has the file."""
    engine = create_engine(f"sqlite:///{lab.folder / 'martensight.db'}")
    with engine.begin() as connection:
        guards.remove(connection)
        connection.execute(text(sql), values)
        guards.lay(connection)
    engine.dispose()


NOW = DAY + timedelta(hours=1)


def write(lab, *, signer=None, language="en"):
    return [
        one
        for one in lab.store.statements.lacking("pdf", 20)
        if write_files(
            lab.store,
            lab.archive,
            one,
            language=language,
            signer=signer or Unsigned(),
            now=NOW,
        )
    ]


PIXELS = np.random.default_rng(1).integers(60, 200, (600, 800, 3), dtype=np.uint8)
