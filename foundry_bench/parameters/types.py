"""Which values a parameter takes: the annotation of its field says so, with bounds declared beside it.

Known are ``int``, ``float``, ``bool``, ``str``, ``Literal``, ``None``, unions of them, ``tuple[X, ...]``, and any of them as
``Annotated[X, Bounds(...)]``. A field with another annotation takes every value.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import lru_cache
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from foundry_bench.border import one_line
from foundry_bench.errors import UserError
from foundry_bench.parameters.text import as_text

LARGEST = 2**31 - 1
"""Above it a whole number is a slip: nothing here has so many tokens, blocks or clouds."""
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
_EXAMPLES = {int: 1, float: 0.5, bool: True, str: "name", NoneType: None}


class WrongValueError(UserError, ValueError):
    """A value that a parameter does not take; also a ValueError, as constructors raise."""


class _OutOfBoundsError(ValueError):
    """A value of the right type that lies outside its bounds."""


@dataclass(frozen=True)
class Bounds:
    """The range of a number, or of every number of a tuple: ``Annotated[float, Bounds(above=0, at_most=1)]``."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def check(self, value: float) -> None:
        """Raise _OutOfBoundsError for a value outside."""
        inside = (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )
        if not inside:
            raise _OutOfBoundsError(str(self))

    def __str__(self) -> str:
        """``>= 0``, or ``in (0, 1]`` where both ends are bounded."""
        low = f">= {self.at_least}" if self.above is None else f"> {self.above}"
        high = f"<= {self.at_most}" if self.below is None else f"< {self.below}"
        if self.at_most is None and self.below is None:
            return low
        if self.at_least is None and self.above is None:
            return high
        first = f"[{self.at_least}" if self.above is None else f"({self.above}"
        return f"in {first}, " + (f"{self.at_most}]" if self.below is None else f"{self.below})")

    @property
    def words(self) -> str:
        """The range as it follows ``a number``: ``of at least 0``."""
        text = str(self)
        for sign, word in ((">=", "of at least"), ("<=", "of at most"), (">", "above"), ("<", "below")):
            text = text.replace(sign, word)
        return text


def known(cls: type) -> dict[str, Field[Any]]:
    """The parameters of a plugin's dataclass by name."""
    return {f.name: f for f in fields(cls) if f.init}


def checked(cls: type, label: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` of parameters as their annotations have them, so that 1, 1.0 and 1e0 are one number where floats are.

    ``label`` is the plugin's name. Raises WrongValueError, whose one line names the parameter, what it takes and an example.
    """
    return {name: _checked(cls, label, name, value) for name, value in values.items()}


def hold(plugin: Any, label: str) -> None:
    """Check a frozen plugin's own values and keep them as their annotations have them. Raises WrongValueError."""
    cls = type(plugin)
    for name, value in checked(cls, label, {name: getattr(plugin, name) for name in known(cls)}).items():
        object.__setattr__(plugin, name, value)


def _checked(cls: type, label: str, name: str, value: Any) -> Any:
    hint, default = hints(cls)[name], known(cls)[name].default
    if type(value) is type(default) and value == default:
        return value
    try:
        found = read(hint, value)
    except ValueError as error:
        raise WrongValueError(_refusal(label, name, value, hint, default, error)) from None
    return default if found == default else found


def _refusal(label: str, name: str, value: Any, hint: Any, default: Any, error: ValueError) -> str:
    text = "" if value is None else one_line(as_text(value))
    if isinstance(error, _OutOfBoundsError):
        takes = f"must be {error} and takes {_takes(hint, bounded=False)}"
    else:
        takes = f"{'must be' if _has_choices(hint) else 'takes'} {_takes(hint)}"
    if isinstance(value, int | float) and str in (hint, *get_args(hint)):
        default = str(value)  # a number is text in quotes
    example = as_text(_example(hint) if default in (MISSING, None, "") else default)
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return f"{label}[{name}={shown}]: {name} {takes}, such as {label}[{name}={example}]"


def _has_choices(hint: Any) -> bool:
    """Whether some values of an annotation are given word for word."""
    return get_origin(hint) is Literal or any(_has_choices(member) for member in get_args(hint))


@lru_cache(maxsize=256)
def hints(cls: type) -> dict[str, Any]:
    """The annotation of every parameter; Any for one that only a type checker can read."""
    return {name: _hint(cls, name, f.type) for name, f in known(cls).items()}


def _hint(cls: type, name: str, annotation: Any) -> Any:
    owner = next((c for c in cls.__mro__ if name in vars(c).get("__annotations__", ())), cls)
    names = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
    try:
        holder = SimpleNamespace(__annotations__={name: annotation})
        return get_type_hints(holder, names, include_extras=True)[name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def read(hint: Any, value: Any, bounds: Bounds | None = None) -> Any:
    """``value`` as the annotation ``hint`` has it: whole numbers become floats where floats are, lists tuples.

    Raises ValueError for a value that it does not take.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return read(inner[0], value, next((b for b in inner[1:] if isinstance(b, Bounds)), bounds))
    if origin in (Union, UnionType):
        return _read_union(inner, value, bounds)
    if origin is Literal:
        return _require(any(type(c) is type(value) and c == value for c in inner), value)
    if origin is tuple and len(inner) == 2 and inner[1] is ...:
        return _read_tuple(inner[0], value, bounds)
    return _read_scalar(hint, value, bounds) if hint in _NAMES else value


def _read_union(members: tuple[Any, ...], value: Any, bounds: Bounds | None) -> Any:
    """What the first member that takes the value reads; a number out of its bounds is told before a wrong type."""
    refused = ValueError()
    for hint in members:
        try:
            return read(hint, value, bounds)
        except ValueError as error:
            refused = error if isinstance(error, _OutOfBoundsError) else refused
    raise refused


def _read_tuple(hint: Any, value: Any, bounds: Bounds | None) -> tuple[Any, ...]:
    _require(isinstance(value, tuple | list), value)
    _require(value or bounds is None, value)
    return tuple(read(hint, item, bounds) for item in value)


def _read_scalar(kind: type, value: Any, bounds: Bounds | None) -> Any:
    if kind is bool:
        value = _SWITCHES.get(value.lower(), value) if isinstance(value, str) else value
    if kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    _require(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), value)
    if kind is int and abs(value) > LARGEST:
        raise _OutOfBoundsError(f"in [{-LARGEST}, {LARGEST}]")
    _require(kind is not float or math.isfinite(value), value)
    if bounds is not None and kind in (int, float):
        bounds.check(value)
    return value


def _require(taken: bool, value: Any) -> Any:
    if not taken:
        raise ValueError
    return value


def choices(hint: Any) -> tuple[Any, ...]:
    """The values that an annotation names word for word: those of its literals, true and false of a switch."""
    if hint is bool:
        return (True, False)
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return inner
    return tuple(dict.fromkeys(value for member in inner for value in choices(member)))


def _takes(hint: Any, bounded: bool = True) -> str:
    """What an annotation takes, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [b.words for b in inner[1:] if bounded and isinstance(b, Bounds)]
        return " ".join([_takes(inner[0], bounded), *bounds])
    if origin in (Union, UnionType):
        return " or ".join(_takes(member, bounded) for member in inner)
    if origin is Literal:
        return f"one of {', '.join(map(as_text, inner))}" if len(inner) > 1 else as_text(inner[0])
    if origin is tuple:
        return f"a tuple, each value {_takes(inner[0], bounded)}"
    return _NAMES.get(hint, "of any type")


def _example(hint: Any) -> Any:
    """A value that an annotation takes, for a parameter whose default shows none."""
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return (_example(inner[0]),)
    if not inner:
        return _EXAMPLES.get(hint, "name")
    return inner[0] if get_origin(hint) is Literal else _example(inner[0])
