"""Say where a field belongs: what its path, the note beside it and its sender say of it.

In:  a source's words, a path, a sidecar, what came with the file. Out: `Keys`. Next: `pipeline`.
Two that name different specimens are both named and neither is believed: the field then belongs
to none, until a person assigns it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.settings import PROCESS_COLUMNS
from agent.store import ClaimedPlace, number_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent.watch import Provenance

PLACE = ("order", "specimen", "preparation", "field")
"""What says where a field belongs; the other process data only describe it."""
SIDECARS = ("{stem}.json", "{name}.json", "{stem}.txt", "{name}.txt", "{stem}.ini")
SIDECAR_BYTES = 64_000
LONGEST_VALUE = 200
GERMAN = {
    "auftrag": "order",
    "auftragsnummer": "order",
    "schmelze": "heat",
    "charge": "batch",
    "wärmebehandlungscharge": "batch",
    "schliff": "specimen",
    "probe": "specimen",
    "präparation": "preparation",
    "feld": "field",
    "gesichtsfeld": "field",
    "werkstoff": "material",
    "ätzmittel": "etchant",
    "vergrößerung": "magnification",
    "mikroskop": "microscope",
    "objektiv": "objective",
}
"""Words of German microscope notes → process data."""
_LINE = re.compile(r"\s*\W*([\w -]+?)\W*\s*[:=]\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Keys:
    """What is known of a field before anybody has looked at it.

    Args:
        process_data: Column → value.
        conflict: Why it can belong to no specimen, in one sentence, "" where nothing speaks
            against it.
        claims: Every order and specimen that its path, note or sender name.
    """

    process_data: dict[str, str]
    conflict: str = ""
    claims: tuple[ClaimedPlace, ...] = ()


def keys_of(
    source: Provenance,
    relative: str,
    *,
    beside: Mapping[str, str],
    given: Mapping[str, str],
    exact_numbers: bool = False,
) -> Keys:
    """Say where a file's micrographs belong.

    Args:
        source: What its source says: fixed values, and a pattern of its path.
        relative: Its path below the source.
        beside: What the note beside it says.
        given: What came with it, from a program or a manifest.
        exact_numbers: Numbers that differ in case, spaces or leading zeros are two.
    """
    path = source.process_data(relative)
    told = {**path, **beside, **given}
    matches = not source.pattern or re.search(source.pattern, relative) is not None
    by_path = {} if not matches else {k: v for k, v in path.items() if source.fixed.get(k) != v}
    sources = {"its path": by_path, "the note beside it": beside, "its sender": given}
    conflict = "; ".join(_conflicts(sources, exact_numbers=exact_numbers))
    if not conflict and not matches and not (told.get("order") and told.get("specimen")):
        conflict = "the path pattern of its source does not match its name"
    claims = tuple(
        ClaimedPlace(
            order=named["order"],
            specimen=named.get("specimen") or told.get("specimen", ""),
            origin=ORIGINS[who],
            file=relative,
        )
        for who, named in sources.items()
        if named.get("order")
    )
    return Keys(told, conflict, claims)


ORIGINS = {"its path": "path", "the note beside it": "note", "its sender": "sender"}
"""What names a place, as a claim keeps it."""


def _conflicts(claims: Mapping[str, Mapping[str, str]], *, exact_numbers: bool) -> Iterator[str]:
    for column in PLACE:
        said = {who: told[column] for who, told in claims.items() if told.get(column)}
        if len({number_key(one, exact=exact_numbers) for one in said.values()}) > 1:
            words = ", ".join(f"{who} says {value!r}" for who, value in said.items())
            yield f"it claims two {column}s: {words}"


def beside(path: Path) -> dict[str, str]:
    """Read the process data in the note beside a picture, JSON or `key = value`; {} without one."""
    for name in dict.fromkeys(one.format(stem=path.stem, name=path.name) for one in SIDECARS):
        try:
            note = path.with_name(name)
            if note != path and note.is_file() and note.stat().st_size <= SIDECAR_BYTES:
                return read_note(note.read_bytes())
        except (OSError, ValueError):
            continue  # a name too long, or a share that is gone: the picture itself will say so
    return {}


def read_note(held: bytes) -> dict[str, str]:
    """Read process data from a note's bytes; what it says besides is left alone."""
    try:
        text = held.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = held.decode("cp1252", "replace")
    return {
        column: value
        for name, said in _pairs(text)
        if (column := GERMAN.get(name, name)) in PROCESS_COLUMNS
        and (value := said.strip().strip('"'))
        and len(value) <= LONGEST_VALUE
        and value.isprintable()
    }


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, str | int) and not isinstance(value, bool):
                yield key.strip().casefold(), str(value)
        return
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            yield found[1].strip().casefold(), found[2]
