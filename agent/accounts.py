"""Say what each role may do, and make passwords and tokens that a stolen database gives away not.

In:  names, passwords, roles. Out: hashes, and yes or no. Next: `store.accounts` keeps them, `web`
and `agent users` ask. Nothing here touches the database.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from agent.errors import WrongUse

if TYPE_CHECKING:
    from datetime import datetime

ROLES = ("viewer", "reviewer", "lead", "admin")
"""Each may do what those before it may: look; decide; release; let people in."""

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_NAME = 80
FREE_FAILURES = 5
LONGEST_LOCK = timedelta(hours=1)

_HASHER = PasswordHasher()  # argon2id, the library's parameters (RFC 9106, low memory)
_NOBODYS = _HASHER.hash(secrets.token_hex())


def may(role: str, needed: str) -> bool:
    """Say whether a role may do what needs another one; an unknown role may do nothing."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def checked_name(name: str) -> str:
    """Give a name as it is kept.

    Raises:
        WrongUse: It is empty, too long, or cannot be shown.
    """
    kept = " ".join(name.split())
    if not kept or len(kept) > LONGEST_NAME or not kept.isprintable():
        raise WrongUse(f"a name has 1 to {LONGEST_NAME} letters that can be shown; got {name!r}.")
    return kept


def checked_role(role: str) -> str:
    """Give a role back. Raises `WrongUse` where there is none of that name."""
    if role not in ROLES:
        raise WrongUse(f"no role is called {role!r}; there are {', '.join(ROLES)}.")
    return role


def hash_password(password: str, *, name: str = "") -> str:
    """Hash a password with argon2id.

    Raises:
        WrongUse: It is too short, too long, or the name itself.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise WrongUse(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} letters.")
    if name and password.casefold() in name.casefold():
        raise WrongUse("a password must not be part of the name.")
    return _HASHER.hash(password)


def is_password(hashed: str | None, password: str) -> bool:
    """Say whether a password is the right one.

    Args:
        hashed: Of the account; None where there is none. It takes as long, so that the time
            does not tell who has an account.
        password: As it was typed.
    """
    try:
        fits = _HASHER.verify(hashed or _NOBODYS, password[: LONGEST_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return False
    return fits and hashed is not None


def new_token() -> str:
    """Make a token: 256 bits that nobody can guess."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Hash a token; it is random and long, so that no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def locked_until(failures: int, at: datetime) -> datetime | None:
    """Say until when no further password is tried, after so many wrong ones in a row.

    Five are free; then a minute, doubled with each further one, an hour at most.
    """
    if failures < FREE_FAILURES:
        return None
    doublings = min(failures - FREE_FAILURES, 10)
    return at + min(LONGEST_LOCK, timedelta(minutes=2**doublings))
