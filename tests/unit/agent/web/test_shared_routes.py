"""An application of the tests accepts and answers what the agent's own does."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, routing
from fastapi.testclient import TestClient
from labs.lab import HOME, web_of
from sharing import routes
from sharing.routes import COMPUTE

from agent.web import create_app


@pytest.mark.skipif(COMPUTE is None, reason="this FastAPI computes no state that could be shared")
def test_shared_routes_document_the_same_limits(lab, monkeypatch):
    create_app(web_of(lab))  # whose routes the next one shares
    shared = create_app(web_of(lab)).openapi()

    monkeypatch.setattr(routing, "_populate_api_route_state", COMPUTE)

    assert create_app(web_of(lab)).openapi() == shared


@pytest.mark.skipif(COMPUTE is None, reason="this FastAPI computes no state that could be shared")
def test_a_second_application_computes_no_route_anew(lab, monkeypatch):
    computed = []

    def compute(state, path, endpoint, **options):
        computed.append(path)
        COMPUTE(state, path, endpoint, **options)

    monkeypatch.setattr(routes, "COMPUTE", compute)
    for _ in range(2):
        anew = len(computed)
        browser = TestClient(create_app(web_of(lab)), base_url=HOME)
        assert browser.get("/api/v1/micrographs").status_code == 200

    assert computed[anew:] == []


def test_a_shared_route_calls_the_function_of_its_own_application():
    def answer_of(name, at="/", default=1):
        app = FastAPI()

        @app.get(at)
        def read(number: int = default) -> dict[str, object]:
            return {"name": name, "number": number}

        return TestClient(app).get(at).json()

    assert [answer_of("a"), answer_of("b"), answer_of("c", "/c"), answer_of("d", default=2)] == [
        {"name": "a", "number": 1},
        {"name": "b", "number": 1},
        {"name": "c", "number": 1},
        {"name": "d", "number": 2},
    ]
