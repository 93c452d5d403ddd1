"""Base errors of the agent, by who has to act.

`FileError`: this file cannot be used; it is set aside with a code and a sentence, and the next file
continues. `SetupError`: the operator must act; exit code 2 and one sentence. Any other exception is
a bug.
"""

from __future__ import annotations

import errno
import re
from enum import StrEnum

_PASSWORD = re.compile(r"(://[^:/@\s\"']*):[^\s\"']*@")
_PASSWORD_BEHIND = re.compile(
    r"([?&][a-z_]*(?:password|passwd|token|secret)=)[^&\s\"']+", re.IGNORECASE
)


def hide_passwords(text: str) -> str:
    """Return a text without the passwords of the URLs in it."""
    return _PASSWORD_BEHIND.sub(r"\1…", _PASSWORD.sub(r"\1:…@", text))


class FileCode(StrEnum):
    """Reason why a file could not be used; part of the JSON contract."""

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
    """Base of all errors that the agent raises deliberately."""


class OutOfResourcesError(AgentError):
    """File handles or memory ran out; errors of reading a file mean nothing at that time."""


PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})
_PASSING_TEXT = re.compile(r"\(os error (11|12|23|24|105)\)|can't allocate memory", re.IGNORECASE)
"""Error texts of libraries written in Rust, and of PyTorch on lack of memory."""


def is_out_of_resources(error: BaseException) -> bool:
    """Return whether an error or one of its causes is a lack of file handles or memory."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | OutOfResourcesError):
            return True
        if isinstance(cause, OSError) and cause.errno in PASSING:
            return True
        if _PASSING_TEXT.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class FileError(AgentError):
    """A file cannot be used.

    Args:
        code: Reason as a stable word.
        message: One sentence: what was found, what was expected, what to do.
    """

    def __init__(self, code: FileCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[FileError], tuple[FileCode, str]]:
        """Return the arguments for unpickling: worker processes raise these errors."""
        return type(self), (self.code, self.message)


class SetupError(AgentError):
    """The operator must act; the message names the remedy."""


class UsageError(SetupError):
    """A command or an act is not possible in this way; the message names the reason."""


class BadSettingsError(SetupError):
    """`agent.toml` or an `AGENT_…` variable cannot be used."""


class StoreError(SetupError):
    """The database or the data folder cannot be used."""


class UnusableBundleError(SetupError):
    """A bundle is missing, incomplete or differs from its manifest."""
