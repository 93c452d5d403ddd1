"""Store and fetch the files of a data folder in an S3-compatible object storage.

An object is named as its file in the data folder, and carries the SHA-256 of its bytes as
metadata, so that what comes back is compared with what was sent. Keys and secrets never come from
the settings: they are read from the environment, the account's AWS files or a credentials file.
"""

from __future__ import annotations

import configparser
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from agent.errors import AgentError, SetupError
from agent.files.whole_file import compute_hash, write_from

SCHEME: Final = "s3://"
CONNECT_S, READ_S = 5, 60
REST_S: Final = 20.0
"""After the storage did not answer, this long no request is sent, so that pages stay quick."""
PIECE_BYTES: Final = 1 << 20
NOT_FOUND: Final = 404
HASH: Final = "sha256"
"""Name of the metadata."""


class ObjectsUnavailableError(OSError, AgentError):
    """The object storage does not answer, or refuses."""


class DamagedObjectError(OSError, AgentError):
    """An object whose bytes are not those that were stored."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object without reading it.

    Args:
        size: Bytes.
        sha256: Of the bytes as they were stored, "" where another program stored it. It is a note
            of who sent them: the storage keeps it, also with other bytes.
        etag: What the storage itself made of the bytes, most often their MD5.
    """

    size: int
    sha256: str
    etag: str = field(default="", compare=False)


class Bucket:
    """The objects of one data folder; safe to share between threads.

    Every method raises `ObjectsUnavailableError` where the storage does not answer, refuses, or has
    no such bucket.

    Args:
        url: "s3://bucket" or "s3://bucket/prefix".
        endpoint: Address of a server of the lab, "" for Amazon's.
        credentials: Path of an AWS credentials file (its section "default"), "" for the usual
            places: environment, then the files of the account that the agent runs as.
        certificate: Path of the PEM file that the server's certificate is checked with, "" for the
            system's.
    """

    def __init__(
        self, url: str, endpoint: str = "", credentials: str = "", certificate: str = ""
    ) -> None:
        self.url = url.rstrip("/")
        self.endpoint, self.credentials, self.certificate = endpoint, credentials, certificate
        self.name, _, prefix = self.url.removeprefix(SCHEME).partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self._lock = threading.Lock()
        self._client: Any = None
        self._silent_until_s = 0.0
        self._silence = ""

    def find(self, name: str) -> ObjectFacts | None:
        """Return what is known of an object, None if there is none."""
        try:
            head = self._request("head_object", Key=self.prefix + name)
        except FileNotFoundError:
            return None
        etag = str(head.get("ETag", "")).strip('"')
        return ObjectFacts(int(head["ContentLength"]), _read_note(head), etag)

    def confirm(self, name: str, facts: ObjectFacts, path: Path, sha256: str) -> bool:
        """Return whether the storage has the right bytes now, by what it made of them itself.

        Where that is not their MD5, as in encrypted buckets, the object is read through once.

        Args:
            name: Of the object.
            facts: What `find` returned.
            path: The same bytes on the disk.
            sha256: Of the bytes.

        Raises:
            FileNotFoundError: There is no such object or file any more.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
        return facts.etag == digest.hexdigest() or self.compute_hash(name) == sha256

    def store(self, name: str, path: Path) -> ObjectFacts:
        """Store a file, and compare what the storage then has with it.

        Raises:
            OSError: The file cannot be read.
        """
        sent = ObjectFacts(path.stat().st_size, compute_hash(path))
        with path.open("rb") as file:
            self._request(
                "put_object", Key=self.prefix + name, Body=file, Metadata={HASH: sent.sha256}
            )
        if (stored := self.find(name)) != sent:
            raise ObjectsUnavailableError(
                f"{self.url}/{name} was stored as {stored}, sent was {sent}"
            )
        return sent

    def fetch(self, name: str, path: Path, *, sha256: str = "") -> str:
        """Write the bytes of an object to a file, which appears only when it is complete.

        Args:
            name: Of the object.
            path: The file.
            sha256: Of the bytes that are expected; "" for those that the object says it has.

        Returns:
            The SHA-256 of the bytes.

        Raises:
            FileNotFoundError: There is no such object.
            DamagedObjectError: Its bytes are not those that were stored.
        """
        actual = ""

        def fill(file: BinaryIO) -> bool:
            nonlocal actual
            noted, actual = self._copy(name, file)
            return actual == (sha256 or noted or actual)

        if not write_from(path, fill):
            raise DamagedObjectError(
                f"{self.url}/{name}: the object storage has other bytes than were sent"
            )
        return actual

    def compute_hash(self, name: str) -> str:
        """Return the SHA-256 of the bytes of an object, read through once.

        Raises:
            FileNotFoundError: There is no such object.
        """
        return self._copy(name, None)[1]

    def delete(self, name: str) -> None:
        """Delete an object; none of that name is no fault."""
        with suppress(FileNotFoundError):
            self._request("delete_object", Key=self.prefix + name)

    def list_names(self, start: str) -> list[str]:
        """Return the names of all objects that begin so, in their order."""
        names: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = self._request("list_objects_v2", Prefix=self.prefix + start, **after)
            token = page.get("NextContinuationToken")
            if "Name" not in page or (page.get("IsTruncated") and token in {None, *after.values()}):
                raise ObjectsUnavailableError(
                    f"{self.url}/{start}: what was answered is no whole list"
                )
            names += [entry["Key"].removeprefix(self.prefix) for entry in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return names
            after = {"ContinuationToken": str(token)}

    # --- the storage ---

    def _request(self, operation: str, **arguments: Any) -> dict[str, Any]:
        with self._connection() as client:
            answer: dict[str, Any] = getattr(client, operation)(Bucket=self.name, **arguments)
            return answer

    def _copy(self, name: str, file: BinaryIO | None) -> tuple[str, str]:
        """Read an object through; return the hash that it says it has, and that of its bytes."""
        digest = hashlib.sha256()
        with self._connection() as client:
            answer = client.get_object(Bucket=self.name, Key=self.prefix + name)
            for piece in answer["Body"].iter_chunks(PIECE_BYTES):
                digest.update(piece)
                if file is not None:
                    _write(file, piece)
        return _read_note(answer), digest.hexdigest()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Yield the client; errors become `ObjectsUnavailableError`, except a missing object."""
        if time.monotonic() < self._silent_until_s:
            raise ObjectsUnavailableError(self._silence)
        with self._lock:
            if self._client is None:
                self._client = self._connect()
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - of the extra

        try:
            yield self._client
        except ObjectsUnavailableError:
            raise
        except (OSError, BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError):
                self._raise_missing(error)
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self._silence = f"{self.url} does not answer: {reason}"
            self._silent_until_s = time.monotonic() + REST_S
            raise ObjectsUnavailableError(self._silence) from error

    def _raise_missing(self, error: Any) -> None:
        """Raise where the storage answered that it has no such object, or no such bucket."""
        answer = error.response
        if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") != NOT_FOUND:
            return
        is_bucket = answer.get("Error", {}).get("Code") == "NoSuchBucket"
        if is_bucket or error.operation_name in {"PutObject", "ListObjectsV2"}:
            raise ObjectsUnavailableError(f"there is no bucket {self.name!r}") from error
        raise FileNotFoundError(f"{self.url}: {error}") from error

    def _connect(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - an extra
            from botocore.config import Config  # noqa: PLC0415 - comes with it
        except ImportError as error:
            raise SetupError(
                "[store] objects names an object storage, but what speaks with it is not "
                "installed: pip install martensight[s3]."
            ) from error
        # Storages other than Amazon's know bucket names in paths, and not all newer checksums.
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": 2, "mode": "standard"},
            s3={"addressing_style": "path" if self.endpoint else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint or None,
            verify=self.certificate or None,
            config=config,
            **_read_credentials(self.credentials),
        )


def _read_credentials(path: str) -> dict[str, str]:
    """Return key and secret of a credentials file, {} where none is named.

    Raises:
        SetupError: It cannot be read, or lacks them.
    """
    if not path:
        return {}
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read_string(Path(path).read_text("utf-8-sig"))
        section = file["default"]
        return {key: section[key] for key in ("aws_access_key_id", "aws_secret_access_key")}
    except (OSError, ValueError, configparser.Error, KeyError) as error:
        raise SetupError(
            f"[store] objects_credentials: {path} cannot be used ({type(error).__name__}); "
            "expected is a section [default] with aws_access_key_id and aws_secret_access_key."
        ) from error


def _read_note(answer: dict[str, Any]) -> str:
    return str(answer.get("Metadata", {}).get(HASH, ""))


def _write(file: BinaryIO, piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as error:  # this disk is full, and the storage answers
        raise ObjectsUnavailableError(
            f"{file.name} cannot be written ({error.strerror})"
        ) from error
