"""Authenticate each request, and refuse what the role of its sender does not permit.

As long as a lab has no accounts, each user of this PC may do everything and enters their name.
With the first account, all users have to log in.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.site_time import compute_age
from agent.store import (
    Accounts,
    Origin,
    StoreFaultError,
    acting_through,
    is_own_name,
    signed_by_program,
)
from agent.store.people import auth
from agent.web.access import OPEN, find_needed_role
from agent.web.context import LONGEST_NAME
from reports import addressing, marked
from reports import gettext as _

COOKIE = "session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LONGEST_LOGIN = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
TRIES_PER_ADDRESS, TRIES_WITHIN = 20, timedelta(minutes=10)
MOST_TALLIES = 10_000
IPV4, IPV6_NETWORK_BITS = 4, 64

ROLE = marked("This needs the role {needed}; yours is {role}.")
BY_API = marked("A program changes something through the API alone.")
NO_ORIGIN = marked("The browser did not send where the request comes from.")
UNREACHABLE = marked("The database does not answer.")
BY_ITSELF = re.compile(r"/(events|today)")
"""Addresses that an open page requests without its reader: they keep no one logged in."""


@dataclass(frozen=True, slots=True)
class Who:
    """An authenticated user or program.

    Args:
        name: Name of the account.
        role: Role of the account.
        is_program: It authenticated with a token.
    """

    name: str
    role: str
    is_program: bool = False

    def may(self, needed: str) -> bool:
        """Return whether this role includes another one."""
        return auth.may(self.role, needed)

    @property
    def signature(self) -> str:
        """The one name under which its acts are recorded; of a program, that it is one."""
        return signed_by_program(self.name, self.name) if self.is_program else self.name


def who_is(request: Request) -> Who | None:
    """Return who sent a request; None where the lab has no accounts, or without a log-in."""
    return getattr(request.state, "who", None)


def signing_name(request: Request, name: str) -> str:
    """Return the name under which a program's request is recorded.

    Args:
        request: From a program or a browser.
        name: Whom the request names; for a program, its own name is added.

    Raises:
        HTTPException: The name is too long, cannot be shown or is the program's own (422), or is
            not the account's that is logged in (403).
    """
    who, name = who_is(request), name.strip()
    if not name.isprintable() or is_own_name(name):
        raise HTTPException(422, f"{name!r} is no name of a person")
    if who is None:
        return name
    if who.is_program:
        signed = signed_by_program(name, who.name)
        if len(signed) > LONGEST_NAME:
            raise HTTPException(
                422, f"a name has at most {LONGEST_NAME} letters, with the program's: {signed!r}"
            )
        return signed
    if name != who.name:
        raise HTTPException(403, f"you are logged in as {who.name}, not as {name}")
    return who.name


def may_decide(request: Request) -> bool:
    """Return whether a request may record a decision."""
    who = who_is(request)
    return who is None or who.may("reviewer")


def may_lead(request: Request) -> bool:
    """Return whether a request may do what is left to leads; without accounts anyone may."""
    who = who_is(request)
    return who is None or who.may("lead")


class AuthenticationMiddleware:
    """Middleware that authenticates each request before it is answered.

    Args:
        app: The application behind it.
        known: The accounts.
        now: Returns the time, aware UTC.
        idle: A browser that sent nothing for longer has to log in again.
    """

    def __init__(
        self, app: ASGIApp, known: Accounts, now: Callable[[], datetime], idle: timedelta
    ) -> None:
        self._app, self._known, self._now, self._idle = app, known, now, idle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it with the reason."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            who, refusal = await run_in_threadpool(self._ask, request)
        except StoreFaultError:
            who, refusal = None, _said(request, 503, _(UNREACHABLE))
        scope.setdefault("state", {})["who"] = who
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        name = who.name if who and not who.is_program else ""
        with acting_through(origin_of(request, who)), addressing(name):
            await self._app(scope, receive, send)

    def _ask(self, request: Request) -> tuple[Who | None, Response | None]:
        role = find_needed_role(request.scope)
        if not self._known.are_there():
            return None, None
        who = self._who(request)
        if role == OPEN:
            return who, None
        if who is None:
            return None, _to_login(request)
        if sentence := _find_refusal(request, who, role):
            return who, _said(request, 403, sentence)
        return who, None

    def _who(self, request: Request) -> Who | None:
        shown = request.headers.get("authorization", "")
        if shown.lower().startswith("bearer "):
            account = self._known.program(auth.hash_token(shown[7:].strip()))
            if account is None or account.disabled_at is not None:
                return None
            return Who(account.name, account.role, is_program=True)
        cookie = request.cookies.get(COOKIE, "")
        is_used = BY_ITSELF.fullmatch(request.scope["path"]) is None
        return self._logged_in(auth.hash_token(cookie), is_used=is_used) if cookie else None

    def _logged_in(self, cookie: str, *, is_used: bool) -> Who | None:
        logged_in, now = self._known.logged_in(cookie), self._now()
        if logged_in is None:
            return None
        login, account = logged_in
        ages = compute_age(login.began_at, now), compute_age(login.seen_at, now)
        too_old = any(
            age is None or age > limit
            for age, limit in zip(ages, (LONGEST_LOGIN, self._idle), strict=True)
        )
        if too_old or account.disabled_at is not None:
            self._known.end(cookie, at=now)
            return None
        if is_used and now - login.seen_at > SEEN_EVERY:
            self._known.seen(cookie, at=now)
        return Who(account.name, account.role)


def is_api(request: Request) -> bool:
    """Return whether a request is for programs, by its path alone."""
    return str(request.scope["path"]).startswith("/api/")


def _find_refusal(request: Request, who: Who, needed: str) -> str:
    """Return why a request of somebody known is refused, "" where it is answered."""
    if not who.may(needed):
        return _(ROLE).format(needed=needed, role=who.role)
    if not who.is_program:
        return "" if says_from_where(request) else _(NO_ORIGIN)
    return "" if request.method in SAFE_METHODS or is_api(request) else _(BY_API)


def origin_of(request: Request, who: Who | None) -> Origin:
    """Return what each act of a request records: its channel, the proven account and the address.

    Where the lab has no accounts, no identity is proven; the address of the PC is recorded all the
    same.
    """
    kind = "api" if is_api(request) else "web"
    address = request.client.host if request.client else ""
    if who is None:
        return Origin(kind, address=address)
    proof = "token" if who.is_program else "password"
    return Origin(kind, account=who.name, proof=proof, address=address)


def says_from_where(request: Request) -> bool:
    """Return whether a request changes nothing, or has a header that names the page of origin."""
    # The guard checks this header; a cookie without it must not change anything.
    told = ("origin", "sec-fetch-site")
    return request.method in SAFE_METHODS or any(name in request.headers for name in told)


def _to_login(request: Request) -> Response:
    if is_api(request) or request.scope["path"] == "/metrics":
        said = {"detail": "log in, or send a token: agent users add --program makes one"}
        return JSONResponse(said, 401, headers={"WWW-Authenticate": "Bearer"})
    path = request.scope["path"]
    if request.method not in SAFE_METHODS:
        path = path.removesuffix("/decide").removesuffix("/undo")  # the page it was sent from
    elif request.url.query:
        path += f"?{request.url.query}"
    return RedirectResponse(f"/login?then={quote(path, safe='')}", 303)


def _said(request: Request, code: int, sentence: str) -> Response:
    if is_api(request):
        return JSONResponse({"detail": sentence}, code)
    return Response(f"{sentence}\n", code, media_type="text/plain")


class Tries:
    """Wrong passwords per address, so that one PC cannot try many names. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[str, deque[datetime]] = {}

    def take(self, address: str, *, at: datetime) -> bool:
        """Count a try before its password is checked.

        Args:
            address: Address of the PC.
            at: When, aware UTC.

        Returns:
            Whether the address had a try left.
        """
        with self._lock:
            self._forget(at)
            tries = self._wrong.setdefault(_network(address), deque())
            if len(tries) >= TRIES_PER_ADDRESS:
                return False
            tries.append(at)
            return True

    def give_back(self, address: str) -> None:
        """Remove one try: its password was right, or was not checked."""
        with self._lock:
            if tries := self._wrong.get(_network(address)):
                tries.pop()

    def _forget(self, at: datetime) -> None:
        for address, times in list(self._wrong.items()):
            while times and at - times[0] > TRIES_WITHIN:
                times.popleft()
            if not times:
                del self._wrong[address]


def _network(address: str) -> str:
    """Return what counts as one PC: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == IPV4 or parsed.is_loopback:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


class Tallies:
    """Wrong passwords per name or browser where no account counts them. Thread-safe.

    An unknown name is locked like a known one, so that a lock does not reveal which names exist.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, auth.AttemptCounter] = {}

    def take(self, key: str, *, at: datetime) -> datetime | None:
        """Count a try.

        Args:
            key: Name or hash of the browser.
            at: When, aware UTC.

        Returns:
            Until when no try is allowed; None where this one is allowed.
        """
        with self._lock:
            tally = self._kept.pop(key, auth.AttemptCounter())
            locked = tally.is_locked(at)
            self._kept[key] = tally if locked else tally.counted(at)  # the newest is last
            if len(self._kept) > MOST_TALLIES:
                del self._kept[next(iter(self._kept))]
            return tally.until if locked else None

    def clear(self, key: str) -> None:
        """Remove the counter of a key: the password was right."""
        with self._lock:
            self._kept.pop(key, None)
