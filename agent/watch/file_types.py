"""Classify files by name; one predicate for events and listing.

Two different filters would let a watcher wake on what it ignores.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """Type of a file, by its name."""

    PICTURE = "picture"
    OTHER = "other"
    """Not a picture: recorded as `ignored` with its name, so that it is accounted for."""
    JUNK = "junk"
    """A temporary or system file: never recorded, since there are thousands."""


READ_HERE = frozenset(
    "tif tiff btf tf8 png jpg jpeg jpe jfif bmp dib czi nd2 lif lof xlef".split()  # noqa: SIM905
)
"""Readable extensions (some with the extra `vendor`); OME-TIFF is among `tif`."""
NAMED_ONLY = frozenset(
    "dm3 dm4 elid emd eds fdi gif hdr heic heif ims ipm jp2 j2k lsm mrc ndpi oib oif oir poir"  # noqa: SIM905
    " scn ser sis stk svs tvips vsi webp zvi".split()
)
"""Pictures of microscopes and cameras without a reader: set aside as `unsupported` with a message,
never ignored, since they were exported on purpose."""
EXTENSIONS = READ_HERE | NAMED_ONLY
"""Extensions of pictures, in any case. Anything else is `Kind.OTHER`."""

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
"""Internal folders of servers; every folder that begins with a dot counts as well."""
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


def classify_name(relative: str) -> Kind:
    """Return the kind of a file by its path below the source's folder (forward slashes).

    Everything below a junk folder is junk.
    """
    *folders, name = relative.split("/")
    if any(is_junk_folder(folder) for folder in folders):
        return Kind.JUNK
    if name.lower() in JUNK_NAMES or _TEMPORARY.search(name):
        return Kind.JUNK
    return Kind.PICTURE if get_extension(name) in EXTENSIONS else Kind.OTHER


def is_junk_folder(name: str) -> bool:
    """Return whether a folder is internal to a system; nothing below it is listed."""
    return name.startswith(".") or name.lower() in JUNK_FOLDERS


def get_extension(name: str) -> str:
    """Return a name's last extension, lower case, without its dot; "" if there is none.

    Trailing dots and blanks are typing errors and not part of the extension.
    """
    stem, dot, last = name.rstrip(". ").rpartition(".")
    return last.lower() if dot and stem else ""


# A file name is bytes on POSIX and need not be text; a database needs text. Bytes that are not
# UTF-8 become private-use characters, and convert back to the same bytes.
_FIRST, _LAST = 0xEF80, 0xEFFF
_BASE = 0xEF00
_ESCAPED = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]+")
_UNSAFE = re.compile(f"[\ud800-\udfff{chr(_FIRST)}-{chr(_LAST)}]")


def to_text(name: str) -> str:
    """Convert any file name to text that a database, JSON and a page can hold."""
    return _UNSAFE.sub(lambda match: _escape(match.group()), name)


def from_text(text: str) -> str:
    """Convert text of `to_text` back to the file name."""
    return _ESCAPED.sub(lambda match: os.fsdecode(_unescape(match.group())), text)


def locate(folder: Path, relative: str) -> Path:
    """Return the path of a file listed as `relative` in `folder`."""
    return Path(folder, from_text(relative))


def _escape(character: str) -> str:
    return "".join(chr(_BASE + byte) for byte in os.fsencode(character))


def _unescape(text: str) -> bytes:
    return bytes(ord(character) - _BASE for character in text)
