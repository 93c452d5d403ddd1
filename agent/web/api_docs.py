"""The description of the API as a page: every route with its fields, readable without a connection.

It is built from the OpenAPI document that the application serves, so that it is never stale.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.web import cookies
from reports import ApiDocsPage, ApiField, ApiGroup, ApiRoute, ApiSchema, Fact, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.web.context import Desk

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


def router(desk: Desk) -> APIRouter:
    """Build the route of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    def docs(request: Request) -> Response:
        page = build_docs(desk.site, cookies.name_of(request), request.app.openapi())
        return HTMLResponse(reports.render("api_docs", page=page))

    return routes


def build_docs(site: str, reviewer: str, document: Mapping[str, Any]) -> ApiDocsPage:
    """Build the page from an OpenAPI document."""
    groups: dict[str, list[ApiRoute]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            part = path.removeprefix("/api/v1/").partition("/")[0]
            title = _(GROUPS.get(part, OTHERS))
            groups.setdefault(title, []).append(_build_route(method.upper(), path, operation))
    schemas = document.get("components", {}).get("schemas", {})
    return ApiDocsPage(
        site=site,
        reviewer=reviewer,
        groups=tuple(ApiGroup(title, tuple(routes)) for title, routes in groups.items()),
        schemas=tuple(
            ApiSchema(name, schema.get("description", ""), tuple(_list_fields(schema)))
            for name, schema in sorted(schemas.items())
            if name not in LEFT_OUT
        ),
    )


def _build_route(method: str, path: str, operation: Mapping[str, Any]) -> ApiRoute:
    body = operation.get("requestBody", {}).get("content", {})
    return ApiRoute(
        method=method,
        path=path,
        text=operation.get("description", ""),
        fields=tuple(_list_parameters(operation)),
        body=_name_content(body),
        body_schema=_find_schema(body),
        answers=tuple(
            Fact(code, _name_content(answer["content"]))
            for code, answer in operation["responses"].items()
            if code.startswith("2") and answer.get("content")
        ),
        answer_schema=next(
            (
                _find_schema(answer.get("content", {}))
                for code, answer in operation["responses"].items()
                if code.startswith("2")
            ),
            "",
        ),
    )


def _name_content(content: Mapping[str, Any]) -> str:
    """Return the media types of a body with their schema, "" for none."""
    schema = _find_schema(content)
    types = ", ".join(content)
    return f"{types}: {schema}" if schema else types


def _find_schema(content: Mapping[str, Any]) -> str:
    """Return the name of the schema of a JSON body, "" for none."""
    schema = content.get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).removeprefix(REFERENCE)


def _list_parameters(operation: Mapping[str, Any]) -> Iterator[ApiField]:
    for parameter in operation.get("parameters", ()):
        yield ApiField(
            name=parameter["name"],
            kind=f"{format_type(parameter.get('schema', {}))} ({parameter['in']})",
            text=parameter.get("description", ""),
            is_required=parameter.get("required", False),
        )


def _list_fields(schema: Mapping[str, Any]) -> Iterator[ApiField]:
    required = schema.get("required", ())
    for name, own in schema.get("properties", {}).items():
        yield ApiField(name, format_type(own), own.get("description", ""), name in required)


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
