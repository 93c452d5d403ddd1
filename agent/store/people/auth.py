"""Roles and their rights, and hashes of passwords and tokens.

A stolen database reveals none of them. Nothing here touches the database.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from agent.errors import AgentError, UsageError

ROLES = ("viewer", "reviewer", "lead", "admin")
"""Each has the rights of those before it: read; decide; release; manage accounts."""

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_NAME = 80
EASIEST_GUESSES = 1e8
"""A password has to withstand so many guesses, as zxcvbn estimates them (its score 3)."""
LONGEST_JUDGED = 72
FREE_FAILURES, FURTHER_FAILURES = 5, 2
LONGEST_LOCK = timedelta(hours=1)
FORGIVEN_EVERY = timedelta(minutes=15)
HASHES_AT_ONCE, HASHES_WAITING = 2, 6
"""One takes 64 MB and a tenth of a second of a processor."""

PASSWORD_HASHER = PasswordHasher()  # argon2id, the library's parameters (RFC 9106, low memory)


def may(role: str, needed: str) -> bool:
    """Return whether a role includes the rights of another; no role includes an unknown one."""
    return {role, needed} <= {*ROLES} and ROLES.index(role) >= ROLES.index(needed)


def require_name(name: str) -> str:
    """Return a name as it is stored.

    Raises:
        UsageError: It is empty, too long, or cannot be shown.
    """
    kept = spelled(name)
    if not kept or len(kept) > LONGEST_NAME or not kept.isprintable():
        raise UsageError(f"a name has 1 to {LONGEST_NAME} letters that can be shown; got {name!r}.")
    return kept


def spelled(name: str) -> str:
    """Return a name in its one spelling: compatible forms of a letter are one, blanks too."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def require_role(role: str) -> str:
    """Return the role. Raises `UsageError` where there is none of that name."""
    if role not in ROLES:
        raise UsageError(f"no role is called {role!r}; there are {', '.join(ROLES)}.")
    return role


def hash_password(password: str, *, name: str = "") -> str:
    """Hash a password with argon2id.

    Raises:
        UsageError: It is too short, too long, easy to guess, or part of the name.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsageError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} letters.")
    if name and password.casefold() in name.casefold():
        raise UsageError("a password must not be part of the name.")
    if _guesses(password, name) < EASIEST_GUESSES:
        raise UsageError(
            "This password is too easy to guess. Use several unrelated words, or a longer password."
        )
    return PASSWORD_HASHER.hash(password)


def _guesses(password: str, name: str) -> float:
    from zxcvbn import zxcvbn  # noqa: PLC0415 - its lists take memory, and few processes need them

    known = [*name.split(), "martensight", "martensite"]
    return float(zxcvbn(password[:LONGEST_JUDGED], user_inputs=known)["guesses"])


def is_password(hashed: str | None, password: str) -> bool:
    """Return whether a password is the right one.

    Args:
        hashed: Of the account; None where there is none. It takes as long, so that the time
            does not reveal which accounts exist.
        password: As it was typed.
    """
    try:
        fits = PASSWORD_HASHER.verify(
            hashed or build_hash_of_nobody(), password[: LONGEST_PASSWORD + 1]
        )
    except (VerificationError, InvalidHashError):
        return False
    return fits and hashed is not None


def build_hash_of_nobody() -> str:
    """Return a hash of no password, which takes as long to compare as an account's."""
    hasher = PASSWORD_HASHER
    salt, digest = (
        b64encode(secrets.token_bytes(count)).decode().rstrip("=")
        for count in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


def make_token() -> str:
    """Return a new token of 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Hash a token; it is random and long, so that no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class PasswordCheckBusyError(AgentError):
    """The limit of password checks at once, and of those that wait, is reached."""


class PasswordCheck:
    """Check passwords, few at once: each takes much memory. Thread-safe.

    Args:
        at_once: How many are hashed at once.
        waiting: How many more may wait for their turn.
    """

    def __init__(self, at_once: int = HASHES_AT_ONCE, waiting: int = HASHES_WAITING) -> None:
        self._turns = threading.Semaphore(at_once)
        self._places = threading.Semaphore(at_once + waiting)

    def is_password(self, hashed: str | None, password: str) -> bool:
        """Return whether a password is the right one; as the function of this name.

        Raises:
            UploadsBusyError: Too many wait for their turn.
        """
        if not self._places.acquire(blocking=False):
            raise PasswordCheckBusyError(
                "too many passwords are being checked; try again in a moment"
            )
        try:
            with self._turns:
                return is_password(hashed, password)
        finally:
            self._places.release()


@dataclass(frozen=True, slots=True)
class AttemptCounter:
    """Count of wrong passwords in a row, and the end of the lock that follows from it.

    Five are free; then a minute, doubled with every two further ones, an hour at most. Every
    quarter of an hour without a try forgives half: a wrong password an hour locks no account.

    Args:
        failures: Tries since the last right one, less those forgiven.
        until: End of the last lock, or the last try; None before any.
    """

    failures: int = 0
    until: datetime | None = None

    def is_locked(self, at: datetime) -> bool:
        """Return whether no password is tried at a time."""
        return self.until is not None and self.until > at

    def counted(self, at: datetime) -> AttemptCounter:
        """Return the tally with one more try, which counts as wrong until it proves right."""
        quarters = int((at - self.until) / FORGIVEN_EVERY) if self.until else 0
        failures = 1 + (self.failures >> min(max(quarters, 0), self.failures))
        return AttemptCounter(failures, at + lock_after(failures))


def lock_after(failures: int) -> timedelta:
    """Return for how long no further password is tried, after so many wrong ones in a row."""
    further, odd = divmod(failures - FREE_FAILURES, FURTHER_FAILURES)
    if further < 0 or odd:
        return timedelta(0)
    return min(LONGEST_LOCK, timedelta(minutes=2 ** min(further, 10)))
