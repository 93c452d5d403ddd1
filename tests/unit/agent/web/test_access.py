"""Every route has a declared role, and answers no one who lacks it, of this site or another."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, Lab, web_of
from starlette.responses import PlainTextResponse

from agent.store import Store
from agent.store.people import auth
from agent.web import create_app
from agent.web.access import DECLARED, NEEDED, OPEN, UNDECLARED, find_needed_role, iter_routes
from agent.web.authentication import COOKIE, AuthenticationMiddleware

SITES = ("Plant 1", "Plant 2")


def routes_of(application: FastAPI) -> list[str]:
    """Return method and path of everything that an application answers."""
    return [
        f"{method} {route.path}"
        for route in iter_routes(application.routes)
        for method in route.methods
        if method != "HEAD"
    ]


def open_site(lab: Lab, site: str) -> Store:
    """Open the database of a lab for one of its sites."""
    return Store.open(f"sqlite:///{lab.folder / 'martensight.db'}", site=site, agent="PC")


def test_every_route_has_a_role_and_every_role_has_routes(lab):
    routes = routes_of(create_app(web_of(lab)))

    assert sorted(routes) == sorted(NEEDED)
    assert len(NEEDED) == sum(map(len, DECLARED.values()))
    assert set(DECLARED) == {OPEN, *auth.ROLES}


def test_each_route_of_the_api_refuses_a_parameter_that_it_does_not_know(lab):
    public_id = lab.take("G8", order="4711", specimen="1")
    names = {"public_id": public_id, "number": "4711", "kind": "pdf", "name": "x"}
    tried, refused = 0, {}
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
        for route in NEEDED:
            method, _, path = route.partition(" ")
            if not path.startswith("/api/") or path.endswith("openapi.json"):
                continue
            for name, value in names.items():
                path = re.sub(rf"\{{{name}(:path)?\}}", value, path)
            tried += 1
            answer = client.request(method, f"{path}?nonsense=1&limit=1", json={})
            if answer.status_code == 422 and "“nonsense”" in answer.json()["detail"]:
                refused[route] = answer.json()["detail"]
        known = client.get("/api/v1/queue?limit=1")

    assert len(refused) == tried > 20
    assert known.status_code == 200
    assert refused["GET /api/v1/queue"].endswith("it knows reason, source, order, limit.")
    assert refused["GET /api/v1/status"].endswith("it knows none.")


def test_a_route_without_a_declared_role_is_closed():
    application = FastAPI()
    application.get("/new")(lambda: "")
    scope = {"type": "http", "method": "GET", "path": "/new", "headers": [], "app": application}

    assert find_needed_role(scope) == UNDECLARED
    assert not any(auth.may(role, UNDECLARED) for role in auth.ROLES)
    assert find_needed_role({**scope, "path": "/nothing"}) == "viewer"


def test_the_path_counts_and_nothing_that_the_sender_writes_next_to_it(lab):
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/review",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1/rate/x?"), (b"x-forwarded-prefix", b"/static")],
        "app": create_app(web_of(lab)),
    }

    assert find_needed_role(scope) == "viewer"


@pytest.fixture
def reached(lab):
    """Return which of the routes a cookie or a token reaches: the real routes, no answers."""
    application = create_app(web_of(lab))

    async def answer(scope, receive, send):
        await PlainTextResponse("reached")(scope, receive, send)

    async def routed(scope, receive, send):
        if scope["type"] == "http":
            await guarded({**scope, "app": application}, receive, send)

    guarded = AuthenticationMiddleware(
        answer, lab.store.accounts, lambda: DAY, timedelta(minutes=30)
    )
    browser = TestClient(routed, base_url=HOME, follow_redirects=False)

    def ask(headers):
        said = {}
        for route in NEEDED:
            method, _, path = route.partition(" ")
            path = re.sub(r"\{[^}]+\}", "x", path)
            sent = {"origin": HOME, **headers}
            said[route] = browser.request(method, path, headers=sent).text == "reached"
        return said

    return ask


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("role", ["nobody", *auth.ROLES])
def test_who_reaches_a_route_is_whoever_has_its_role_at_its_site(lab, reached, role, site):
    with open_site(lab, site) as store:
        lab.store.accounts.add("Ada", kind="person", role="admin", hashed="x", by="shell", at=DAY)
        if role != "nobody":
            store.accounts.add("Zoe", kind="person", role=role, hashed="x", by="shell", at=DAY)
            store.accounts.begin("Zoe", cookie=auth.hash_token("kept"), at=DAY)
    is_here = site == lab.store.site and role != "nobody"
    expected = {
        route: need == OPEN or (is_here and auth.may(role, need)) for route, need in NEEDED.items()
    }

    assert reached({"cookie": f"{COOKIE}=kept"}) == expected


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("role", auth.ROLES)
def test_a_program_reaches_what_its_role_reads_and_the_acts_of_the_api(lab, reached, role, site):
    with open_site(lab, site) as store:
        lab.store.accounts.add("Ada", kind="person", role="admin", hashed="x", by="shell", at=DAY)
        hashed = auth.hash_token("told")
        store.accounts.add("Fiji", kind="program", role=role, hashed=hashed, by="shell", at=DAY)
    is_here = site == lab.store.site
    expected = {
        route: need == OPEN
        or (is_here and auth.may(role, need) and route.startswith(("GET /", "POST /api/")))
        for route, need in NEEDED.items()
    }

    assert reached({"authorization": "Bearer told"}) == expected
