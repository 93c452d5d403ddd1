"""Say by its name alone whether a file is a micrograph's; one predicate for events and listing.

In:  a path below a source's folder. Out: `Kind`. Next: `listing` and `bell`, both by this word.
Two filters that differ are how other watchers watch what they ignore, so there is only this one.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a file is to us, by its name."""

    PICTURE = "picture"
    OTHER = "other"
    """Not a picture: recorded as `ignored` with its name, so that nobody has to wonder."""
    JUNK = "junk"
    """A temporary or a system's own file: never spoken of, it comes and goes by the thousand."""


READ_HERE = frozenset(
    "tif tiff btf tf8 png jpg jpeg jpe jfif bmp dib czi nd2 lif lof xlef".split()  # noqa: SIM905
)
"""Extensions of pictures we read (some with the `vendor` extra); OME-TIFF is among `tif`."""
NAMED_ONLY = frozenset(
    "dm3 dm4 elid emd eds fdi gif hdr heic heif ims ipm jp2 j2k lsm mrc ndpi oib oif oir poir"  # noqa: SIM905
    " scn ser sis stk svs tvips vsi webp zvi".split()
)
"""Pictures of microscopes and cameras that we may not read: set aside as `unsupported` with a
sentence, never ignored, since somebody exported them for us to see."""
EXTENSIONS = READ_HERE | NAMED_ONLY
"""The extensions that count, whatever their case. Anything else is `Kind.OTHER`."""

JUNK_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
JUNK_FOLDERS = frozenset(
    {
        "@eadir",
        "@recycle",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__macosx",
    }
)
"""Folders that servers keep for themselves; like every folder that begins with a dot."""
_TEMPORARY = re.compile(
    r"""^[.~]                    # .name  ._name  .~name  ~$name  ~RF1234.TMP
      | ~$                       # name.tif~
      | downloading$             # cryo-EM transfer tools
      | \.(tmp|temp|part|partial|filepart|crdownload|download|opdownload|incomplete
          |uploading|writing|copying|lock|lck|swp|swx|bak)$
      | \.tmp\.[^.]+$            # name.tmp.tif
    """,
    re.VERBOSE | re.IGNORECASE,
)


def kind_of(relative: str) -> Kind:
    """Say what a file is to us, by its path below the source's folder (forward slashes).

    A folder on the way that is junk makes everything below it junk.
    """
    *folders, name = relative.split("/")
    if any(is_junk_folder(folder) for folder in folders):
        return Kind.JUNK
    if name.lower() in JUNK_NAMES or _TEMPORARY.search(name):
        return Kind.JUNK
    return Kind.PICTURE if extension(name) in EXTENSIONS else Kind.OTHER


def is_junk_folder(name: str) -> bool:
    """Say whether a folder is a system's own; nothing below it is looked at."""
    return name.startswith(".") or name.lower() in JUNK_FOLDERS


def extension(name: str) -> str:
    """Say a name's last extension, lower case, without its dot; "" if there is none.

    Dots and blanks at the end of a name are somebody's slip, and no part of the extension.
    """
    stem, dot, last = name.rstrip(". ").rpartition(".")
    return last.lower() if dot and stem else ""


# A file's name is bytes on POSIX and need not be text; a database wants text. Bytes that are no
# UTF-8 travel as private-use characters, and come back as the very same bytes.
_FIRST, _LAST = 0xEF80, 0xEFFF
_BASE = 0xEF00
_ESCAPED = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]+")
_UNSAFE = re.compile(f"[\ud800-\udfff{chr(_FIRST)}-{chr(_LAST)}]")


def to_text(name: str) -> str:
    """Write any file name as text that a database, JSON and a page can hold."""
    return _UNSAFE.sub(lambda found: _escape(found.group()), name)


def from_text(text: str) -> str:
    """Undo `to_text`, so that the file can be opened."""
    return _ESCAPED.sub(lambda found: os.fsdecode(_unescape(found.group())), text)


def locate(folder: Path, relative: str) -> Path:
    """Say where the file lies that a listing of `folder` called `relative`."""
    return Path(folder, from_text(relative))


def _escape(character: str) -> str:
    return "".join(chr(_BASE + byte) for byte in os.fsencode(character))


def _unescape(text: str) -> bytes:
    return bytes(ord(character) - _BASE for character in text)
