"""The grammar of selectors such as ``foundry[supertokens=1,4,16]+int8+fmd``, and from a selector to methods and tasks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from foundry_bench.border import StrangerError, expected
from foundry_bench.errors import UserError, quoted, unknown
from foundry_bench.parameters.declared import check_declared
from foundry_bench.parameters.named import (
    Part,
    bracketed,
    build,
    build_one,
    parse_part,
    unreadable,
    values_text,
)
from foundry_bench.parameters.text import keyed, read_text, split, unquoted
from foundry_bench.parameters.types import known
from foundry_bench.registry import called, entries, guard, line_of, load
from foundry_bench.variants import VARIANTS

if TYPE_CHECKING:
    from foundry_bench.method import Method
    from foundry_bench.task import Task

Grid = Literal["default", "full"]
"""Which rows a bare name stands for."""
UNUSABLE = "cannot be used"
"""What is said of a plugin that raises when it is given its parameters."""


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
    return split(text, separator)


def parse_selector(text: str) -> Selector:
    """Parse ``name``, ``name[a=1,2,b=3]``, stacks of them joined by ``+``, and a last ``+variant``; values are read
    by :func:`read_text`, tuples such as ``(4,8)`` among them.

    Raises UserError.
    """
    pieces = split(text, "+", empty=True)
    variant = pieces.pop() if len(pieces) > 1 and pieces[-1] in VARIANTS else None
    if not pieces or not all(pieces):
        raise unreadable(text)
    return Selector(tuple(parse_part(piece) for piece in pieces), variant)


def selector_text(name: str, shown: Mapping[str, Any], variant: str | None) -> str:
    """The selector of one row: ``foundry[supertokens=16]+int8+fmd`` from a method's name, shown parameters and variant."""
    first, *others = name.split("+")
    own = {k: v for k, v in shown.items() if not k.startswith(tuple(f"{o}." for o in others))}
    text = bracketed(first, values_text(own))
    for other in others:
        own = {k.removeprefix(f"{other}."): v for k, v in shown.items() if k.startswith(f"{other}.")}
        text += f"+{bracketed(other, values_text(own))}"
    return f"{text}+{variant}" if variant else text


def read_values(text: str) -> dict[str, Any]:
    """The parameters that :func:`values_text` wrote, from a table's column where nothing but the text is left."""
    return {name: read_text(value) for name, value in map(keyed, split(text, ","))}


def shown_values(params: Mapping[str, Any] | None, shown: str) -> dict[str, Any]:
    """Those of a record's ``params`` that its text ``shown`` names, in the order of that text.

    The text is searched for names only: values come from ``params``, so records of every version give a selector.
    """
    places = {name: f",{shown}".find(f",{name}=") for name in params or {}}
    return {
        name: (params or {})[name] for name in sorted(places, key=places.__getitem__) if places[name] >= 0
    }


def record_selector(inputs: Mapping[str, Any]) -> str:
    """The selector of a row from a cell's or a record's inputs."""
    shown = shown_values(inputs["params"], inputs["shown"])
    return selector_text(inputs["method"]["name"], shown, inputs["variant"])


def expand(selector: Selector, *, grid: Grid | None = "full") -> list[tuple[Method, str]]:
    """All (method, variant) pairs a selector stands for; in a stack, what is not asked for keeps its default.

    ``grid``: what a bare name stands for, the method's ``full`` grid or its few rows at matched cost; with None parameters that
    are not asked for keep their defaults. Raises UserError for unknown names, parameters, values or variants.
    """
    from foundry_bench.stack import Stack

    check_names(selector)
    alone = len(selector.parts) == 1
    choices = [_instances(part, grid if alone else None) for part in selector.parts]
    methods = choices[0] if alone else [Stack(parts) for parts in itertools.product(*choices)]
    declared = _variants(methods[0], selector.parts[0].name)
    if selector.variant is not None and selector.variant not in declared:
        raise UserError(
            f"{selector.name} has no variant {selector.variant}; it has {', '.join(declared)}, as in "
            f"{selector.name}+{declared[0]}"
        )
    variants = (selector.variant,) if selector.variant else declared
    return [(method, variant) for method in methods for variant in variants]


def one_method(text: str, variant: str | None = None) -> tuple[Method, str]:
    """The one method and variant a selector stands for; ``variant`` where the selector names none.

    Raises UserError for a selector that stands for several.
    """
    found = expand(parse_selector(text), grid=None)
    named = [pair for pair in found if variant is None or pair[1] == variant] or found
    if len({str(method.params()) for method, _ in named}) > 1:
        raise UserError(f"{text!r} stands for {len(found)} students; give every parameter one value")
    return named[0]


def _variants(method: Method, name: str) -> tuple[str, ...]:
    """The variants that a method declares. Raises UserError where they are none."""
    with guard("methods", name, UNUSABLE):
        declared = expected(method.variants, tuple, f"variants of {called('methods', name)}")
        known_ones = bool(declared) and set(declared) <= set(VARIANTS)
    if not known_ones:
        raise StrangerError(
            f"{called('methods', name)} has the variants {declared!r}; they are among {', '.join(VARIANTS)}"
        )
    return declared


def check_names(selector: Selector) -> None:
    """Raise UserError for a method that nobody registered."""
    methods = entries("methods")
    for place, part in enumerate(selector.parts):
        if place and part.name in VARIANTS:
            names = [one.name for one in selector.parts if one.name not in VARIANTS]
            meant = [one.name for one in selector.parts if one.name in VARIANTS] + [selector.variant or ""]
            forms = dict.fromkeys("+".join([*names, variant]) for variant in meant if variant)
            raise UserError(
                f"{part.name} is a variant, and a selector has one, in the last place; write {' or '.join(forms)}"
            )
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

    A data set is a name or a folder with options, as in ``partseg:scans?up=y``; one with a comma or a bracket in its name
    stands in quotes. Raises UserError for unknown names, parameters or values.
    """
    first, place = split_task(text)
    part = parse_part(first)
    return [(task, place) for task in _product(task_class(part.name), "tasks", part.name, part.values)]


def split_task(text: str) -> tuple[str, str | None]:
    """A task's own selector, and the data set that it names. Raises UserError for what cannot be read."""
    pieces = split(text, ":", empty=True)
    if not pieces[0] or pieces[1:] == [""]:
        raise UserError(f"cannot read task {quoted(text)}; write it as name[param=value]:dataset")
    if len(pieces) == 1:
        return pieces[0], None
    from foundry_bench.datasets.catalog import is_folder  # NumPy comes with it, which lists need not wait for

    place = unquoted(pieces[1]) if len(pieces) == 2 else text.partition(":")[2].strip()
    if len(pieces) > 2 and not is_folder(place):
        raise UserError(f"cannot read task {quoted(text)}; write it as name[param=value]:dataset")
    return pieces[0], place


def join_task(first: str, place: str | None) -> str:
    """The inverse of :func:`split_task`."""
    if place is None:
        return first
    plain = split(f"{first}:{place}", ",") == [f"{first}:{place}"] and split_task(f"{first}:{place}") == (
        first,
        place,
    )
    return f"{first}:{place if plain else json.dumps(place, ensure_ascii=False)}"


def method_class(name: str) -> type[Method]:
    """The class of a registered method. Raises UserError, also for one that calls itself otherwise."""
    from foundry_bench.method import Method

    return _named("methods", name, Method)


def task_class(name: str) -> type[Task]:
    """The class of a registered task. Raises UserError, also for one that calls itself otherwise."""
    from foundry_bench.task import Task

    return _named("tasks", name, Task)


def _named(kind: str, name: str, contract: type) -> Any:
    """A class by the name that records have of it, and by which it is found again."""
    cls = load(kind, name, contract)
    with guard(kind, name, UNUSABLE):
        check_declared(cls, kind, contract)
        own = cls.name
    if own != name:
        raise StrangerError(
            f"{called(kind, name)} calls itself {own!r} ({line_of(cls)}); both names have to be the same"
        )
    return cls


def shown_fields(plugin: Any) -> dict[str, Any]:
    """The fields of a task that are not at their defaults."""
    values = {name: (getattr(plugin, name), f.default) for name, f in known(type(plugin)).items()}
    return {name: value for name, (value, default) in values.items() if value != default}


def _product(cls: Any, kind: str, name: str, values: dict[str, tuple[Any, ...]]) -> list[Any]:
    chosen = itertools.product(*values.values())
    with guard(kind, name, UNUSABLE):
        return [build(cls, name, dict(zip(values, one, strict=True))) for one in chosen]


def _instances(part: Part, grid: Grid | None) -> list[Method]:
    cls = method_class(part.name)
    bare = grid is not None and not part.values
    with guard("methods", part.name, UNUSABLE):
        axes = {k: tuple(v) for k, v in cls.grid.items() if k not in part.values} if grid is not None else {}
        matched = tuple(dict(row) for row in cls.matched) if bare and grid != "full" else ()
        also = tuple(dict(row) for row in cls.also) if bare and not matched else ()
    rows = [] if matched else _product(cls, "methods", part.name, axes | part.values)
    with guard("methods", part.name, UNUSABLE):
        return [*rows, *(build(cls, part.name, row) for row in (*matched, *also))]


def instance(kind: str, text: str, contract: type, **common: Any) -> Any:
    """An engine or tracker, a subclass of ``contract``, from its selector, such as ``ray[address=10.0.0.1:6379]``; ``common``
    are values all of a kind get.

    Raises UserError for an unknown name, parameter or value, or a parameter with several values.
    """
    part = parse_part(text)
    cls = load(kind, part.name, contract)
    with guard(kind, part.name, UNUSABLE):
        return build_one(cls, part, **common)


def build_method(name: str, params: dict[str, Any]) -> Method:
    """The method of a record or a student's folder, whose JSON has lists for tuples. Raises UserError."""
    from foundry_bench.stack import Stack

    if not isinstance(params, dict):
        raise UserError(f"the parameters of {name!r} are no mapping but {params!r}")
    own = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    first, *others = name.split("+")
    if not others:
        return _method(name, own)
    parts = [_method(first, {k: v for k, v in own.items() if "." not in k})]
    for other in others:
        values = {k.removeprefix(f"{other}."): v for k, v in own.items() if k.startswith(f"{other}.")}
        parts.append(_method(other, values))
    return Stack(tuple(parts))


def _method(name: str, values: dict[str, Any]) -> Method:
    cls = method_class(name)
    with guard("methods", name, UNUSABLE):
        return build(cls, name, values)
