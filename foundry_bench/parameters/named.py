"""One plugin by name, with the values asked for its parameters: ``foundry[supertokens=4]``, ``procedural[clouds=1000]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foundry_bench.border import plain
from foundry_bench.errors import UserError, quoted, unknown
from foundry_bench.parameters.text import as_text, keyed, read_text, split, tokens
from foundry_bench.parameters.types import checked, known


@dataclass(frozen=True)
class Part:
    """A plugin's name and the values asked for its parameters."""

    name: str
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)


def bare_name(text: str) -> str:
    """``procedural`` of ``procedural[clouds=1000]``."""
    return text.partition("[")[0].strip()


def parse_part(text: str) -> Part:
    """Parse ``name`` or ``name[a=1,2,b=3]``; values are read by :func:`read_text`. Raises UserError."""
    name, *body = tokens(text.strip())
    while body and body[0] not in "[]":
        name += body.pop(0)
    if not body:
        return Part(name.strip())
    if body[0] != "[" or body[-1] != "]" or any(token in "[]" for token in body[1:-1]):
        raise unreadable(text)
    return Part(name.strip(), _values(text, "".join(body)[1:-1]))


def _values(text: str, body: str) -> dict[str, tuple[Any, ...]]:
    """What stands between the brackets of the part ``text``: the values of each parameter, in their order."""
    values: dict[str, list[Any]] = {}
    key = ""
    for item in split(body, ","):
        named, value = keyed(item)
        if named in values:
            raise UserError(
                f"cannot read selector {quoted(text)}; {plain(named)[:40]} stands twice, write {plain(named)[:40]}=1,2"
            )
        key = named or key
        if not key:
            example = f"param={plain(item)[:40].lstrip('=')}"
            raise UserError(
                f"cannot read selector {quoted(text)}; {quoted(item)} belongs to no parameter, write {example}"
            )
        try:
            values.setdefault(key, []).append(read_text(value))
        except ValueError as error:
            raise UserError(
                f"cannot read selector {quoted(text)}; {quoted(value.strip())} of {plain(key)[:40]}: {error}"
            ) from error
    return {key: tuple(several) for key, several in values.items()}


def unreadable(text: str) -> UserError:
    """The error for a selector whose brackets or names do not fit."""
    return UserError(f"cannot read selector {quoted(text)}; write it as name[param=1,2]+variant")


def values_text(values: Mapping[str, Any]) -> str:
    """Parameters as they stand in a selector's brackets and, for people, under ``shown`` in a record: ``r=8,early=True``."""
    return ",".join(f"{name}={as_text(value)}" for name, value in values.items())


def bracketed(name: str, values: str) -> str:
    """A name and the text of its parameters, if any: ``fewshot[mode=finetune]``."""
    return f"{name}[{values}]" if values else name


def build(cls: Any, name: str, values: dict[str, Any]) -> Any:
    """One instance of a plugin. Raises UserError for parameters and values that it does not take."""
    for key in values:
        if key not in known(cls):
            raise unknown(f"parameter of {name}", key, known(cls))
    taken = checked(cls, name, values)
    try:
        return cls(**taken)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} does not take these parameters: {error}") from error


def build_one(cls: Any, part: Part, **common: Any) -> Any:
    """The one instance that ``part`` asks for, over ``common`` values. Raises UserError, also for several values of a
    parameter."""
    several = [key for key, values in part.values.items() if len(values) != 1]
    if several:
        raise UserError(f"{part.name!r} gets several values for {several[0]}; give it one")
    return build(cls, part.name, common | {key: value for key, (value,) in part.values.items()})
