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
from contextlib import contextmanager
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
class Access:
    """How an object storage is reached.

    Args:
        url: "s3://bucket" or "s3://bucket/prefix".
        endpoint: Address of a server of the lab, "" for Amazon's.
        credentials: Path of an AWS credentials file (its section "default"), "" for the usual
            places: environment, then the files of the account that the agent runs as.
        certificate: Path of the PEM file that the server's certificate is checked with, "" for the
            system's.
    """

    url: str
    endpoint: str = ""
    credentials: str = ""
    certificate: str = ""

    @property
    def root(self) -> str:
        """Bucket and prefix, without a slash at the end."""
        return self.url.removeprefix(SCHEME).strip("/")


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

    Args:
        access: How it is reached.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self._lock = threading.Lock()
        self._client: Any = None
        self._silent_until_s = 0.0
        self._silence = ""

    # --- objects ---

    def find(self, name: str) -> ObjectFacts | None:
        """Return what is known of an object, None if there is none.

        Raises:
            ObjectsUnavailableError: The storage does not answer, or refuses.
        """
        bucket, key = self._split(name)
        try:
            with self._connection() as client:
                head = client.head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        noted = str(head.get("Metadata", {}).get(HASH, ""))
        return ObjectFacts(int(head["ContentLength"]), noted, str(head.get("ETag", "")).strip('"'))

    def confirm(self, name: str, facts: ObjectFacts, path: Path, sha256: str) -> bool:
        """Return whether the storage has the right bytes now, by what it made of them itself.

        Where that is not their MD5, as in encrypted buckets, the object is read through once.

        Args:
            name: Of the object.
            facts: What `find` returned.
            path: The same bytes on the disk.
            sha256: Of the bytes.

        Raises:
            FileNotFoundError: There is no such object any more.
            ObjectsUnavailableError: The storage does not answer, or refuses.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
        return facts.etag == digest.hexdigest() or self._copy(name, None) == sha256

    def store(self, name: str, path: Path) -> ObjectFacts:
        """Store a file, and compare what the storage then has with it.

        Raises:
            ObjectsUnavailableError: The storage does not answer, refuses, or has other bytes.
            OSError: The file cannot be read.
        """
        sent = ObjectFacts(path.stat().st_size, compute_hash(path))
        bucket, key = self._split(name)
        with path.open("rb") as file:
            try:
                with self._connection() as client:
                    client.put_object(
                        Bucket=bucket, Key=key, Body=file, Metadata={HASH: sent.sha256}
                    )
            except FileNotFoundError as error:
                raise _lack_bucket(bucket) from error
        if (stored := self.find(name)) != sent:
            raise ObjectsUnavailableError(
                f"{self._name_object(name)} was stored as {stored}, sent was {sent}"
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
            ObjectsUnavailableError: The storage does not answer, or refuses.
        """
        wanted = sha256 or self._get_facts(name).sha256
        found = ""

        def fill(file: BinaryIO) -> bool:
            nonlocal found
            found = self._copy(name, file)
            return found == wanted or not wanted

        if not write_from(path, fill):
            raise DamagedObjectError(
                f"{self._name_object(name)}: the object storage has other bytes than were sent"
            )
        return found

    def compute_hash(self, name: str) -> str:
        """Return the SHA-256 of the bytes of an object, read through once.

        Raises:
            FileNotFoundError: There is no such object.
            ObjectsUnavailableError: The storage does not answer, or refuses.
        """
        self._get_facts(name)
        return self._copy(name, None)

    def delete(self, name: str) -> None:
        """Delete an object; none of that name is no fault.

        Raises:
            ObjectsUnavailableError: The storage does not answer, or refuses.
        """
        bucket, key = self._split(name)
        try:
            with self._connection() as client:
                client.delete_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            self.list_names(name)  # raises where the bucket is missing, not the object

    def list_names(self, start: str) -> list[str]:
        """Return the names of all objects that begin so, in their order.

        Raises:
            ObjectsUnavailableError: The storage does not answer, refuses, or has no such bucket.
        """
        return [name for name, _size in self.list_sizes(start)]

    def list_sizes(self, start: str) -> list[tuple[str, int]]:
        """Return name and size of all objects that begin so, in their order.

        Raises:
            ObjectsUnavailableError: The storage does not answer, refuses, or has no such bucket.
        """
        bucket, key = self._split(start)
        found: list[tuple[str, int]] = []
        after: dict[str, str] = {}
        lead = len(self._split("")[1])
        while True:
            try:
                with self._connection() as client:
                    page = client.list_objects_v2(Bucket=bucket, Prefix=key, **after)
            except FileNotFoundError as error:
                raise _lack_bucket(bucket) from error
            token = page.get("NextContinuationToken")
            if "Name" not in page or (page.get("IsTruncated") and token in {None, *after.values()}):
                raise ObjectsUnavailableError(
                    f"{self._name_object(start)}: what was answered is no whole list"
                )
            found += [
                (entry["Key"][lead:], int(entry["Size"])) for entry in page.get("Contents", ())
            ]
            if not page.get("IsTruncated"):
                return found
            after = {"ContinuationToken": token}

    # --- the storage ---

    def _get_facts(self, name: str) -> ObjectFacts:
        facts = self.find(name)
        if facts is None:
            raise FileNotFoundError(f"{self._name_object(name)}: there is no such object")
        return facts

    def _copy(self, name: str, file: BinaryIO | None) -> str:
        """Read an object through; return the hash of its bytes."""
        digest = hashlib.sha256()
        bucket, key = self._split(name)
        with self._connection() as client:
            remote = client.get_object(Bucket=bucket, Key=key)["Body"]
            for piece in remote.iter_chunks(PIECE_BYTES):
                digest.update(piece)
                if file is not None:
                    _write(file, piece)
        return digest.hexdigest()

    def _split(self, name: str) -> tuple[str, str]:
        bucket, _, prefix = self.access.root.partition("/")
        return bucket, f"{prefix}/{name}" if prefix else name

    def _name_object(self, name: str) -> str:
        return f"{SCHEME}{self.access.root}/{name}"

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Return the connection; errors become `ObjectsUnavailableError`, except a missing file."""
        if time.monotonic() < self._silent_until_s:
            raise ObjectsUnavailableError(self._silence)
        client = self._connect()
        try:
            yield client
        except ObjectsUnavailableError:
            raise
        except _collect_faults() as error:
            if _is_missing(error):
                raise FileNotFoundError(f"{SCHEME}{self.access.root}: {error}") from error
            sentence = f"{SCHEME}{self.access.root} does not answer: {_shorten(error)}"
            self._silence, self._silent_until_s = sentence, time.monotonic() + REST_S
            raise ObjectsUnavailableError(sentence) from error

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _open_client(self.access)
            return self._client


def _open_client(access: Access) -> Any:
    try:
        import boto3  # noqa: PLC0415 - an extra
        from botocore.config import Config  # noqa: PLC0415 - comes with it
    except ImportError as error:
        raise SetupError(
            "[store] objects names an object storage, but what speaks with it is not installed: "
            "pip install martensight[s3]."
        ) from error
    # Storages other than Amazon's know bucket names in paths, and not all newer checksums.
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
        s3={"addressing_style": "path" if access.endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=access.endpoint or None,
        verify=access.certificate or None,
        config=config,
        **_read_credentials(access.credentials),
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
        with open(path, encoding="utf-8-sig") as opened:  # noqa: PTH123 - the path is a setting
            file.read_file(opened)
        section = file["default"]
        return {
            "aws_access_key_id": section["aws_access_key_id"],
            "aws_secret_access_key": section["aws_secret_access_key"],
        }
    except (OSError, ValueError, configparser.Error, KeyError) as error:
        raise SetupError(
            f"[store] objects_credentials: {path} cannot be used ({type(error).__name__}); "
            "expected is a section [default] with aws_access_key_id and aws_secret_access_key."
        ) from error


def _collect_faults() -> tuple[type[BaseException], ...]:
    import botocore.exceptions  # noqa: PLC0415 - comes with the extra

    return OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError


def _is_missing(error: BaseException) -> bool:
    """Return whether the storage answered that it has no such object or bucket."""
    answer = getattr(error, "response", {}).get("ResponseMetadata", {})
    return isinstance(error, FileNotFoundError) or answer.get("HTTPStatusCode") == NOT_FOUND


def _write(file: BinaryIO, piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as error:  # this disk is full, and the storage answers
        raise ObjectsUnavailableError(
            f"{file.name} cannot be written ({error.strerror})"
        ) from error


def _lack_bucket(name: str) -> ObjectsUnavailableError:
    return ObjectsUnavailableError(f"there is no bucket {name!r}")


def _shorten(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
