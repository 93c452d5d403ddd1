"""No route of the web application answers to, or changes, what another site has.

Every route is walked with the other site's keys. A route with an argument that the walk does not
know fails it, so that a new one cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, web_of
from labs.two_sites import HERE, HIDDEN, Known, World, nowhere, open_lab, sqlite_world, world

from agent.web.app import create_app

__all__ = ["sqlite_world", "world"]


def keys(known: Known, path: str) -> dict[str, str]:
    """Return what each argument of a path or query is called with."""
    names = {
        "/statements/": f"{known.statement}.json",
        "/models/": known.bundle,
        "/api/": "new.tif",
    }
    key = {"/pictures/known/": known.sha256, "/rate/": known.token}
    first, second = known.fields
    return {
        "public_id": first,
        "one": first,
        "other": second,
        "q": known.order,
        "number": known.order,
        "measurement_id": str(known.ints["needle"]),
        "order": known.order,
        "specimen": known.specimen,
        "sha256": known.sha256,
        "path": f"{HIDDEN}1.tif",
        "source": known.source,
        "key": next((value for start, value in key.items() if path.startswith(start)), ""),
        "place": "1",
        "which": "subtype",
        "kind": "html",
        "language": "en",
        "sort": "newest",
        "calibration": "x",
        "subtype": "G",
        "statement": "1",
        "name": next((value for start, value in names.items() if path.startswith(start)), "x"),
        "by": "Eve",
        "limit": "99",
        "reason": "uncertain",
        "um": "10",
        "again": "1",
        "outcome": "confirmed",
        "microscope": "LOM",
        "reviewer": "Bea",
        "month": "2026-11",
        "before": "99",
        "actor": "Bea",
        "subject": first,
        "act": "label.",
        "facts": known.order,
        "first": "2026-01-01",
        "last": "2026-12-31",
        "code": "G7",
        "ids": ",".join(known.fields),
        "done": "x",
        "new": "1",
        "restarted": "x",
    }


def form(known: Known) -> dict[str, str]:
    """Return every field that a form of the pages has, filled with the other site's keys."""
    return {
        "answer": "G8",
        "by": "Eve",
        "comment": "x",
        "criterion": "mean",
        "decision": "code",
        "code": "G8",
        "field": "1",
        "label_id": str(known.ints["label"]),
        "order": known.order,
        "specimen": known.specimen,
        "reason": "because",
        "result_id": str(known.ints["result"]),
        "revision": "2",
        "subtype": "G",
        "size": "8",
        "verdict": "different",
        "which": str(known.ints["content"]),
        "act": "cancel",
        "together": known.fields[1],
        "name": known.account,
        "password": "correct horse battery",
        "then": "/",
    }


def body(known: Known) -> dict[str, Any]:
    """Return what a program sends, with raw numbers of the other site."""
    return {
        "code": "G8",
        "by": "Eve",
        "comment": "x",
        "result_seen": known.ints["result"],
        "kind": "code",
    }


def list_routes(app: FastAPI) -> list[APIRoute]:
    """Return every route with its methods, of included routers too."""
    return list(_iter_routes(app.routes))


def _iter_routes(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        inner = getattr(route, "original_router", route)
        if isinstance(route, APIRoute):
            yield route
        elif getattr(inner, "routes", None):
            yield from _iter_routes(inner.routes)


def ask(client: TestClient, route: APIRoute, known: Known) -> dict[str, tuple[int, str]]:
    """Ask a route by each of its methods; method → status and text."""
    given = keys(known, route.path)
    path, asked = route.path, {}
    for argument in route.dependant.path_params:
        assert argument.name in given, f"{path}: the walk does not know {argument.name!r} yet"
        for spelling in (f"{{{argument.name}:path}}", f"{{{argument.name}}}"):
            path = path.replace(spelling, given[argument.name])
    for argument in route.dependant.query_params:
        assert argument.name in given, f"{path}: the walk does not know {argument.name!r} yet"
        asked[argument.name] = given[argument.name]
    found = {}
    for method in sorted(route.methods):
        sent: dict[str, Any] = {}
        if method == "POST":
            is_api = path.startswith("/api/")
            sent = {"json": body(known)} if is_api else {"data": form(known)}
        answer = client.request(method, path, params=asked, **sent)
        found[method] = (answer.status_code, answer.text)
    return found


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    """The pages of the first site, that anybody on this PC may use."""
    lab = open_lab(world.folder, world.address, HERE)
    app = create_app(web_of(lab))
    with TestClient(app, base_url=HOME, follow_redirects=False) as browser:
        browser.post("/review/name", data={"by": "Eve"})
        yield browser
    lab.store.close()


def test_no_route_answers_to_another_sites_key_otherwise_than_to_one_of_nothing(
    world: World, client: TestClient
) -> None:
    routes = list_routes(client.app)
    assert len(routes) > 40
    for route in routes:
        unknown = ask(client, route, nowhere(world.known))
        answers = ask(client, route, world.known)

        for method, (status, text) in answers.items():
            what = f"{method} {route.path}"
            assert HIDDEN not in text.replace(f"{HIDDEN}1.tif", ""), what
            assert status == unknown[method][0], what
            assert status != 500, what
        world.must_be_as_before(route.path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/micrographs/{0}",
        "/review/{0}",
        "/pictures/{0}/crop.jpg",
        "/pictures/known/{2}.jpg",
        "/statements/{3}.json",
        "/rate/{4}",
        "/pictures/{0}/field.jpg",
        "/pictures/{0}/thumb.jpg",
        "/pictures/{0}/size.png",
        "/pictures/{0}/window.jpg?um=10",
        "/places/{0}/{1}",
        "/pictures/{0}/over/{1}.jpg",
        "/order/B-4711",
        "/api/v1/orders/B-4711",
        "/models/20261102-bbbbbbbb/card",
    ],
)
def test_a_page_of_another_site_is_not_here(world: World, client: TestClient, path: str) -> None:
    known, fields = world.known, world.known.fields

    answer = client.get(path.format(*fields, known.sha256, known.statement, known.token))

    assert answer.status_code == 404


def test_a_log_in_of_another_site_is_none_here(world: World, client: TestClient) -> None:
    answer = client.post("/login", data={"name": "bea", "password": "correct horse battery"})

    assert answer.status_code in (303, 401)
    assert "session" not in "".join(answer.headers.get_list("set-cookie"))
    world.must_be_as_before("/login")


def test_a_token_of_another_sites_program_opens_nothing(world: World) -> None:
    lab = open_lab(world.folder, world.address, HERE)
    lab.store.accounts.add("here", kind="program", role="admin", hashed="9" * 64, by="x", at=DAY)
    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        told = {"Authorization": f"Bearer {world.known.program}"}

        assert browser.get("/api/v1/queue", headers=told).status_code == 401
    lab.store.close()


def test_reports_of_another_site_are_not_given_out(world: World, client: TestClient) -> None:
    other = world.folder / "reports" / "site-2" / "2026-11-24.html"
    other.parent.mkdir(parents=True)
    other.write_text(HIDDEN, encoding="utf-8")

    for name in ("site-2/2026-11-24.html", "./site-2/2026-11-24.html", "x/../site-2/index.html"):
        assert client.get(f"/reports/{name}").status_code == 404
