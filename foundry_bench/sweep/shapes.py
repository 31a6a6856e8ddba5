"""Whether JSON has the shape of what a sweep writes.

A digest or a seal tells that nobody has changed a file by hand; who does so on purpose writes a new one beside it. What then
is of no shape that a sweep leaves counts as missing, and nothing that reads it has to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

Check = Callable[[Any], bool]
BEYOND = 2**63
"""The first whole number that no column of a table takes."""


@lru_cache(maxsize=128)
def shape(kind: Any) -> Check:
    """Whether a value from JSON is a ``kind``, a ``TypedDict`` or what it is made of: keys that are required are there, those
    that are known have their types, numbers are finite and text is text. Keys that nobody knows are passed over."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return _keys(kind)
    if origin in (Union, UnionType):
        members = [shape(member) for member in inner]
        return lambda value: any(fits(value) for fits in members)
    if origin is list:
        item = shape(inner[0])
        return lambda value: type(value) is list and all(map(item, value))
    if origin is dict:
        item = shape(inner[1])
        return lambda value: type(value) is dict and all(map(item, value.values()))
    return PLAIN[kind]


def _keys(kind: Any) -> Check:
    checks = {name: shape(hint) for name, hint in get_type_hints(kind).items()}
    required = kind.__required_keys__

    def fits(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        return all(checks[name](item) for name, item in value.items() if name in checks)

    return fits


def _whole(value: Any) -> bool:
    return type(value) is int and -BEYOND <= value < BEYOND


def _number(value: Any) -> bool:
    return _whole(value) or (type(value) is float and isfinite(value))


def _text(value: Any) -> bool:
    """No half of a pair of surrogates, which JSON can write and nothing can encode."""
    return type(value) is str and (
        value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    )


PLAIN: dict[Any, Check] = {
    Any: lambda value: True,
    type(None): lambda value: value is None,
    bool: lambda value: type(value) is bool,
    int: _whole,
    float: _number,
    str: _text,
}
