"""Pack logs, settings and status for support, without secrets and names.

A second file, for the lab alone, lists the pseudonyms. A name is replaced everywhere, also inside
sentences: file names by their parts, orders, heats, specimens, operators and other process data
that identify a customer's part.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.files.csv_export import write_csv

QUOTES = ("'", '"', "“", "”", "„")
NAME_COLUMNS = ("pseudonym", "stands for")
NEWEST_BYTES = 5_000_000
"""Of each log; the end is what a fault is about."""

SECRET_KEYS = re.compile(r"(password|token|secret|urls?|key)$", re.IGNORECASE)
NAME_KEYS = frozenset({"file", "path", "paths", "relative", "subject"})
OWN_KEYS = frozenset({"order", "heat", "batch", "specimen", "preparation", "operator", "customer"})
"""Process data that identify a part; microscope, objective and material do not."""

_NAMES_A_VALUE = re.compile(
    rf"\b({'|'.join(sorted(OWN_KEYS))})s?\b\W{{0,3}}$|[/\\]$", re.IGNORECASE
)
"""Before a word that is a value, as in "specimen 11", "batch=11" or a path."""
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s\"'<>]+", re.IGNORECASE)
_PICTURE = re.compile(
    r"[^\s\"'/\\:;,()\[\]{}]+(?: [^\s\"'/\\:;,()\[\]{}]+){0,4}?"
    r"\.(?:tiff?|btf|tf8|png|jpe?g|jpe|jfif|bmp|dib|czi|nd2|lif|lof|xlef|csv)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w.+-]*\w")
_TOKEN = re.compile(r"[\w.:+-]*\w")
_TIME_OR_VERSION = re.compile(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?)?"
    r"|\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?"
    r"|v?\d+(\.\d+)+((\.|[-+])?(a|b|rc|dev|post|cpu|cu)\d*)*"
)
"""What a helper needs; it is hidden only where all of it is a name."""
_USER_HOME = re.compile(r"((?:/home/|[A-Za-z]:\\+Users\\+))[^/\\\s\"']+")


class Pseudonyms:
    """Pseudonyms of words: the same throughout one bundle, and another in the next.

    Args:
        words: What must not be seen: orders, customers, file names.
        salt: Random; without it short numbers could be tried out.
    """

    def __init__(self, words: Iterable[str], salt: bytes | None = None) -> None:
        self._salt = salt or secrets.token_bytes(16)
        self._words = {word for given in words for word in _iter_identifying_words(given)}
        self.said: dict[str, str] = {}
        """Pseudonym → what it stands for; for the lab alone."""

    def of(self, word: str) -> str:
        """Return a word's pseudonym."""
        digest = hashlib.blake2b(word.encode(), key=self._salt, digest_size=4).hexdigest()
        self.said[f"x{digest}"] = word
        return f"x{digest}"

    def name(self, path: str) -> str:
        """Replace the parts of a path; how deep it is and how it ends is kept."""
        parts = re.split(r"([/\\])", path)
        return "".join(part if part in {"/", "\\", ""} else self._part(part) for part in parts)

    def _part(self, part: str) -> str:
        stem, dot, ending = part.rpartition(".")
        if dot and stem and len(ending) <= 5:  # noqa: PLR2004 - longer is no ending
            return f"{self.of(stem)}.{ending}"
        return self.of(part)

    def text(self, text: str) -> str:
        """Replace every name, address and known word inside a sentence."""
        text = _ADDRESS.sub(r"\1…", text)
        text = _USER_HOME.sub(r"\1user", text)
        text = _PICTURE.sub(lambda found: self._part(found.group()), text)
        return _TOKEN.sub(self._token, text)

    def _token(self, match: re.Match[str]) -> str:
        token, text = match.group(), match.string
        is_value = _NAMES_A_VALUE.search(text, 0, match.start()) is not None or (
            text[match.start() - 1 : match.start()] in QUOTES and text[match.end() :][:1] in QUOTES
        )
        if self._hides(token, is_value=is_value):
            return self.of(token)
        if _TIME_OR_VERSION.fullmatch(token):
            return token
        pieces = re.split(r"([_.:+-])", token)
        return "".join(self.of(p) if self._hides(p, is_value=is_value) else p for p in pieces)

    def _hides(self, word: str, *, is_value: bool) -> bool:
        return word in self._words and (is_value or not _is_everyday(word))

    def document(self, value: Any, key: str = "") -> Any:
        """Replace identifying words in a JSON value; keys and numbers stay."""
        if isinstance(value, dict):
            return {name: self.document(part, str(name)) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(part, key) for part in value]
        if SECRET_KEYS.search(key):
            return "…" if value else value
        if not isinstance(value, str) or not value:
            return value
        if key in NAME_KEYS:
            return self.name(value)
        return self.of(value) if key in OWN_KEYS else self.text(value)


def _is_everyday(word: str) -> bool:
    """Return whether a word has many other meanings: specimen "11" is in half of all times."""
    return len(word) == 1 or (word.isdigit() and len(word) < 4)  # noqa: PLR2004 - as described above


def _iter_identifying_words(given: str) -> Iterable[str]:
    """Yield the identifying words of a name: all with a digit, and all of four letters on."""
    for word in _WORD.findall(given):
        yield word
        yield from (
            piece
            for piece in re.split(r"[_.+-]", word)
            if len(piece) >= 4 or (len(piece) >= 2 and any(c.isdigit() for c in piece))  # noqa: PLR2004 - as described above
        )


def log_lines(file: Path, names: Pseudonyms) -> str:
    """Return the end of a log, each line without identifying words."""
    with file.open("rb") as opened:
        opened.seek(0, 2)
        start = max(0, opened.tell() - NEWEST_BYTES)
        opened.seek(start)
        lines = opened.read().decode("utf-8", errors="replace").splitlines()
    return _hide(lines[1 if start else 0 :], names)


def _hide(lines: Iterable[str], names: Pseudonyms) -> str:
    return "\n".join(_line(line, names) for line in lines) + "\n"


def _line(line: str, names: Pseudonyms) -> str:
    try:
        document = json.loads(line)
    except ValueError:
        return names.text(line)
    return json.dumps(names.document(document), ensure_ascii=False)


def write(
    target: Path,
    *,
    documents: Mapping[str, object],
    logs: Iterable[Path],
    journal: str = "",
    pictures: Iterable[Path],
    names: Pseudonyms,
) -> list[str]:
    """Write the bundle, and next to it the list for the lab.

    Args:
        target: The zip file.
        documents: Name → JSON value, written without identifying words.
        logs: Log files.
        journal: The system journal of the service; its end is included.
        pictures: Included as they are, on request.
        names: The pseudonyms.

    Returns:
        What is in it.

    Raises:
        OSError: It cannot be written.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, value in documents.items():
            text = json.dumps(names.document(value), ensure_ascii=False, indent=1, default=str)
            packed.writestr(f"{name}.json", text)
        for file in logs:
            packed.writestr(f"logs/{file.name}", log_lines(file, names))
        if journal:
            packed.writestr("logs/journal.log", _hide(journal[-NEWEST_BYTES:].splitlines(), names))
        for file in pictures:
            packed.write(file, f"pictures/{names.name(file.name)}")
        listed = packed.namelist()
    key = target.with_suffix(".names.csv")
    key.touch(mode=0o600)
    with key.open("w", encoding="utf-8-sig", newline="") as listing:
        pairs = sorted(names.said.items())
        rows = [dict(zip(NAME_COLUMNS, pair, strict=True)) for pair in pairs]
        write_csv(listing, NAME_COLUMNS, rows, line_end="\n")
    return listed
