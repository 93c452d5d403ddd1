"""Serve the user guide at `/help` and the description of the API, without a connection.

The description is built from the OpenAPI document that the application serves, so that it is never
stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

import reports
from agent.web.context import UnknownMicrographError, WebContext
from agent.web.pages import render_page
from reports import gettext as _
from reports import marked


def router(web: WebContext) -> APIRouter:
    """Build the routes of the guide."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/help")
    def show_contents(request: Request, q: str = "") -> Response:
        query = " ".join(q[: reports.LONGEST_QUERY].split())
        return _render(web, request, query=query, hits=reports.search_guide(query))

    @routes.get("/help/pictures/{name}")
    def show_picture(name: str) -> Response:
        if name not in reports.GUIDE_PICTURES:
            raise UnknownMicrographError(name)
        return Response(reports.read_guide_picture(name), media_type="image/webp")

    @routes.get("/help/{name}")
    def show_page(request: Request, name: str) -> Response:
        if name not in reports.GUIDE_PAGES:
            raise UnknownMicrographError(name)
        return _render(web, request, guide=reports.get_guide_page(name))

    return routes


def _render(web: WebContext, request: Request, **found: object) -> Response:
    shown = {"guide": None, "query": "", "hits": ()} | found
    return render_page(web, request, "help", contents=reports.list_guide(), **shown)


REFERENCE = "#/components/schemas/"
GROUPS = {
    "micrographs": marked("Micrographs and decisions"),
    "queue": marked("Micrographs and decisions"),
    "search": marked("Archive and history"),
    "archive": marked("Archive and history"),
    "views": marked("Archive and history"),
    "history": marked("Archive and history"),
    "orders": marked("Orders"),
    "places": marked("Orders"),
    "holds": marked("Orders"),
    "bundles": marked("Models"),
    "jobs": marked("Models"),
}
"""First part of a path → title of its group."""
OTHERS = marked("The agent")
LEFT_OUT = ("Fault", "HTTPValidationError", "ValidationError")
"""Schemas of errors; the page describes them once in words."""

Field = tuple[str, str, str, bool]
"""Name, type in words, meaning, and whether it is required."""


def docs_router(web: WebContext) -> APIRouter:
    """Build the route of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    def docs(request: Request) -> Response:
        return render_page(web, request, "api_docs", **build_docs(request.app.openapi()))

    return routes


def build_docs(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the routes by group and the schemas of an OpenAPI document."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            part = path.removeprefix("/api/v1/").partition("/")[0]
            title = _(GROUPS.get(part, OTHERS))
            groups.setdefault(title, []).append(_build_route(method.upper(), path, operation))
    schemas = document.get("components", {}).get("schemas", {})
    return {
        "groups": groups,
        "schemas": [
            (name, schema.get("description", ""), list(_list_fields(schema)))
            for name, schema in sorted(schemas.items())
            if name not in LEFT_OUT
        ],
    }


def _build_route(method: str, path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {})
    answers = {
        code: answer.get("content", {})
        for code, answer in operation["responses"].items()
        if code.startswith("2")
    }
    letters = f"{method}-{path.removeprefix('/api/v1/')}".lower()
    return {
        "anchor": "".join(letter if letter.isalnum() else "-" for letter in letters),
        "method": method,
        "path": path,
        "text": operation.get("description", ""),
        "fields": list(_list_parameters(operation)),
        "body": _name_content(body),
        "body_schema": _find_schema(body),
        "answers": [(code, _name_content(sent)) for code, sent in answers.items() if sent],
        "answer_schema": next(map(_find_schema, answers.values()), ""),
    }


def _name_content(content: Mapping[str, Any]) -> str:
    """Return the media types of a body with their schema, "" for none."""
    schema = _find_schema(content)
    types = ", ".join(content)
    return f"{types}: {schema}" if schema else types


def _find_schema(content: Mapping[str, Any]) -> str:
    """Return the name of the schema of a JSON body, "" for none."""
    schema = content.get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).removeprefix(REFERENCE)


def _list_parameters(operation: Mapping[str, Any]) -> Iterator[Field]:
    for parameter in operation.get("parameters", ()):
        kind = f"{format_type(parameter.get('schema', {}))} ({parameter['in']})"
        text, is_required = parameter.get("description", ""), parameter.get("required", False)
        yield parameter["name"], kind, text, is_required


def _list_fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, own in schema.get("properties", {}).items():
        yield name, format_type(own), own.get("description", ""), name in required


def format_type(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema in words, such as "list of string" or "Label or null"."""
    if reference := schema.get("$ref"):
        return str(reference).removeprefix(REFERENCE)
    if choices := schema.get("anyOf"):
        return " or ".join(format_type(choice) for choice in choices)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return " | ".join(json.dumps(value) for value in values)
    return _format_structure(schema)


def _format_structure(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {format_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{kind} of {format_type(schema['additionalProperties'])}"
    return kind
