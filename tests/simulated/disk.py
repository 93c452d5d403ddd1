"""Files and folders in memory, as POSIX sees them, with what a disk forgets when power is cut.

The program's own calls (`os`, `io.open`) are led here for every path below `ROOT`, and to the real
ones for all others. What a call finds, and when it fails, is for `simulated.world` to decide: it is
asked before each call.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

ROOT = "/simulated"
MOST_NODES = 10_000
"""Numbers that another disk may have given to its files."""
FIRST_HANDLE = 1_000_000  # no real handle is so large, so that neither world takes the other's


@dataclass(eq=False)
class Node:
    """A file or folder.

    Args:
        data: Bytes of a file. entries: names of a folder.
        durable: What a power cut leaves of a file, None: nothing is known to be on the disk.
        kept: What a power cut leaves of a folder's names.
    """

    number: int
    is_folder: bool
    changed_ns: int
    data: bytes = b""
    entries: dict[str, Node] = field(default_factory=dict)
    ctime_ns: int = 0
    durable: bytes | None = None
    kept: dict[str, Node] = field(default_factory=dict)

    def copy(self, copies: dict[Node, Node]) -> Node:
        """Return a copy with all below it. `copies`: original → copy, of what was copied so far."""
        if self not in copies:
            twin = copies[self] = replace(self, entries={}, kept={})
            twin.entries = {name: one.copy(copies) for name, one in self.entries.items()}
            twin.kept = {name: one.copy(copies) for name, one in self.kept.items()}
        return copies[self]

    def facts(self) -> os.stat_result:
        """Return it as `os.stat` does."""
        kind = stat.S_IFDIR | 0o755 if self.is_folder else stat.S_IFREG | 0o644
        times = (0, self.changed_ns // 10**9, self.ctime_ns // 10**9)
        ten = (kind, self.number, 1, 1, 0, 0, len(self.data), *times)
        exact = {"st_mtime_ns": self.changed_ns, "st_ctime_ns": self.ctime_ns}
        exact |= {"st_mtime": self.changed_ns / 1e9, "st_ctime": self.ctime_ns / 1e9}
        return os.stat_result(ten, exact)


class Entry:
    """An entry of a listing, as `os.scandir` yields it."""

    def __init__(self, folder: str, name: str, node: Node, facts: os.stat_result) -> None:
        self.name, self.path = name, f"{folder}/{name}"
        self._node, self._facts = node, facts

    def is_symlink(self) -> bool:
        return False

    def is_dir(self, **_: bool) -> bool:
        return self._node.is_folder

    def is_file(self, **_: bool) -> bool:
        return not self._node.is_folder

    def stat(self, **_: bool) -> os.stat_result:
        return self._facts


class Listing(list[Any]):
    """What `os.scandir` returns: an iterator that is closed."""

    def __enter__(self) -> Iterator[Any]:
        return iter(self)

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Opened:
    """An open file or folder."""

    node: Node
    path: str


class Disk:
    """A tree of nodes.

    Args:
        now_ns: Returns the time of the disk's own clock.
        before: Called as (call, path) before each call of the program; it may raise `OSError`.
        listed: Called as (folder, name → facts) with what a listing or a look is about to show.
        pulled: Called as (path, bytes) with what a read is about to return.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        before: Callable[[str, str], None],
        *,
        listed: Callable[[str, dict[str, os.stat_result]], None] = lambda _path, _names: None,
        pulled: Callable[[str, bytes], bytes] = lambda _path, held: held,
    ) -> None:
        self._now_ns, self._before, self._listed, self._pulled = now_ns, before, listed, pulled
        self._count = 0
        self._opened: dict[int, Opened] = {}
        self.root = self._node(is_folder=True)

    def _node(self, *, is_folder: bool) -> Node:
        self._count += 1
        now_ns = self._now_ns()
        return Node(self._count, is_folder, now_ns, ctime_ns=now_ns)

    # --- what the world does, without any fault --------------------------------------------------

    def find(self, path: str) -> Node | None:
        """Return what lies at a path, or None."""
        node = self.root
        for name in path[len(ROOT) :].split("/"):
            if name:
                found = node.entries.get(name)
                if found is None:
                    return None
                node = found
        return node

    def begin_with(self, root: Node) -> None:
        """Hold a copy of another disk's files."""
        self.root = root.copy({})
        self._count += MOST_NODES

    def make_folder(self, path: str) -> Node:
        """Make a folder, with those above it, safely on the disk."""
        node = self.root
        for name in path[len(ROOT) :].strip("/").split("/"):
            if name not in node.entries:
                node.entries[name] = node.kept[name] = self._node(is_folder=True)
            node = node.entries[name]
        return node

    def write(self, path: str, data: bytes, *, at_ns: int | None = None) -> None:
        """Write a file as another program does, in place; its disk is not the agent's."""
        folder, name = self._parent(path)
        node = folder.entries.get(name)
        if node is None:
            node = folder.entries[name] = self._node(is_folder=False)
        node.data = node.durable = data
        node.changed_ns = node.ctime_ns = self._now_ns() if at_ns is None else at_ns
        folder.kept[name] = node

    def files(self, path: str) -> dict[str, bytes]:
        """Return path below a folder → bytes, of every file in it."""
        found: dict[str, bytes] = {}
        waiting = [(path, "")]
        while waiting:
            below, relative = waiting.pop()
            node = self.find(below)
            for name, one in sorted(node.entries.items()) if node else ():
                if one.is_folder:
                    waiting.append((f"{below}/{name}", f"{relative}{name}/"))
                else:
                    found[relative + name] = one.data
        return found

    def cut_power(self, path: str, keeps: Callable[[], float]) -> None:
        """Forget below a folder what was never synced, as far as `keeps()` in [0, 1] says.

        A name whose folder was not synced may be as it was before; so may a file's content, or be
        cut anywhere. Everything that was synced stays.
        """
        self._opened.clear()
        waiting = [self.find(path)]
        while waiting:
            node = waiting.pop()
            if node is None:
                continue
            if not node.is_folder:
                self._forget_content(node, keeps)
                continue
            for name in sorted(node.entries.keys() | node.kept.keys()):
                if node.entries.get(name) is not node.kept.get(name) and keeps() < 0.5:
                    if name in node.kept:
                        node.entries[name] = node.kept[name]
                    else:
                        del node.entries[name]
            node.kept = dict(node.entries)
            waiting += node.entries.values()

    def _forget_content(self, node: Node, keeps: Callable[[], float]) -> None:
        if node.durable != node.data:
            share = keeps()
            node.data = node.data[: int(len(node.data) * share)] if share < 0.7 else node.data
            node.durable = node.data

    def _parent(self, path: str) -> tuple[Node, str]:
        above, _, name = path.rpartition("/")
        folder = self.find(above)
        if folder is None:
            raise _error(errno.ENOENT, path)
        if not folder.is_folder:
            raise _error(errno.ENOTDIR, path)
        return folder, name

    # --- what the program calls ------------------------------------------------------------------

    def _get(self, path: str) -> Node:
        node = self.find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        return node

    def stat(self, path: str, *_: Any, **__: Any) -> os.stat_result:
        self._before("stat", path)
        node = self._get(path)
        folder, _, name = path.rpartition("/")
        shown = {name: node.facts()}
        self._listed(folder, shown)
        if name not in shown:
            raise _error(errno.ENOENT, path)
        return shown[name]

    def scandir(self, path: str) -> Listing:
        self._before("scandir", path)
        node = self._get(path)
        if not node.is_folder:
            raise _error(errno.ENOTDIR, path)
        shown = {name: one.facts() for name, one in sorted(node.entries.items())}
        self._listed(path, shown)
        ghost = self._node(is_folder=False)
        return Listing(
            Entry(path, name, node.entries.get(name, ghost), facts) for name, facts in shown.items()
        )

    def listdir(self, path: str) -> list[str]:
        return [entry.name for entry in self.scandir(path)]

    def mkdir(self, path: str, *_: Any, **__: Any) -> None:
        self._before("mkdir", path)
        folder, name = self._parent(path)
        if name in folder.entries:
            raise _error(errno.EEXIST, path)
        folder.entries[name] = self._node(is_folder=True)

    def rmdir(self, path: str, **_: Any) -> None:
        self._before("rmdir", path)
        folder, name = self._parent(path)
        if self._get(path).entries:
            raise _error(errno.ENOTEMPTY, path)
        del folder.entries[name]

    def unlink(self, path: str, **_: Any) -> None:
        self._before("unlink", path)
        folder, name = self._parent(path)
        self._get(path)
        del folder.entries[name]

    def replace(self, path: str, target: str, **_: Any) -> None:
        self._before("replace", target)
        folder, name = self._parent(path)
        other, new = self._parent(target)
        other.entries[new] = self._get(path)
        if (folder, name) != (other, new):
            del folder.entries[name]

    def open_handle(self, path: str, *_: Any, **__: Any) -> int:
        self._before("open", path)
        return self._hand(self._get(path), path)

    def _hand(self, node: Node, path: str) -> int:
        self._count += 1
        handle = FIRST_HANDLE + self._count
        self._opened[handle] = Opened(node, path)
        return handle

    def _held(self, handle: int) -> Opened:
        if handle not in self._opened:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._opened[handle]

    def close(self, handle: int) -> None:
        self._opened.pop(handle, None)

    def fdopen(self, handle: int, _mode: str = "r") -> io.BytesIO:
        """Open for reading in bytes; what is read is what there is now."""
        held = self._held(handle)
        self._before("read", held.path)
        self.close(handle)
        return io.BytesIO(self._pulled(held.path, held.node.data))

    def fstat(self, handle: int) -> os.stat_result:
        held = self._held(handle)
        self._before("fstat", held.path)
        return held.node.facts()

    def lseek(self, handle: int, _position: int, _whence: int) -> int:
        return len(self._held(handle).node.data)  # no holes: SEEK_HOLE finds the end

    def fsync(self, handle: int) -> None:
        held = self._held(handle)
        self._before("fsync", held.path)
        if held.node.is_folder:
            held.node.kept = dict(held.node.entries)
        else:
            held.node.durable = held.node.data

    def open(self, path: str, mode: str = "r", *_: Any, **given: Any) -> Any:
        self._before("open" if "r" in mode else "create", path)
        if "r" in mode:
            node = self._get(path)
            if node.is_folder:
                raise _error(errno.EISDIR, path)
            self._before("read", path)
            raw = io.BytesIO(self._pulled(path, node.data))
            if "b" in mode:
                return raw
            return io.TextIOWrapper(raw, given.get("encoding") or "utf-8")
        return self._create(path, mode, given)

    def _create(self, path: str, mode: str, given: dict[str, Any]) -> Any:
        folder, name = self._parent(path)
        if "x" in mode and name in folder.entries:
            raise _error(errno.EEXIST, path)
        if name not in folder.entries:
            folder.entries[name] = self._node(is_folder=False)
        node = folder.entries[name]
        node.data = b""
        raw = _Writing(self, node, path)
        return raw if "b" in mode else io.TextIOWrapper(raw, given.get("encoding") or "utf-8")

    def append(self, node: Node, path: str, data: bytes) -> None:
        """Write on; a disk that is full takes the first part."""
        try:
            self._before("write", path)
        except OSError:
            node.data += data[: len(data) // 2]
            raise
        node.data += data
        node.changed_ns = node.ctime_ns = self._now_ns()


class _Writing(io.RawIOBase):
    """A file open for writing."""

    def __init__(self, disk: Disk, node: Node, path: str) -> None:
        self._disk, self._node, self._path = disk, node, path
        self._handle = disk._hand(node, path)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._disk.append(self._node, self._path, bytes(data))
        return len(data)

    def fileno(self) -> int:
        return self._handle

    def close(self) -> None:
        if not self.closed:
            self._disk.close(self._handle)
        super().close()


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def is_ours(path: object) -> bool:
    """Return whether a path lies in this world."""
    return isinstance(path, str) and (path == ROOT or path.startswith(ROOT + "/"))


Current = Callable[[], Disk]
Call = Callable[..., Any]


def _by_path(current: Current, name: str, real: Call) -> Call:
    def call(path: Any = ".", *given: Any, **named: Any) -> Any:
        text = os.fspath(path) if hasattr(path, "__fspath__") else path
        if not is_ours(text):
            return real(path, *given, **named)
        if given and hasattr(given[0], "__fspath__"):
            given = (os.fspath(given[0]), *given[1:])
        named.pop("dir_fd", None)
        return getattr(current(), name)(text, *given, **named)

    return call


def _by_handle(current: Current, name: str, real: Call) -> Call:
    def call(handle: Any, *given: Any, **named: Any) -> Any:
        if isinstance(handle, int) and handle >= FIRST_HANDLE:
            return getattr(current(), name)(handle, *given)
        return real(handle, *given, **named)

    return call


@contextmanager
def in_place_of_the_real_one(current: Current) -> Iterator[None]:
    """Lead the calls of this process for paths below `ROOT` to the current disk."""
    calls = {"stat": "stat", "lstat": "stat", "scandir": "scandir", "listdir": "listdir"}
    calls |= {"mkdir": "mkdir", "rmdir": "rmdir", "unlink": "unlink", "remove": "unlink"}
    calls |= {"replace": "replace", "rename": "replace", "open": "open_handle"}
    handles = ("close", "fdopen", "fstat", "lseek", "fsync")
    before = {name: getattr(os, name) for name in (*calls, *handles)}
    real_open = io.open
    try:
        for name, own in calls.items():
            setattr(os, name, _by_path(current, own, before[name]))
        for name in handles:
            setattr(os, name, _by_handle(current, name, before[name]))
        io.open = _by_path(current, "open", real_open)
        yield
    finally:
        for name, real in before.items():
            setattr(os, name, real)
        io.open = real_open
