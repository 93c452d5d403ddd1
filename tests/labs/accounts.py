"""People who may log in to the pages, at a time that a test sets."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.store.people import auth

AT = datetime(2026, 11, 25, 7, 0, tzinfo=UTC)

PASSWORD = "a quite long pass phrase"  # noqa: S105 - of a test's account


class Clock:
    def __init__(self):
        self.at = AT

    def __call__(self):
        return self.at


def let_in(lab, name, role):
    hashed = auth.hash_password(PASSWORD, name=name)
    lab.store.accounts.add(name, kind="person", role=role, hashed=hashed, by="shell", at=AT)
