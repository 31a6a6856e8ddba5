"""Options behind a path, ``FILE?branch=ema&groups=128``: what a file or folder does not tell, as a part of its name.

Options are the fields of a frozen dataclass. Those at their default are not written, so that one choice has one text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from foundry_bench.errors import UserError, unknown

T = TypeVar("T")


def exists(path: Path) -> bool:
    """Whether there is anything at ``path``; not where the system takes no such name, such as one of 5,000 letters."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def split_query(text: str) -> tuple[str, str]:
    """The path in ``text`` and what stands after its ``?``. A path that exists as it is written has no options."""
    name, mark, query = text.rpartition("?")
    return (text, "") if not mark or exists(Path(text)) else (name, query)


def parse_query(cls: type[T], query: str, what: str, read: Callable[[str, str], Any]) -> T:
    """The options ``cls`` of ``up=y&points=1024``; ``read(key, text)`` makes a value of a text, ``what`` is for messages.

    Raises UserError for an unknown key, a repeated one, or a value that ``cls`` refuses.
    """
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for item in filter(None, query.split("&")):
        key, _, value = item.partition("=")
        if key not in known:
            raise unknown(f"{what} option", key, known)
        if key in values:
            raise UserError(f"{what} option {key} is given twice in {query!r}; keep one")
        values[key] = read(key, value)
    return cls(**values)


def given(options: Any) -> dict[str, Any]:
    """Those of the options that are not at their default, in a fixed order."""
    values = {field.name: (getattr(options, field.name), field.default) for field in fields(options)}
    return {name: value for name, (value, default) in values.items() if value != default}


def query_text(options: Any) -> str:
    """The text after the ``?``, empty where nothing is given; the same for the same options."""
    return "&".join(f"{key}={value}" for key, value in given(options).items())
