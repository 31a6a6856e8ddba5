"""``foundry-bench new``: a package with a plugin that installs, passes ``check`` and is swept at once."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import click

from foundry_bench import registry
from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli.place import Place
from foundry_bench.errors import UserError, quoted, unknown
from foundry_bench.storage import atomic_folder
from foundry_bench.variants import VARIANTS

NAME = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
NEXT = {
    "method": "foundry-bench run --methods teacher,{} --tasks fewshot",
    "task": "foundry-bench run --methods teacher,untrained --tasks {}",
    "dataset": "foundry-bench run --methods teacher,untrained --tasks classification --dataset {}",
    "engine": "foundry-bench run --methods teacher,untrained --tasks fewshot --engine {}",
}
"""What uses the new plugin."""


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("-o", "--out", type=Place(), help="Folder of the package. [NAME]")
def new(kind: str, name: str, out: Path | None) -> int:
    """Write the package of a KIND (method, task, dataset or engine) called NAME: an example that works, to write over.

    \b
    foundry-bench new method keep-far
    pip install -e keep-far && foundry-bench check keep-far
    foundry-bench check keep-far/keep_far.py        without an installation
    """
    if kind not in NEXT:
        raise unknown("kind", kind, NEXT)
    module = re.sub(r"\W", "_", name)
    _check_name(kind, name, module)
    folder = Path(name) if out is None else out
    check_folder(folder, "--out", empty=True)
    with atomic_folder(folder) as place:
        for file, text in written(kind, name, module).items():
            (place / file).write_text(text)
    click.echo(f"{folder}: {', '.join(written(kind, name, module))}")
    click.echo(f"  pip install -e {folder}\n  foundry-bench check {name}\n  {NEXT[kind].format(name)}")
    return 0


def written(kind: str, name: str, module: str) -> dict[str, str]:
    """File -> content of a new package."""
    from jinja2 import Environment, StrictUndefined

    camel = "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", name))
    values = {
        "kind": kind,
        "name": name,
        "module": module,
        "attribute": f"load_{module}" if kind == "dataset" else camel,
        "title": camel if kind != "dataset" else name,
        "next": NEXT[kind].format(name),
    }
    render = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string
    sources = {
        "pyproject.toml": "pyproject.toml.j2",
        f"{module}.py": f"{kind}.py.j2",
        f"test_{module}.py": "test.py.j2",
        "README.md": "README.md.j2",
    }
    folder = files("foundry_bench.cli") / "templates"
    return {
        file: render((folder / source).read_text(encoding="utf-8")).render(values)
        for file, source in sources.items()
    }


def _check_name(kind: str, name: str, module: str) -> None:
    """Raise UserError for a name that is taken, or that no selector, distribution or module can have."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"{quoted(name)} cannot be the name of a {kind}; use small letters, digits and dashes, such as keep-far"
        )
    if name in registry.entries(f"{kind}s") or name in VARIANTS:
        raise UserError(f"{name} is the name of another {kind} or of a variant; choose another name")
    if find_spec(module) is not None:
        raise UserError(f"{module} is the name of another Python module; choose another name for the {kind}")
