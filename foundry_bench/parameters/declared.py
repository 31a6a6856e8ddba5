"""What the class of a method or task declares, held to the contract before anything is made of it.

An author's slip here would otherwise show late or not at all: a parameter of a class that is no dataclass is never swept.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING
from functools import lru_cache
from typing import Any, ClassVar, get_origin

from foundry_bench.errors import UserError
from foundry_bench.parameters.types import checked, hints, known, read
from foundry_bench.registry import wrong_declaration
from foundry_bench.variants import FAMILIES, VARIANTS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that a selector can hold."""
TAKEN = (*VARIANTS, "all", "default", "none")
"""Names that mean something else in a selector."""
CALLS = {
    "methods": {
        "compress": ("teacher", "data", "ctx"),
        "loss": ("student", "inputs", "target"),
        "configure": ("student",),
        "skip": ("teacher", "task"),
    },
    "tasks": {"evaluate": ("encoder", "data", "ctx"), "metrics_for": ("data",), "rehearsal": ("data",)},
}
"""What the harness calls, and with what."""
TUPLES = {
    "methods": ("variants", "also", "matched", "inference", "stacked_on"),
    "tasks": ("metrics", "datasets", "needs"),
}
EXAMPLES = {
    "variants": '("off-the-shelf", "fmd")',
    "also": '({"keep": 4},)',
    "matched": '({"keep": 4},)',
    "inference": '("keep",)',
    "stacked_on": '("foundry",)',
    "metrics": '(Metric("acc", primary=True),)',
    "datasets": '("kicad",)',
    "needs": '("labels",)',
}


@lru_cache(maxsize=256)
def check_declared(cls: type, kind: str, contract: type) -> None:
    """Hold what ``cls``, a subclass of ``contract``, declares to what the harness reads of a plugin of ``kind``.

    Raises StrangerError, whose line names the class, its file and line, what is wrong and what to write.
    """
    _check_name(cls)
    _check_fields(cls, contract)
    _check_calls(cls, kind)
    if not isinstance(getattr(cls, "version", None), str):
        raise wrong_declaration(
            cls,
            f"has version {_shown(getattr(cls, 'version', None))}, which is no text",
            'write version = "2"',
        )
    for name in TUPLES[kind]:
        value = getattr(cls, name, None)
        if not isinstance(value, tuple):
            found = (
                "declares no" if value is None else f"has {name} of type {type(value).__name__}, not tuple:"
            )
            raise wrong_declaration(
                cls,
                f"{found} {name if value is None else _shown(value)}",
                f"write {name} = {EXAMPLES[name]}",
            )
    if kind == "methods":
        _check_method(cls)
    else:
        _check_task(cls)


def _check_name(cls: type) -> None:
    name = getattr(cls, "name", None)
    example = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()
    if not isinstance(name, str) or not name:
        raise wrong_declaration(
            cls,
            f"has no name, but {name!r}" if name else "has no name",
            f'add name: ClassVar[str] = "{example}"',
        )
    if not NAME.fullmatch(name) or name in TAKEN:
        why = "means something else in a selector" if name in TAKEN else "cannot stand in a selector"
        raise wrong_declaration(
            cls,
            f"is called {_shown(name)}, which {why}",
            f'use letters, digits, dots and dashes, such as "{example}"',
        )


def _check_fields(cls: type, contract: type) -> None:
    """Every parameter is a field with a default that its own annotation takes, and hides nothing of the contract."""
    for one in cls.__mro__:
        if not issubclass(one, contract) or one is contract or "__dataclass_params__" in vars(one):
            continue
        own = [name for name, hint in vars(one).get("__annotations__", {}).items() if not _of_class(hint)]
        if own:
            raise wrong_declaration(
                one,
                f"is no dataclass, so that {' and '.join(own)} would be no parameter",
                "write @dataclass(frozen=True) above the class",
            )
    for name, field in known(cls).items():
        if callable(getattr(contract, name, None)):
            raise wrong_declaration(
                cls,
                f"has a parameter called {name}, which is the name of what a {contract.__name__} does",
                "rename it",
            )
        if field.default is MISSING:
            raise wrong_declaration(
                cls,
                f"has the parameter {name} without a default"
                + (" but with a factory" if field.default_factory is not MISSING else ""),
                f"give it one, such as {name}: int = 1, or a tuple for several values",
            )
        if field.default is None:  # a __post_init__ fills it in
            continue
        try:
            read(hints(cls)[name], field.default)
        except ValueError:
            raise wrong_declaration(
                cls,
                f"has the parameter {name} whose default {_shown(field.default)} its annotation {_hint(field.type)} "
                "does not take",
                "mend one of the two",
            ) from None


def _of_class(hint: Any) -> bool:
    """Whether an annotation, or its text, is one of ClassVar."""
    text = isinstance(hint, str) and re.match(r"\s*(\w+\.)*ClassVar\b", hint)
    return bool(text) or hint is ClassVar or get_origin(hint) is ClassVar


def _check_calls(cls: type, kind: str) -> None:
    for name, arguments in CALLS[kind].items():
        code = getattr(cls, name)
        wanted = f"write def {name}(self, {', '.join(arguments)})"
        try:
            inspect.signature(code).bind(None, *arguments)
        except TypeError as error:
            raise wrong_declaration(
                cls, f"cannot be called as {cls.__name__}.{name}({', '.join(arguments)}): {error}", wanted
            ) from None
        except ValueError:  # no signature is known
            continue


def _check_method(cls: Any) -> None:
    if not cls.variants or not set(cls.variants) <= set(VARIANTS):
        odd = next((one for one in cls.variants if one not in VARIANTS), None)
        near = difflib.get_close_matches(str(odd), VARIANTS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise wrong_declaration(
            cls, f"has the variants {_shown(cls.variants)}", f"{hint}they are among {', '.join(VARIANTS)}"
        )
    if cls.family is not None and cls.family not in FAMILIES:
        closest = difflib.get_close_matches(str(cls.family), FAMILIES, n=1, cutoff=0.0)[0]
        raise wrong_declaration(
            cls,
            f"has the unknown family {_shown(cls.family)}",
            f'write family: ClassVar[Family] = "{closest}" (one of {", ".join(FAMILIES)})',
        )
    if not isinstance(cls.grid, dict):
        raise wrong_declaration(
            cls, f"has grid {_shown(cls.grid)}, which is no dict", 'write grid = {"keep": (1, 2)}'
        )
    for name, values in cls.grid.items():
        _check_parameter(cls, "grid", name)
        if not isinstance(values, tuple | list):
            raise wrong_declaration(
                cls,
                f"has grid with {name}: {_shown(values)}, which is no tuple of values",
                f'write grid = {{"{name}": ({_shown(values)},)}}',
            )
        if not values:
            raise wrong_declaration(
                cls, f"has grid with no value for {name}", "give it some, or leave it out"
            )
        for value in values:
            _check_value(cls, "grid", name, value)
    for what in ("also", "matched"):
        for row in getattr(cls, what):
            if not isinstance(row, Mapping):
                raise wrong_declaration(
                    cls,
                    f"has {what} with {_shown(row)}, which is no dict",
                    f"write {what} = {EXAMPLES[what]}",
                )
            for name, value in row.items():
                _check_parameter(cls, what, name)
                _check_value(cls, what, name, value)
    for name in cls.inference:
        _check_parameter(cls, "inference", name)


def _check_parameter(cls: type, what: str, name: Any) -> None:
    if name in known(cls):
        return
    near = difflib.get_close_matches(str(name), known(cls), n=1, cutoff=0.5)
    if hasattr(cls, str(name)):
        fix = f"{name} has no annotation, write {name}: int = {_shown(getattr(cls, str(name)))}"
    elif near:
        fix = f"did you mean {near[0]!r}?"
    else:
        fix = f"its parameters are {', '.join(known(cls)) or 'none'}; add a field {name}, or mend {what}"
    raise wrong_declaration(cls, f"names {_shown(name)} in {what}, which is no parameter", fix)


def _check_value(cls: Any, what: str, name: str, value: Any) -> None:
    try:
        checked(cls, cls.name, {name: value})
    except UserError as error:
        raise wrong_declaration(
            cls, f"has {what} with {name} = {_shown(value)}, which {name} does not take", str(error)
        ) from None


def _check_task(cls: Any) -> None:
    for metric in cls.metrics:
        flags = [getattr(metric, name, None) for name in ("higher_is_better", "primary")]
        if not isinstance(getattr(metric, "name", None), str) or not all(isinstance(f, bool) for f in flags):
            raise wrong_declaration(
                cls,
                f"has metrics with {_shown(metric)}, which is no Metric",
                f"write metrics = {EXAMPLES['metrics']}",
            )
    names = [metric.name for metric in cls.metrics]
    if sum(metric.primary for metric in cls.metrics) != 1 or len(set(names)) != len(names):
        raise wrong_declaration(
            cls,
            f"has the metrics {', '.join(map(str, names)) or 'none'}, of which one must be primary and none stand twice",
            f"write metrics = {EXAMPLES['metrics']}",
        )
    for what in ("datasets", "needs"):
        odd = [value for value in getattr(cls, what) if not isinstance(value, str)]
        if odd:
            raise wrong_declaration(
                cls, f"has {what} with {_shown(odd[0])}, which is no text", f"write {what} = {EXAMPLES[what]}"
            )
    if not cls.datasets:
        raise wrong_declaration(
            cls, "names no datasets", f"write datasets = {EXAMPLES['datasets']}, or others that it is run on"
        )


def _shown(value: Any) -> str:
    text = " ".join(ascii(value).split()) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."


def _hint(hint: Any) -> str:
    return hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
