"""An application of the tests accepts and answers what the agent's own does."""

from __future__ import annotations

from fastapi._compat.v2 import ModelField
from lab import desk_of
from shared_fields import COMPILE

from agent.web import create_app


def test_shared_fields_document_the_same_limits(lab, monkeypatch):
    create_app(desk_of(lab))  # whose fields the next one shares
    shared = create_app(desk_of(lab)).openapi()

    monkeypatch.setattr(ModelField, "__post_init__", COMPILE)

    assert create_app(desk_of(lab)).openapi() == shared
