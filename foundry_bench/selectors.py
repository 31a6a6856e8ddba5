"""The grammar of selectors such as ``foundry[supertokens=1,4,16]+int8+fmd``, and from a selector to methods and tasks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import yaml

from foundry_bench.errors import UserError, unknown
from foundry_bench.registry import entries, load
from foundry_bench.variants import VARIANTS

if TYPE_CHECKING:
    from foundry_bench.method import Method
    from foundry_bench.task import Task


@dataclass(frozen=True)
class Part:
    """One method of a selector and the values asked for its parameters."""

    name: str
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Selector:
    """A parsed selector: one method, or several stacked on each other, and a variant (None: all there are)."""

    parts: tuple[Part, ...]
    variant: str | None = None

    @property
    def name(self) -> str:
        """``foundry``, or ``foundry+int8`` for a stack."""
        return "+".join(part.name for part in self.parts)

    @property
    def specific(self) -> bool:
        """Whether it asks for more than the bare names."""
        return self.variant is not None or any(part.values for part in self.parts)


def split_selectors(text: str, separator: str = ",") -> list[str]:
    """Split at separators outside brackets."""
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == separator and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [p.strip() for p in [*parts, current] if p.strip()]


def parse_selector(text: str) -> Selector:
    """Parse ``name``, ``name[a=1,2,b=3]``, stacks of them joined by ``+``, and a last ``+variant``; values are YAML scalars.

    Raises UserError.
    """
    pieces = split_selectors(text, "+")
    variant = pieces.pop() if len(pieces) > 1 and pieces[-1] in VARIANTS else None
    if not pieces or text.count("[") != text.count("]"):
        raise _unreadable(text)
    return Selector(tuple(_parse_part(piece) for piece in pieces), variant)


def _parse_part(text: str) -> Part:
    name, bracket, rest = text.partition("[")
    if not bracket:
        return Part(name.strip())
    body, _, tail = rest.partition("]")
    if tail.strip():
        raise _unreadable(text)
    values: dict[str, tuple[Any, ...]] = {}
    key = ""
    for item in filter(None, (i.strip() for i in body.split(","))):
        if "=" in item:
            key, item = (p.strip() for p in item.split("=", 1))
        if not key:
            raise UserError(
                f"cannot read selector {text!r}; {item!r} belongs to no parameter, write param={item}"
            )
        values[key] = (*values.get(key, ()), yaml.safe_load(item))
    return Part(name.strip(), values)


def _unreadable(text: str) -> UserError:
    return UserError(f"cannot read selector {text!r}; write it as name[param=1,2]+variant")


def selector_text(name: str, shown: str, variant: str | None) -> str:
    """The selector of one row: ``foundry[supertokens=16]+int8+fmd`` from a method's name, shown parameters and variant."""
    values = shown.split(",") if shown else []
    first, *others = name.split("+")
    text = _with_values(first, [v for v in values if not v.startswith(tuple(f"{o}." for o in others))])
    for other in others:
        own = [v.removeprefix(f"{other}.") for v in values if v.startswith(f"{other}.")]
        text += f"+{_with_values(other, own)}"
    return f"{text}+{variant}" if variant else text


def _with_values(name: str, values: list[str]) -> str:
    return f"{name}[{','.join(values)}]" if values else name


def expand(selector: Selector, *, use_grid: bool = True) -> list[tuple[Method, str]]:
    """All (method, variant) pairs a selector stands for; in a stack, what is not asked for keeps its default.

    Raises UserError for unknown names, parameters, values or variants.
    """
    from foundry_bench.stack import Stack

    check_names(selector)
    alone = len(selector.parts) == 1
    choices = [_instances(part, use_grid and alone) for part in selector.parts]
    methods = choices[0] if alone else [Stack(parts) for parts in itertools.product(*choices)]
    known = methods[0].variants
    if selector.variant is not None and selector.variant not in known:
        raise unknown(f"variant of {selector.name}", selector.variant, known)
    variants = (selector.variant,) if selector.variant else known
    return [(method, variant) for method in methods for variant in variants]


def check_names(selector: Selector) -> None:
    """Raise UserError for a method that nobody registered."""
    methods = entries("methods")
    for place, part in enumerate(selector.parts):
        if part.name not in methods:
            raise unknown(
                *(
                    ("method or variant", part.name, [*methods, *VARIANTS])
                    if place
                    else ("method", part.name, methods)
                )
            )


def expand_task(text: str) -> list[tuple[Task, str | None]]:
    """The tasks that ``name``, ``name[mode=finetune]`` or ``name:dataset`` stands for, each with the data set asked for.

    Raises UserError for unknown names, parameters or values.
    """
    pieces = split_selectors(text, ":")
    if not 1 <= len(pieces) <= 2:
        raise UserError(f"cannot read task {text!r}; write it as name[param=value]:dataset")
    part = _parse_part(pieces[0])
    cls = load("tasks", part.name)
    _check_parameters(part, cls)
    place = pieces[1] if len(pieces) == 2 else None
    return [(task, place) for task in _product(cls, part.name, part.values)]


def shown_fields(plugin: Any) -> str:
    """The fields of a task that are not at their defaults, as a selector has them: ``mode=finetune``."""
    changed = [f.name for f in fields(plugin) if getattr(plugin, f.name) != f.default]
    return ",".join(f"{name}={getattr(plugin, name)}" for name in changed)


def _check_parameters(part: Part, cls: Any) -> None:
    known = {f.name: f for f in fields(cls)}
    for key in part.values:
        if key not in known:
            raise unknown(f"parameter of {part.name}", key, known)


def _product(cls: Any, name: str, values: dict[str, tuple[Any, ...]]) -> list[Any]:
    try:
        return [
            cls(**dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())
        ]
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} does not take these parameters: {error}") from error


def _instances(part: Part, use_grid: bool) -> list[Method]:
    cls = load("methods", part.name)
    _check_parameters(part, cls)
    grid = {k: v for k, v in cls.grid.items() if k not in part.values} if use_grid else {}
    grid.update(part.values)
    return _product(cls, part.name, grid)


def instance(kind: str, text: str, **common: Any) -> Any:
    """An engine or tracker from its selector, such as ``ray[address=10.0.0.1:6379]``; ``common`` are values all of a kind get.

    Raises UserError for an unknown name, parameter or value, or a parameter with several values.
    """
    part = _parse_part(text)
    cls = load(kind, part.name)
    _check_parameters(part, cls)
    several = [key for key, values in part.values.items() if len(values) > 1]
    if several:
        raise UserError(f"{text!r} gives {several[0]} several values; give it one")
    return _product(cls, part.name, {k: (v,) for k, v in common.items()} | part.values)[0]


def build_method(name: str, params: dict[str, Any]) -> Method:
    """The method of a record or a student's folder, whose JSON has lists for tuples. Raises UserError."""
    from foundry_bench.stack import Stack

    own = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    first, *others = name.split("+")
    if not others:
        return load("methods", name)(**own)
    parts = [load("methods", first)(**{k: v for k, v in own.items() if "." not in k})]
    for other in others:
        values = {k.removeprefix(f"{other}."): v for k, v in own.items() if k.startswith(f"{other}.")}
        parts.append(load("methods", other)(**values))
    return Stack(tuple(parts))
