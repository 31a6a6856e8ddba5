"""Writing files so that each is either complete or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundry_bench.border import message_of

CACHE_VARIABLE = "FOUNDRY_BENCH_CACHE"
"""Environment variable that names the folder for what can be made again."""
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Error numbers of a folder that is none."""
LARGEST_JSON = 1 << 29
"""Bytes of a JSON file that is read: an index of a million records."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk and of a used-up quota."""


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success rename it to ``path``, on failure remove it.

    With ``durable`` the content is on the disk before the file gets its name, so that a power cut cannot lose it. This takes
    some milliseconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name, because a process number may be the same on two hosts.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
        temporary.chmod(0o644)  # some writers make private files
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder for files; on success they are in ``folder``, on failure nothing has changed.

    They appear together where the folder is not there yet. Else each takes its place when all are on the disk, one right
    after the other in the reverse order of their names; other files stay. Raises OSError.
    """
    there = folder.is_dir()
    parent = folder if there else folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f".{secrets.token_hex(8)}.tmp"  # the folder's name may be as long as names can be
    temporary.mkdir()
    try:
        yield temporary
        files = sorted(temporary.iterdir(), reverse=True)
        for path in files:
            path.chmod(0o644)  # some writers make private files
            with path.open("rb+") as handle:
                os.fsync(handle.fileno())
        if not there:
            temporary.replace(folder)
            return
        for path in files:
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write ``content`` to ``path``, completely or not at all."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def file_name(text: str) -> str:
    """``text`` as the name of a file on every system, as it is where it can be; two texts never share one."""
    kept = re.sub(r"[^A-Za-z0-9 ._=,+-]+", "-", text).strip("-. ")[:80].rstrip()
    if kept == text:
        return kept
    return f"{kept or 'x'}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def entries_in(folder: Path) -> list[os.DirEntry[str]]:
    """What is in ``folder``; nothing where it is none but a file, a link in a circle, or not there. Raises other OSErrors."""
    try:
        return list(os.scandir(folder))
    except OSError as error:
        if error.errno in NO_FOLDER:
            return []
        raise


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises OSError, or ValueError for what is not a file or not JSON, however it is not."""
    return _parsed(_bytes(path), path)


def _bytes(path: Path) -> bytes:
    """The content of a file that is one: never of a device, which has no end, a pipe, or what no memory holds."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file")
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{path} is larger than {LARGEST_JSON:,} bytes")
    return path.read_bytes()


def _parsed(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


_SEAL = b'{"sha256":"%s","content":'


def sealed(content: object) -> bytes:
    """JSON with the hash of its text in front, for a file that can be made again: :func:`read_sealed` takes it only whole and
    as it was written."""
    text = json.dumps(content, separators=(",", ":")).encode()
    return _SEAL % hashlib.sha256(text).hexdigest().encode() + text + b"}"


def read_sealed(path: Path) -> Any:
    """The content of a file that :func:`sealed` made. Raises OSError, or ValueError where it is not as it was written."""
    written = _bytes(path)
    text = written[len(_SEAL) - len(b"%s") + 64 : -1]
    if not written.startswith(_SEAL % hashlib.sha256(text).hexdigest().encode()):
        raise ValueError(f"{path} is not as it was written")
    return _parsed(text, path)


def disk_is_full(error: BaseException) -> bool:
    """Whether ``error``, or its cause, is a full disk; libraries that are not written in Python say so only in the
    message."""
    seen: BaseException | None = error
    while seen is not None:
        text = message_of(seen)
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        if "No space left on device" in text or "Disk quota exceeded" in text:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def reserve(file: int, size: int) -> None:
    """Give the open ``file`` its ``size`` in bytes on the disk, so that writing through a memory map cannot fail.

    Raises OSError where the disk has not that much left. File systems that cannot reserve are left as they are.
    """
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in FULL:
            raise
