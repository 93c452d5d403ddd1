"""A folder of a real file system that hangs or answers each call with an error.

A share whose server is gone, or that refuses, cannot be had by `chmod`: it takes a file system.
This one is served over /dev/fuse by a thread of the test, which needs root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from pathlib import Path
from typing import Self

import pytest

DETACH_AND_ABORT = 3  # MNT_DETACH | MNT_FORCE
HEADER = struct.Struct("<IIQQIIII")
INIT = 26
ENDS_S = 90.0
"""Then it is gone: a test of a program that hangs there fails, and does not hang itself."""
WITHOUT_ANSWER = {2, 36, 42}  # forget, interrupt, forget many
INIT_ANSWER = struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, 0)


class FailingShare:
    """A mounted folder.

    Args:
        folder: Where it is mounted.
        error: Number of the error that each call gets; None: the call hangs.

    Attributes:
        is_over: It is unmounted, so that nothing hangs any more.
    """

    def __init__(self, folder: Path, error: int | None) -> None:
        self.folder, self._error = folder, error
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._device = -1
        self.is_over = threading.Event()
        self._end = threading.Timer(ENDS_S, self._unmount)
        self._end.daemon = True

    def __enter__(self) -> Self:
        try:
            self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pytest.skip("needs /dev/fuse")
        self.folder.mkdir(parents=True, exist_ok=True)
        how = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        place = os.fsencode(self.folder)
        if self._libc.mount(b"share", place, b"fuse", 0, how):
            os.close(self._device)
            pytest.skip(f"needs the right to mount: {os.strerror(ctypes.get_errno())}")
        threading.Thread(target=self._serve, daemon=True).start()
        self._end.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.cancel()
        self._unmount()

    def _unmount(self) -> None:
        self.is_over.set()
        self._libc.umount2(os.fsencode(self.folder), DETACH_AND_ABORT)

    def _serve(self) -> None:
        try:
            while True:
                request = os.read(self._device, 1 << 18)
                _, kind, number, *_ = HEADER.unpack_from(request)
                if kind == INIT:
                    self._answer(number, 0, INIT_ANSWER)
                    if self._error is None:  # what nobody read can be killed, as on NFS
                        self.is_over.wait()
                elif kind not in WITHOUT_ANSWER and self._error is not None:
                    self._answer(number, -self._error, b"")
        except OSError as error:
            if error.errno != errno.ENODEV:  # it was unmounted
                raise
        finally:
            os.close(self._device)

    def _answer(self, number: int, error: int, content: bytes) -> None:
        head = struct.pack("<IiQ", 16 + len(content), error, number)
        try:
            os.write(self._device, head + content)
        except FileNotFoundError:
            return  # the caller was killed
