"""Read what a page's form sent, and sign what a form lists."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request


async def read_form(request: Request) -> dict[str, str]:
    """Return the texts of a form, by name; files in it are left out."""
    sent = await request.form()
    return {name: value for name, value in sent.items() if isinstance(value, str)}


async def read_stripped_form(request: Request) -> dict[str, str]:
    """Return the texts of a form without white space around them, by name."""
    return {name: value.strip() for name, value in (await read_form(request)).items()}


@dataclass(frozen=True, slots=True)
class ListedField:
    """One field as a page showed it.

    Attributes:
        id: Public id.
        result_id: Number of the result on the page, None for none.
        label_id: Number of the label on the page, None for none.
        code: The code that the page offered to confirm, "" for none.
    """

    id: str
    result_id: int | None
    label_id: int | None
    code: str


class NotOursError(Exception):
    """The form was not made by this process, or was changed."""


def sign(key: bytes, order: str, fields: Sequence[ListedField]) -> str:
    """Return the state of a form as text, with its signature."""
    state = {"order": order, "fields": [asdict(field_view) for field_view in fields]}
    held = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
    return f"{held}.{_seal(key, held)}"


def read(key: bytes, order: str, text: str) -> dict[str, ListedField]:
    """Return the fields that a signed form of an order lists, by public id.

    Raises:
        NotOursError: The signature does not fit, or it is the form of another order.
    """
    held, _dot, seal = text.partition(".")
    if not hmac.compare_digest(seal.encode(), _seal(key, held).encode()):
        raise NotOursError
    try:
        state = json.loads(base64.urlsafe_b64decode(held))
    except (ValueError, binascii.Error) as error:
        raise NotOursError from error
    if state["order"] != order:
        raise NotOursError
    return {entry["id"]: ListedField(**entry) for entry in state["fields"]}


def _seal(key: bytes, held: str) -> str:
    return hmac.new(key, held.encode(), hashlib.sha256).hexdigest()
