"""How a teacher is named: a registered name, a folder of ours, or a file, ``FILE`` or ``FILE?branch=ema&groups=128``.

The part after ``?`` says what a checkpoint's weights do not tell. It belongs to the name, so that a sweep's records and a
student's folder hold all that is needed to load the same teacher again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from foundry_bench.errors import UserError, unknown
from foundry_bench.parameters.query import given, parse_query, query_text, split_query

STUDENT, EMA = "student", "ema"
BRANCHES = (STUDENT, EMA)
Z, Y = "z", "y"
_WHOLE = re.compile("[0-9]{1,10}")
CHOICES = {"branch": BRANCHES, "up": (Z, Y)}


@dataclass(frozen=True)
class Options:
    """``branch``: which of a checkpoint's encoders, the one that was trained or its moving average. ``heads`` of attention,
    ``groups`` of ``group_size`` points, ``points`` a cloud; None is what the file's hyper-parameters say, else what was
    published with the weights. ``up``: the axis that is up in the clouds that the encoder will be given: ``z``, as in all data
    sets here, or ``y``, as it was trained. Raises UserError for values that cannot be."""

    branch: str = STUDENT
    heads: int | None = None
    groups: int | None = None
    group_size: int | None = None
    points: int | None = None
    up: str = Z

    def __post_init__(self) -> None:
        for key, values in CHOICES.items():
            if getattr(self, key) not in values:
                raise unknown(f"{key} of a teacher", str(getattr(self, key)), values)
        for key, value in self.given.items():
            if key not in CHOICES and (type(value) is not int or value < 1):
                raise UserError(
                    f"teacher option {key}={str(value)[:60]} must be a whole number of at least 1, as in FILE?{key}=64"
                )

    @classmethod
    def parse(cls, query: str) -> Options:
        """Options from ``branch=ema&groups=128``. Raises UserError for an unknown key, a repeated one or a bad value."""
        return parse_query(
            cls, query, "teacher", lambda _, text: int(text) if _WHOLE.fullmatch(text) else text
        )

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not at their default, in a fixed order."""
        return given(self)

    @property
    def query(self) -> str:
        """The text after the ``?``, empty where nothing is given; the same for the same options."""
        return query_text(self)

    def merged(self, **values: Any) -> Options:
        """These options with ``values`` that are not None in their place."""
        return replace(self, **{key: value for key, value in values.items() if value is not None})


def split_name(text: str) -> tuple[str, Options]:
    """The name or path in ``text`` and the options after its ``?``. A path that exists as it is written has none."""
    name, query = split_query(text)
    return name, Options.parse(query)


def join_name(name: str, options: Options) -> str:
    """The one text that stands for a teacher, the inverse of :func:`split_name`."""
    return f"{name}?{options.query}" if options.query else name


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher's weights come from, kept as ``teacher.source``.

    ``name`` loads the same teacher again, and ``sha256`` is its hash, of the file and of the options in the name. ``layout`` is
    the public layout that was recognised and ``branch`` the encoder that was taken. ``notes`` say what the weights did not tell
    and what of the file was left out.
    """

    name: str
    layout: str
    branch: str
    sha256: str
    notes: tuple[str, ...] = ()
