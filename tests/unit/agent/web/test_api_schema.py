"""Whatever a program sends, the API answers as its OpenAPI document says, and never with a 5xx."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from labs.lab import NEXT_DAY as NOW
from labs.lab import Lab, web_of

from agent.store.people import auth
from agent.web import Inbox, create_app
from agent.web.access import NEEDED

schemathesis = pytest.importorskip("schemathesis", reason="no schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
NEGATIVE = schemathesis.GenerationMode.NEGATIVE

pytestmark = pytest.mark.slow
ROLES = {route.replace(":path}", "}"): need for route, need in NEEDED.items()}
DOCUMENTED = {route for route in ROLES if " /api/" in route} - {"GET /api/v1/openapi.json"}


def name_route(operation) -> str:
    """Return method and path of an operation as `access` declares its route."""
    return f"{operation.method.upper()} {operation.path}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab") / "data")
    lab.take("G8", reasons=("strange",), order="4711", specimen="1")
    yield lab
    lab.store.close()


@pytest.fixture(scope="module")
def operations(lab):
    inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: NOW)
    web = dataclasses.replace(web_of(lab), inbox=inbox)
    app = create_app(web, hosts=["testserver"])
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    return [found.ok() for found in document.get_all_operations()]


def hold_to_the_document(operation, mode, **names) -> None:
    """Send many requests of a kind to an operation; every answer has to be a documented one."""
    if mode is NEGATIVE and not (list(operation.query) or list(operation.body)):
        return  # nothing can be wrong with it

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case):
        if names:
            case.path_parameters |= {
                key: names[key] for key in case.path_parameters if key in names
            }
        # That a code is one of the taxonomy, or a letter can be shown, no document can say.
        case.call_and_validate(excluded_checks=[checks.positive_data_acceptance])

    sent()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_whatever_is_sent_is_answered_as_the_document_says(operations, mode):
    assert {name_route(operation) for operation in operations} == DOCUMENTED
    for operation in operations:
        hold_to_the_document(operation, mode)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_and_so_is_what_is_sent_about_what_is_there(lab, operations, mode):
    there = next(iter(lab.store.results.iter_all()))
    about = [operation for operation in operations if "{" in operation.path]
    assert about
    for operation in about:
        hold_to_the_document(operation, mode, public_id=there.id, one=there.id, number="4711")


@pytest.fixture(scope="module")
def roles(tmp_path_factory):
    """A lab with a program of each role; role → its token, and the operations of its API."""
    lab = Lab(tmp_path_factory.mktemp("roles") / "data")
    lab.take("G8", reasons=("strange",), order="4711", specimen="1")
    for role in auth.ROLES:
        hashed = auth.hash_token(f"token of {role}")
        lab.store.accounts.add(role, kind="program", role=role, hashed=hashed, by="x", at=NOW)
    inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: NOW)
    app = create_app(dataclasses.replace(web_of(lab), inbox=inbox), hosts=["testserver"])
    headers = {"Authorization": "Bearer token of admin"}
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=headers)
    yield [found.ok() for found in document.get_all_operations()]
    lab.store.close()


def hold_to_the_role(operation, role) -> None:
    """Send many requests with the token of a role; it is refused where its route needs another."""
    may = auth.may(role, ROLES[name_route(operation)])

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def sent(case):
        answer = case.call(headers={"Authorization": f"Bearer token of {role}"})

        assert answer.status_code < 500 or answer.status_code == 503
        if not may:
            assert answer.status_code in (400, 403, 413), answer.text

    sent()


@pytest.mark.parametrize("role", auth.ROLES)
def test_each_role_is_answered_and_refused_by_what_its_route_needs(roles, role):
    for operation in roles:
        hold_to_the_role(operation, role)
