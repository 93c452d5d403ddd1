"""What the pages say, and what the catalogues know of it.

`python tests/catalogue.py` brings `reports/languages/*.po` up to date: new messages stand in them
with an empty translation, to be filled in by hand, and those that nobody says are gone.
"""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ROOT / "reports" / "languages"
ROOMS = ("agent", "reports")
"""Where pages get their words from."""
KEYWORDS = {"_": None, "gettext": None, "marked": None, "ngettext": (1, 2)}
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]


def said() -> Catalog:
    """Every message that a page can say, with the file that says it."""
    catalogue = Catalog(charset="utf-8")
    options = {"**/templates/**.html": {"trimmed": "false", "silent": "false"}}
    for room in ROOMS:
        found = extract_from_dir(
            ROOT / room, METHODS, options, keywords=KEYWORDS, comment_tags=("Said:",)
        )
        for file, _, message, comments, _ in found:
            catalogue.add(message, locations=[(f"{room}/{file}", 0)], auto_comments=comments)
    return catalogue


def known(language: str) -> Catalog:
    """A catalogue as it is kept."""
    return read_po(io.BytesIO((LANGUAGES / f"{language}.po").read_bytes()), locale=language)


def written(catalogue: Catalog) -> bytes:
    """A catalogue as it is to be kept: sorted, and without dates, so that two can be compared."""
    held = io.BytesIO()
    write_po(
        held, catalogue, width=100, omit_header=True, include_lineno=False, sort_output=True,
        ignore_obsolete=True,
    )  # fmt: skip
    head = (
        "Content-Type: text/plain; charset=utf-8",
        f"Language: {catalogue.locale}",
        f"Plural-Forms: {catalogue.plural_forms}",
    )
    lines = ['msgid ""', 'msgstr ""', *(f'"{one}\\n"' for one in head), "", ""]
    return "\n".join(lines).encode() + held.getvalue()


def main() -> None:
    """Bring every catalogue up to date."""
    for path in sorted(LANGUAGES.glob("*.po")):
        catalogue = known(path.stem)
        catalogue.update(said(), no_fuzzy_matching=True)
        path.write_bytes(written(catalogue))


if __name__ == "__main__":
    main()
