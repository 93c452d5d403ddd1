"""Answer with a page, or with an error in the frame of one; request the reviewer's name first.

Middleware refuses with one plain sentence, which programs read; a browser gets it as a page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi import Request
from fastapi.responses import HTMLResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.web import cookies
from agent.web.context import WebContext
from agent.web.cookies import find_page_before
from reports import gettext as _
from reports import marked, render

LONGEST_PART, MOST_NAMED = 40, 5


def render_page(
    web: WebContext,
    request: Request,
    template: str,
    code: int = 200,
    parts: Collection[str] = (),
    /,
    **facts: object,
) -> HTMLResponse:
    """Return a page as an answer.

    Args:
        web: Whose site it is.
        request: Its reader is named at the top.
        template: Name of the template in `reports`.
        code: HTTP status.
        parts: What its address may have; () where nothing is looked at.
        facts: What the template shows.
    """
    shared = {
        "site": web.site,
        "zone": web.zone,
        "reviewer": cookies.name_of(request),
        "passed_over": describe_unknown(request, parts) if parts else "",
    }
    return HTMLResponse(render(template, **shared | facts), code)


def describe_unknown(request: Request, known: Collection[str]) -> str:
    """Return which parts of an address a page does not know, "" for none.

    Args:
        request: Of the page.
        known: The parts that it knows.
    """
    unknown = list(dict.fromkeys(name for name in request.query_params if name not in known))
    text = _("This page does not know {names} in its address; it knows {known}.")
    names = ", ".join(f"“{name[:LONGEST_PART]}”" for name in unknown[:MOST_NAMED])
    return text.format(names=names, known=", ".join(known)) if unknown else ""


def request_name(
    web: WebContext,
    request: Request,
    who: str,
    action: str,
    fields: Iterable[tuple[str, str]],
    *,
    then: str = "",
) -> HTMLResponse | None:
    """Return the page that requests the reviewer's name, None where the name is good.

    Args:
        web: Whose site it is.
        request: That needs a name.
        who: The name as entered, "" for none.
        action: Where the name is sent.
        fields: What is sent with it.
        then: Where to go afterwards.
    """
    wrong = cookies.wrong_name(who)
    if not wrong:
        return None
    facts = {"reviewer": who, "then": then, "action": action, "wrong": wrong if who else ""}
    return render_page(web, request, "name", 422, fields=fields, **facts)


TITLES = {
    400: marked("That cannot be read"),
    403: marked("Not allowed"),
    404: marked("Not here"),
    405: marked("Not possible here"),
    413: marked("Too large"),
    421: marked("Not here"),
    429: marked("Too many requests"),
    500: marked("Something went wrong"),
    503: marked("Not available now"),
}
FAULT = marked(
    "The agent could not build this page; what you entered before is kept. The log has the reason. "
    "Go back and try again."
)
WRONG_METHOD = marked("This address does not answer to such a request. Go back and try again.")
FIRST_ERROR = 400
LONGEST_BYTES = 4000


class ErrorPages:
    """Middleware that shows a plain error in the frame of a page, where a browser asked.

    Args:
        app: The application behind it.
        site: Name of the site.
    """

    def __init__(self, app: ASGIApp, site: str) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Framed(self._site, Request(scope), send))


class _Framed:
    """One answer: what is no plain error passes as it is."""

    def __init__(self, site: str, request: Request, send: Send) -> None:
        self._site, self._request, self._send = site, request, send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_plain_error(message):
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")[:LONGEST_BYTES]
        if message.get("more_body", False):
            return
        sentence = self._body.decode("utf-8", "replace").strip()
        code = self._start["status"]
        who = cookies.name_of(self._request)
        page = render_error(self._site, self._request, code, _(sentence), reviewer=who).encode()
        headers = MutableHeaders(scope=self._start)
        headers["content-type"] = "text/html; charset=utf-8"
        headers["content-length"] = str(len(page))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": page})


def _is_plain_error(start: Message) -> bool:
    kind = Headers(scope=start).get("content-type", "")
    return start["status"] >= FIRST_ERROR and kind.startswith("text/plain")


def render_error(
    site: str, request: Request, code: int, sentence: str, *, title: str = "", reviewer: str = ""
) -> str:
    """Return an error as a page with a way back.

    Args:
        site: Name of the site.
        request: That was refused.
        code: HTTP status.
        sentence: What is wrong, translated.
        title: Of the page, translated; "" for that of the status.
        reviewer: Who reads the page, "" where it is not known.
    """
    before = find_page_before(request)
    here = request.scope["path"]
    back = before if before and before.partition("?")[0] != here else ""
    return render(
        "message",
        site=site,
        reviewer=reviewer,
        title=title or _(TITLES.get(code, TITLES[500])),
        sentence=sentence,
        back=back,
    )
