"""Entry-point discovery and selectors such as ``foundry[supertokens=1,4,16]+fmd``.

Listing reads names without importing a plugin. A broken plugin is reported when it is loaded and breaks nothing else.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass, field, fields
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import yaml

from foundry_bench.errors import UserError

if TYPE_CHECKING:
    from foundry_bench.method import Method

KINDS = ("methods", "tasks", "teachers", "datasets", "engines")


def entries(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point of one kind, sorted by name. Raises UserError when two distributions claim one name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"foundry_bench.{kind}"):
        other = found.get(entry.name)
        if other is not None and other.value != entry.value:
            raise UserError(
                f"two plugins are called {entry.name!r} in {kind}: {distribution(other)} and {distribution(entry)}; "
                "uninstall or rename one"
            )
        found[entry.name] = entry
    return dict(sorted(found.items()))


def distribution(entry: EntryPoint) -> str:
    """The distribution that an entry point came from."""
    return entry.dist.name if entry.dist is not None else "an unnamed distribution"


def load(kind: str, name: str) -> Any:
    """Import and return one entry. Raises UserError for an unknown name (nearest offered) or a broken plugin."""
    known = entries(kind)
    if name not in known:
        raise unknown(kind.rstrip("s"), name, known)
    try:
        return known[name].load()
    except UserError:
        raise
    except Exception as error:  # whatever a third-party module raises at import
        raise UserError(
            f"{kind.rstrip('s')} {name!r} of {distribution(known[name])} cannot be imported "
            f"({type(error).__name__}: {error}); reinstall or uninstall it"
        ) from error


def unknown(what: str, name: str, known: Any) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return UserError(f"unknown {what} {name!r}; {hint}")


@dataclass(frozen=True)
class Selector:
    """A parsed selector: a method's name, values per parameter, and a variant (None: all the method has)."""

    name: str
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    variant: str | None = None


def split_selectors(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [p.strip() for p in [*parts, current] if p.strip()]


def parse_selector(text: str) -> Selector:
    """Parse ``name``, ``name[a=1,2,b=3]``, each with ``+variant``. Values are YAML scalars. Raises UserError."""
    head, bracket, rest = text.partition("[")
    if not bracket:
        name, _, variant = head.partition("+")
        return Selector(name.strip(), {}, variant.strip() or None)
    body, close, tail = rest.partition("]")
    if not close or (tail.strip() and not tail.strip().startswith("+")):
        raise UserError(f"cannot read selector {text!r}; write it as name[param=1,2]+variant")
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
    return Selector(head.strip(), values, tail.strip().lstrip("+").strip() or None)


def expand(selector: Selector, *, use_grid: bool = True) -> list[tuple[Method, str]]:
    """All (method, variant) pairs a selector stands for. Raises UserError for unknown names, parameters or values."""
    cls = load("methods", selector.name)
    known = {f.name: f for f in fields(cls)}
    for key in selector.values:
        if key not in known:
            raise unknown(f"parameter of {selector.name}", key, known)
    grid = {k: v for k, v in cls.grid.items() if k not in selector.values} if use_grid else {}
    grid.update(selector.values)
    if selector.variant is not None and selector.variant not in cls.variants:
        raise unknown(f"variant of {selector.name}", selector.variant, cls.variants)
    variants = (selector.variant,) if selector.variant else cls.variants
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    try:
        return [(cls(**combination), variant) for combination in combinations for variant in variants]
    except (TypeError, ValueError) as error:
        raise UserError(f"{selector.name} does not take these parameters: {error}") from error
