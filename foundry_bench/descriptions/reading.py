"""The facts of a built-in plugin, read from its source: to import it would take seconds, most of them torch's.

The source is parsed and not run, but for the expressions in which a class states its facts. What these need is looked up where
it is defined, in this package only. What cannot be known in this way is :class:`UnreadableError`, and the plugin is imported.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

from foundry_bench.descriptions.facts import READ, Facts, Parameter
from foundry_bench.descriptions.source import file_of
from foundry_bench.parameters.types import choices

LIGHT = frozenset(
    (
        *("typing", "math", "pathlib", "collections.abc"),
        *("foundry_bench.variants", "foundry_bench.parameters.types"),
    )
)
"""Modules that are imported rather than read: they need nothing heavy."""
NO_DEFAULT = object()


class UnreadableError(Exception):
    """Something that the source alone does not tell."""


class _Opaque:
    """In place of what only an import would make; it may be passed about, but be no part of a fact."""

    def __getattr__(self, name: str) -> _Opaque:
        return self

    def __call__(self, *args: Any, **named: Any) -> _Opaque:
        return self


OPAQUE = _Opaque()


def read_facts(entry: EntryPoint) -> Facts:
    """The facts of a plugin of this package. Raises UnreadableError."""
    module, _, name = entry.value.partition(":")
    try:
        return _facts(*_definition(module.strip(), name.strip()))
    except UnreadableError:
        raise
    except Exception as error:  # an expression that says nothing without what surrounds it
        raise UnreadableError(entry.value) from error


def _facts(module: str, node: ast.stmt) -> Facts:
    if isinstance(node, ast.FunctionDef):
        return Facts(ast.get_docstring(node) or "")
    if not isinstance(node, ast.ClassDef):
        raise UnreadableError(ast.unparse(node))
    documented = ast.get_docstring(node)
    if documented is None:
        raise UnreadableError(f"{node.name} inherits its docstring or is given one")
    attributes: dict[str, Any] = {}
    parameters: dict[str, Parameter] = {}
    for where, cls in reversed(_ancestry(module, node)):
        scope: dict[str, Any] = {}
        for name, annotation, value in _statements(cls):
            own = annotation is not None and _is_dataclass(cls) and not _is_classvar(annotation)
            if own and annotation is not None:
                default = NO_DEFAULT if value is None else _value(where, value, scope)
                parameters[name] = Parameter(default, choices(_value(where, annotation, {})))
            if value is not None and name in READ:
                attributes[name] = _value(where, value, scope)
            if value is not None and (own or name in READ):
                scope[name] = parameters[name].default if own else attributes[name]
    stated = [*attributes.values(), *(parameter.default for parameter in parameters.values())]
    if any(value is NO_DEFAULT or _is_opaque(value) for value in stated):
        raise UnreadableError(f"{node.name} has a fact that only its import makes")
    known = {name: value for name, value in attributes.items() if value is not None}
    return Facts(inspect.cleandoc(documented), known, parameters)


def _is_opaque(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_opaque(part) for pair in value.items() for part in pair)
    if isinstance(value, SimpleNamespace):
        return _is_opaque(vars(value))
    return any(map(_is_opaque, value)) if isinstance(value, tuple | list) else value is OPAQUE


def _statements(cls: ast.ClassDef) -> list[tuple[str, ast.expr | None, ast.expr | None]]:
    """Name, annotation and value of what is stated in the body of a class; its functions state nothing."""
    found: list[tuple[str, ast.expr | None, ast.expr | None]] = []
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append((node.target.id, node.annotation, node.value))
        elif isinstance(node, ast.Assign):
            found += [
                (target.id, None, node.value) for target in node.targets if isinstance(target, ast.Name)
            ]
    return found


def _ancestry(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """A class and those that it inherits from, itself first; those from outside of this package say nothing."""
    found = [(module, node)]
    for base in node.bases:
        if isinstance(base, ast.Name):
            where, parent = _definition(module, base.id)
            if isinstance(parent, ast.ClassDef):
                found += [pair for pair in _ancestry(where, parent) if pair not in found]
    return found


def _is_dataclass(cls: ast.ClassDef) -> bool:
    called = (d.func if isinstance(d, ast.Call) else d for d in cls.decorator_list)
    return any(isinstance(name, ast.Name) and name.id == "dataclass" for name in called)


def _is_classvar(annotation: ast.expr) -> bool:
    name = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return isinstance(name, ast.Name) and name.id == "ClassVar"


@lru_cache(maxsize=256)
def _names(module: str) -> Mapping[str, ast.stmt]:
    """What the top level of a module of this package binds, by name."""
    file = file_of(module)
    if file is None:
        raise UnreadableError(module)
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            found.update({alias.asname or alias.name: node for alias in node.names})
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(part, ast.Name):
                        found[part.id] = node
    return found


def _definition(module: str, name: str) -> tuple[str, ast.stmt]:
    """Where a name that ``module`` knows is defined, and how; an import where it comes from outside of this package."""
    node = _names(module).get(name)
    if node is None:
        raise UnreadableError(f"{module}.{name}")
    if not isinstance(node, ast.ImportFrom) or node.module is None or node.module in LIGHT:
        return module, node
    original = _imported(node, name)
    if not node.module.startswith("foundry_bench") or original not in _names(node.module):
        return module, node
    return _definition(node.module, original)


def _imported(node: ast.ImportFrom, name: str) -> str:
    """What is called ``name`` after an import, by its own name."""
    return next(alias.name for alias in node.names if (alias.asname or alias.name) == name)


def _value(module: str, expression: ast.expr, scope: Mapping[str, Any]) -> Any:
    """What an expression of ``module`` is worth; ``scope``: what the class has stated before it."""
    if isinstance(expression, ast.Constant):
        return expression.value
    bound = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    used = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name)} - bound - scope.keys()
    names = {
        name: _named(module, name) for name in used if name in _names(module) or not hasattr(builtins, name)
    }
    code = compile(ast.Expression(expression), module, "eval")
    return eval(code, {**names, **scope})  # an expression of this package


@lru_cache(maxsize=1024)
def _named(module: str, name: str) -> Any:
    where, node = _definition(module, name)
    if isinstance(node, ast.ImportFrom) and node.module in LIGHT:
        return getattr(import_module(node.module), _imported(node, name))
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        names = [part.id for part in node.targets[0].elts if isinstance(part, ast.Name)]
        return _value(where, node.value, {})[names.index(name)]
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        return _value(where, node.value, {})
    if isinstance(node, ast.ClassDef) and _is_dataclass(node):
        return _stand_in(where, node)
    return OPAQUE


def _stand_in(module: str, cls: ast.ClassDef) -> Callable[..., SimpleNamespace]:
    """What takes the place of a plain dataclass: makes an object with the same fields."""
    stated = [(name, value) for name, annotation, value in _statements(cls) if annotation is not None]
    defaults = {name: _value(module, value, {}) for name, value in stated if value is not None}
    order = [name for name, _ in stated]

    def make(*args: Any, **named: Any) -> SimpleNamespace:
        return SimpleNamespace(**{**defaults, **dict(zip(order, args, strict=False)), **named})

    return make
