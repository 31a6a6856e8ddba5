"""The door of an encoder's folder, the part without torch: which files are opened at all, and what a ``config.json`` may hold.

Folders are downloaded, copied and edited by hand, so nothing in them is believed: a file is regular and of a bounded size
before a byte of it is read, and a card is one JSON object without repeated keys.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from foundry_bench.border import message_of, plain
from foundry_bench.errors import UserError

LARGEST_CARD = 1 << 24
"""Bytes of a ``config.json``; that of the shipped teacher has 4,000."""
LARGEST_WEIGHTS = 1 << 34
"""Bytes of a weights file: 16 GiB are four billion numbers in single precision, more than any published point encoder has."""
SHOWN = 120
"""Characters of a foreign text that an error repeats."""


def shown(text: object) -> str:
    """A text from a file as part of an error: short, on one line and without control characters."""
    whole = str(text)
    return plain(whole if len(whole) <= SHOWN else f"{whole[:SHOWN]}...")


def first_line(error: BaseException) -> str:
    """What another library's exception says, as part of an error: its first line, or its name where it says nothing."""
    lines = message_of(error).strip().splitlines()
    return shown(lines[0] if lines else type(error).__name__)


def check_file(path: Path, largest: int, fix: str) -> None:
    """Raise UserError, with ``fix`` in its line, unless ``path`` is a regular file of 1 to ``largest`` bytes, or a link to one.

    Pipes and devices wait or never end, so they are refused before they are opened.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character in a name
        raise UserError(f"{path} cannot be read ({_reason(error)}); {fix}") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is no file but a folder, pipe or device; {fix}")
    if found.st_size == 0:
        raise UserError(f"{path} is empty; {fix}")
    if found.st_size > largest:
        raise UserError(f"{path} has {found.st_size:,} bytes, more than the {largest:,} that are read; {fix}")


def read_card(folder: Path, fix: str) -> dict[str, Any]:
    """The ``config.json`` beside the weights in ``folder``: sizes, provenance and what was measured on them; torch is not
    imported.

    Raises UserError, with ``fix`` in its line, for a file that is missing, too large, no JSON object, nested too deep, or that
    has a key twice.
    """
    path = folder / "config.json"
    check_file(path, LARGEST_CARD, fix)
    try:
        card = json.loads(path.read_bytes(), object_pairs_hook=_object)
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: no JSON, no UTF-8, a number of 5,000 digits
        raise UserError(f"{path} cannot be read ({_reason(error)}); {fix}") from error
    if not isinstance(card, dict):
        raise UserError(f"{path} is no JSON object but {shown(json.dumps(card))}; {fix}")
    return card


def check_format(folder: Path, card: Mapping[str, Any], wanted: str) -> None:
    """Raise UserError unless ``card`` says that it is of the format ``wanted``, such as ``foundry-bench teacher 1``."""
    if card.get("format") != wanted:
        kind = wanted.split()[1]
        raise UserError(
            f"{folder}/config.json is no {kind} of this version (format {shown(repr(card.get('format')))}, not {wanted!r}); "
            f"give the folder of a {kind} or make it again"
        )


def of_card(folder: Path, card: Mapping[str, Any], name: str, kind: type | UnionType, takes: str) -> Any:
    """The value of ``name`` in ``card``. Raises UserError where it is missing or not of ``kind``, ``takes`` in words."""
    value = card.get(name)
    if not isinstance(value, kind):
        found = f"not {shown(json.dumps(value))}" if name in card else "and is missing"
        raise UserError(f"{folder}/config.json: {name} must be {takes}, {found}; make the folder again")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a key that stands twice: one of the two values would be lost without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} stands twice, keep one")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
