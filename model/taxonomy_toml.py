"""Format a taxonomy as the text of a `taxonomy.toml`; `load_taxonomy` reads the same classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from model.class_names import SEPARATOR
from model.wording import TEXTS, wording_as_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model.taxonomy import Size, Subtype, Taxonomy

_HEAD = """\
# The lab's classes. A subtype lists its sizes coarse to fine; this order is the scale.
# Check a change before it counts: agent spec taxonomy FILE
"""


def format_taxonomy(taxonomy: Taxonomy) -> str:
    """Return the TOML text of a taxonomy, with every text and number that the lab wrote."""
    separator = next((s.separator for s in taxonomy.subtypes if s.separator), SEPARATOR)
    top: dict[str, object] = {"name": taxonomy.name}
    if taxonomy.several_subtypes:
        top["subtypes_per_specimen"] = "several"
    if separator != SEPARATOR:
        top["separator"] = separator
    tables = [
        *(("[[size]]", _size(size)) for size in taxonomy.sizes if size.name),
        *(("[[subtype]]", _subtype(subtype)) for subtype in taxonomy.subtypes),
    ]
    parts = [_HEAD + _format_keys(top)]
    parts += [f"{head}\n{_format_keys(entry)}" for head, entry in tables]
    return "\n".join(parts)


def _size(size: Size) -> dict[str, object]:
    entry: dict[str, object] = {"name": size.name}
    if size.title != size.name:
        entry["title"] = size.title
    if size.title_de:
        entry["title_de"] = size.title_de
    if size.stated and size.numbers:
        entry |= {"min": size.numbers.lower, "max": size.numbers.upper}
    return entry | wording_as_json("look_for", size.look_for)


def _subtype(subtype: Subtype) -> dict[str, object]:
    entry: dict[str, object] = {"name": subtype.name}
    if subtype.title != subtype.name:
        entry["title"] = subtype.title
    if subtype.title_de:
        entry["title_de"] = subtype.title_de
    if subtype.has_sizes:
        names = [size.name for size in subtype.sizes]
        entry["sizes"] = names
        if subtype.untrained:
            entry["untrained"] = [name for name in names if name in subtype.untrained]
    for key in TEXTS:
        entry |= wording_as_json(key, getattr(subtype, key))
    return entry


def _format_keys(entry: Mapping[str, object]) -> str:
    return "".join(_lines(entry))


def _lines(entry: Mapping[str, object]) -> Iterator[str]:
    for key, value in entry.items():
        # A JSON text is a TOML text, but for DEL, which TOML wants escaped.
        written = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        yield f"{key} = {written}\n"
