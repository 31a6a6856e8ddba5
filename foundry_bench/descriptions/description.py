"""What tables and figures say of one plugin, as plain data that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foundry_bench.border import LONG, one_line
from foundry_bench.variants import FAMILIES, Family, Paper


@dataclass(frozen=True)
class Description:
    """``abstract`` in a line; ``family``, ``paper`` and ``variants`` of methods; ``default`` where a task is run without being
    named; ``error`` where it cannot be imported."""

    abstract: str = ""
    family: Family | None = None
    paper: Paper | None = None
    variants: tuple[str, ...] = ()
    default: bool = False
    error: str | None = None


def description_of(plugin: Any) -> Description:
    """Describe an imported plugin. What it says in another form than the contract's is left out."""
    family, paper = getattr(plugin, "family", None), getattr(plugin, "paper", None)
    documented = getattr(plugin, "__doc__", None) or ""
    abstract = getattr(plugin, "abstract", None) or str(documented).strip().partition("\n")[0]
    variants = getattr(plugin, "variants", ())
    return Description(
        abstract=one_line(str(abstract))[:LONG],
        family=family if family in FAMILIES else None,
        paper=paper if isinstance(paper, Paper) else None,
        variants=tuple(map(str, variants)) if isinstance(variants, tuple) else (),
        default=getattr(plugin, "default", False) is True,
    )


def from_json(values: Any) -> Description:
    """Read what ``dataclasses.asdict`` and JSON made of a description. Raises KeyError or TypeError for anything else."""
    paper, variants = values["paper"], tuple(values["variants"])
    if not isinstance(values["abstract"], str) or not isinstance(values["error"], str | None):
        raise TypeError(f"no description: {values}")
    return Description(**{**values, "paper": Paper(**paper) if paper else None, "variants": variants})
