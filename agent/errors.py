"""What can go wrong, split by who has to act.

`FileError`: this file is no use; it is set aside with a code and a sentence, and the next
one goes on. `SetupError`: whoever installed us must act; exit code 2 and one plain sentence.
Anything else is a bug, and is allowed to be one.
"""

from __future__ import annotations

import errno
import re
from enum import StrEnum

_PASSWORD = re.compile(r"(://[^:/@\s\"']*):[^\s\"']*@")
_PASSWORD_BEHIND = re.compile(
    r"([?&][a-z_]*(?:password|passwd|token|secret)=)[^&\s\"']+", re.IGNORECASE
)


def without_passwords(text: str) -> str:
    """Say a text without the passwords of the addresses in it, wherever they stand."""
    return _PASSWORD_BEHIND.sub(r"\1…", _PASSWORD.sub(r"\1:…@", text))


class FileCode(StrEnum):
    """Why a file could not be used; part of the JSON contract."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    NO_STEEL = "no_steel"
    UNREADABLE = "unreadable"
    DECODER_KILLED = "decoder_killed"
    CRASHED = "crashed"


class AgentError(Exception):
    """The base of everything the agent raises on purpose."""


class OutOfResources(AgentError):  # noqa: N818 - a state, said in the message
    """Files or memory ran out for now; nothing that was read then says anything about a file."""


PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})
_PASSING_TEXT = re.compile(r"\(os error (11|12|23|24|105)\)|can't allocate memory", re.IGNORECASE)
"""As libraries written in Rust say an error number, and PyTorch that memory ran out."""


def is_out_of_resources(error: BaseException) -> bool:
    """Return whether an error, or what caused it, is that files or memory ran out for now."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | OutOfResources):
            return True
        if isinstance(seen, OSError) and seen.errno in PASSING:
            return True
        if _PASSING_TEXT.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


class FileError(AgentError):
    """This file is no use.

    Args:
        code: The reason as a stable word.
        message: One sentence: what was found, what was expected, what to do.
    """

    def __init__(self, code: FileCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[FileError], tuple[FileCode, str]]:
        """Cross a process border whole: workers raise these."""
        return type(self), (self.code, self.message)


class SetupError(AgentError):
    """Whoever installed the agent must act; the message says what to do."""


class WrongUse(SetupError):  # noqa: N818 - read aloud: "wrong use", not "wrong use error"
    """The command was called with something that cannot be; the message says with what."""


class BadSettings(SetupError):  # noqa: N818
    """`agent.toml` or an `AGENT_…` variable cannot be used."""


class BadStore(SetupError):  # noqa: N818
    """The database or the data folder cannot be used."""


class BadBundle(SetupError):  # noqa: N818
    """A bundle is missing, incomplete or not what its manifest says."""
