"""Read what a page's form sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import Request


async def read_form(request: Request) -> dict[str, str]:
    """Return the texts of a form, by name; files in it are left out."""
    sent = await request.form()
    return {name: value for name, value in sent.items() if isinstance(value, str)}


async def read_stripped_form(request: Request) -> dict[str, str]:
    """Return the texts of a form without white space around them, by name."""
    return {name: value.strip() for name, value in (await read_form(request)).items()}
