"""The form of the lab's classes: parsed to a draft, and filled from a draft with examples."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.files import shares
from agent.watch.listing import list_folder
from model import SubtypeDraft, TaxonomyDraft, TaxonomyError
from model.class_names import compose_name
from reports import gettext as _
from reports import ngettext
from reports.content.setup import ClassPicture, SizeEntry, SubtypeEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from model import Taxonomy

LONGEST_TITLE = 200
EMPTY_ROWS = 2
LISTING_S = 30.0
"""Longest time to list a folder while a browser waits for the answer."""


def read_draft(rows: Mapping[str, Sequence[str]]) -> TaxonomyDraft:
    """Parse a sent form to a draft; rows without a name are left out.

    Args:
        rows: Field → its values in the order of the page.
    """
    subtypes = zip_longest(
        *(rows.get(key, ()) for key in ("subtype", "sizes", "title", "title_de")), fillvalue=""
    )
    sizes = zip_longest(
        *(rows.get(key, ()) for key in ("size", "size_title", "size_title_de")), fillvalue=""
    )
    return TaxonomyDraft(
        name=_line(next(iter(rows.get("name", ())), "")),
        subtypes=tuple(
            SubtypeDraft(compose_name(name), _lines(listed), _line(title), _line(title_de))
            for name, listed, title, title_de in subtypes
            if compose_name(name)
        ),
        size_titles=tuple(
            (compose_name(name), (_line(title), _line(title_de))) for name, title, title_de in sizes
        ),
        several_subtypes=bool(rows.get("several")),
    )


def list_names(written: str) -> list[str]:
    """Return the names that were typed, one a line."""
    return [name for line in written.splitlines() if (name := compose_name(line))]


def list_folder_classes(folder: Path) -> list[str]:
    """Return the names of the subfolders with micrographs of a labelled folder.

    Raises:
        WrongUse: The folder cannot be read, or has none.
    """
    try:
        pictures = shares.inspect(folder, partial(list_folder, folder), limit_s=LISTING_S).pictures
    except OSError as error:
        text = _("{folder}: cannot be read ({error}). Name a folder that the agent may read.")
        raise WrongUse(text.format(folder=folder, error=error.strerror or error)) from error
    names = sorted({file.partition("/")[0] for file in pictures if "/" in file})
    if not names:
        text = _("{folder}: no labelled micrograph in it; make a subfolder per class in it.")
        raise WrongUse(text.format(folder=folder))
    return names


def fill_subtypes(
    draft: TaxonomyDraft, labelled: Mapping[str, int], find_example: Callable[[str], str]
) -> tuple[SubtypeEntry, ...]:
    """Return the rows of the form with examples, and empty ones after them.

    Args:
        draft: The draft.
        labelled: Structure code → number of labels.
        find_example: Returns the public id of a labelled micrograph of a code, or "".
    """
    codes = _codes(draft)
    filled = tuple(
        SubtypeEntry(
            subtype.name,
            subtype.title,
            subtype.title_de,
            "\n".join(subtype.sizes),
            tuple(
                _picture(code, labelled.get(code, 0), find_example(code))
                for code in codes.get(subtype.name, ())
            ),
        )
        for subtype in draft.subtypes
    )
    return filled + (SubtypeEntry(),) * EMPTY_ROWS


def fill_sizes(draft: TaxonomyDraft) -> tuple[SizeEntry, ...]:
    """Return every size that a subtype lists, with its titles."""
    titles = dict(draft.size_titles)
    return tuple(SizeEntry(name, *titles.get(name, ("", ""))) for name in draft.sizes)


def _codes(draft: TaxonomyDraft) -> dict[str, list[str]]:
    """Return subtype → its codes; nothing where the draft is inconsistent."""
    try:
        taxonomy: Taxonomy = draft.build()
    except TaxonomyError:
        return {}
    return {
        subtype.name: [subtype.code(size.name) for size in subtype.sizes]
        for subtype in taxonomy.subtypes
    }


def _picture(code: str, labels: int, example: str) -> ClassPicture:
    shown = f"/pictures/{example}/thumb.jpg" if example else ""
    said = ngettext("{n} label", "{n} labels", labels).format(n=labels)
    return ClassPicture(code, shown, example, said)


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TITLE]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(list_names(text))
