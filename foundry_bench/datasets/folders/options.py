"""What a folder of clouds does not tell, as options of its name: ``scans?up=y&points=1024``."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from foundry_bench.errors import UserError, quoted, unknown
from foundry_bench.parameters.query import parse_query, query_text, split_query

POINTS = 2048
MIN_POINTS = 32
"""Points below which a file is taken for a mistake: fewer than one patch of the usual encoders."""
MAX_POINTS = 2**20
Z, Y = "z", "y"
IGNORED = "none"
"""In place of a column: labels per point are not read."""


@dataclass(frozen=True)
class FolderOptions:
    """How the clouds of a folder are read.

    Attributes:
        up: the axis that is up in the files, ``z`` or ``y``; clouds with y up are turned.
        scale: the distance from a cloud's mean, in the units of the files, that becomes 1, so that large objects stay larger
            than small ones; None scales every cloud by itself.
        points: points that every cloud is brought to.
        parts: the column with the part of each point, by name or by number from 0 on; None looks for one called ``part`` and
            for files of labels; ``none`` reads neither.

    Raises UserError for values that cannot be.
    """

    up: str = Z
    scale: float | None = None
    points: int = POINTS
    parts: str | None = None

    def __post_init__(self) -> None:
        if self.up not in (Z, Y):
            raise unknown("up axis of a folder", str(self.up), (Z, Y))
        positive = isinstance(self.scale, float) and math.isfinite(self.scale) and self.scale > 0
        if self.scale is not None and not positive:
            raise UserError(
                f"scale={_short(self.scale)} must be a number above 0, the radius that becomes 1, as in FOLDER?scale=0.5"
            )
        if type(self.points) is not int or not MIN_POINTS <= self.points <= MAX_POINTS:
            raise UserError(
                f"points={_short(self.points)} must be a whole number from {MIN_POINTS} to {MAX_POINTS:,}, as in "
                "FOLDER?points=1024"
            )
        if self.parts == "":
            raise UserError(
                "parts= names no column; write FOLDER?parts=label, or parts=none to leave parts out"
            )

    @classmethod
    def parse(cls, query: str) -> FolderOptions:
        """Options from ``up=y&points=1024``. Raises UserError for an unknown key, a repeated one or a bad value."""
        return parse_query(cls, query, "folder", _read)


def split_folder(text: str) -> tuple[str, FolderOptions]:
    """The folder in ``text`` and the options after its ``?``. A folder that exists as it is written has none."""
    name, query = split_query(text)
    return name, FolderOptions.parse(query)


def join_folder(name: str, options: FolderOptions) -> str:
    """The one text that stands for a folder and its options, the inverse of :func:`split_folder`."""
    query = query_text(options)
    return f"{name}?{query}" if query else name


def with_options(text: str, **asked: Any) -> str:
    """The folder ``text`` with the options ``asked`` for, those that are None left out, beside its own.

    Raises UserError where both give another value.
    """
    name, options = split_folder(text)
    default = FolderOptions()
    for key, value in asked.items():
        own = getattr(options, key)
        if value is not None and own not in (getattr(default, key), value):
            raise UserError(f"{quoted(text)} says {key}={own} and --{key} {value}; give one of them")
    return join_folder(name, replace(options, **{k: v for k, v in asked.items() if v is not None}))


def _read(key: str, text: str) -> Any:
    """The value of one option; a text that is none is refused with the others."""
    kind = {"points": int, "scale": float}.get(key, str)
    with suppress(ValueError):
        if len(text) <= 30 and text.isascii() and "_" not in text:
            return kind(text)
    return text


def _short(value: object) -> str:
    return str(value)[:60]
