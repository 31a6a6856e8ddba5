"""What tables and figures say of one plugin, as plain data that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from foundry_bench.border import LONG, one_line, plain
from foundry_bench.descriptions.facts import Facts, Parameter
from foundry_bench.parameters.text import as_text
from foundry_bench.variants import FAMILIES, Family, Paper


@dataclass(frozen=True)
class Description:
    """``abstract`` in a line; ``family``, ``paper`` and ``variants`` of methods; ``default`` where a task is run without being
    named; ``parameters`` with values to offer for each, as texts; ``error`` where it cannot be imported."""

    abstract: str = ""
    family: Family | None = None
    paper: Paper | None = None
    variants: tuple[str, ...] = ()
    default: bool = False
    parameters: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None


def description_of(facts: Facts) -> Description:
    """Describe a plugin by what it says. What it says in another form than the contract's is left out."""
    said = facts.attributes
    family, paper, variants = said.get("family"), said.get("paper"), said.get("variants")
    abstract = said.get("abstract") or facts.documented.strip().partition("\n")[0]
    grid = said.get("grid")
    return Description(
        abstract=one_line(str(abstract))[:LONG],
        family=family if family in FAMILIES else None,
        paper=paper if isinstance(paper, Paper) else None,
        variants=tuple(map(str, variants)) if isinstance(variants, tuple) else (),
        default=said.get("default") is True,
        parameters={
            name: _offered(parameter, grid.get(name) if isinstance(grid, dict) else None)
            for name, parameter in facts.parameters.items()
        },
    )


def _offered(parameter: Parameter, swept: Any) -> list[str]:
    """Values to offer for a parameter: those that its annotation names, its default, and those of the grid."""
    values = (*parameter.choices, parameter.default, *(swept if isinstance(swept, tuple) else ()))
    plain_ones = [value for value in values if isinstance(value, str | int | float | tuple)]
    return list(dict.fromkeys(plain(_text(value)) for value in plain_ones if value not in ("", ())))


def _text(value: Any) -> str:
    return as_text(value).lower() if isinstance(value, bool) else as_text(value)


def from_json(values: Any) -> Description:
    """Read what ``dataclasses.asdict`` and JSON made of a description. Raises KeyError, TypeError or
    AttributeError for anything else."""
    paper, variants = values["paper"], tuple(values["variants"])
    offered = values["parameters"]
    if not all(isinstance(text, str) for name, texts in offered.items() for text in (name, *texts)):
        raise TypeError(f"no parameters: {offered}")
    if not isinstance(values["abstract"], str) or not isinstance(values["error"], str | None):
        raise TypeError(f"no description: {values}")
    return Description(**{**values, "paper": Paper(**paper) if paper else None, "variants": variants})
