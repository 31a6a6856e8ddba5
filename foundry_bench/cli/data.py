"""``foundry-bench data``: list, prepare and verify the data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

NAMES = ("kicad", "furniture", "pretrain")

#: Without a terminal, one line is printed per this share of the models.
_LINE_EVERY = 0.05

#: Skipped models that are named on the command line; dataset.json lists all.
_SKIPPED_SHOWN = 10


@click.group()
def data() -> None:
    """List, prepare and verify the data sets."""


@data.command("list")
def list_datasets() -> None:
    """Show the data sets that ship with foundry-bench."""
    from foundry_bench.datasets.embedded_reader import EMBEDDED, embedded_folder, read_description

    for name in EMBEDDED:
        about = read_description(embedded_folder(name), "reinstall foundry-bench")
        kind = f"{len(about['classes'])} classes" if about["classes"] else "unlabelled"
        parts = f", parts in {len(about['part_names'])} categories" if about["part_names"] else ""
        click.echo(
            f"{name:<10} {about['objects']:>5} objects x {about['points']} points, {kind}{parts}; "
            f"{about['licence']}; sha256 {about['sha256'][:12]}"
        )


@data.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--source",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder in which the Debian packages were unpacked (dpkg -x PACKAGE.deb DIR).",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: data/NAME]")
@click.option(
    "--points", default=2048, show_default=True, type=click.IntRange(min=16), help="Points an object."
)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=1), help="Processes.")
def prepare(name: str, source: Path, out: Path | None, points: int, jobs: int) -> None:
    """Make the data set NAME from the original models, with the same bytes on every run.

    \b
    Example:
      apt-get download kicad-packages3d && dpkg -x kicad-packages3d_*.deb models
      foundry-bench data prepare kicad --source models --out data/kicad
    """
    from foundry_bench.datasets import preparation
    from foundry_bench.datasets.embedded_reader import read_description

    makers = {
        "kicad": preparation.prepare_kicad,
        "furniture": preparation.prepare_furniture,
        "pretrain": preparation.prepare_pretrain,
    }
    with _progress(f"preparing {name}") as progress:
        folder = makers[name](source, out or Path("data") / name, points=points, jobs=jobs, progress=progress)
    about = read_description(folder, "")
    for item in about["skipped"][:_SKIPPED_SHOWN]:
        click.echo(f"skipped {item['path']}: {item['reason']}", err=True)
    if len(about["skipped"]) > _SKIPPED_SHOWN:
        click.echo(f"skipped {len(about['skipped'])} in all, listed in {folder / 'dataset.json'}", err=True)
    click.echo(
        f"{about['objects']} objects x {about['points']} points in {folder}, {len(about['skipped'])} skipped"
    )


@data.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder that `data prepare` wrote, or one that holds NAME.  [default: the embedded copy]",
)
def verify(name: str, root: Path | None) -> None:
    """Check every file of a data set against its SHA-256, and the counts against its index."""
    from foundry_bench.datasets.verification import verify_folder

    report = verify_folder(name, root)
    for file in report.files:
        click.echo(f"ok  {file}")
    click.echo(f"ok  {report.objects} objects x {report.points} points, sha256 {report.sha256}")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar with the time left on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_printer(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total, path: bar.update(task, completed=done, total=total)


def _line_printer(title: str) -> Callable[[int, int, str], None]:
    printed = 0.0

    def line(done: int, total: int, path: str) -> None:
        nonlocal printed
        share = done / total
        if done == total or share >= printed + _LINE_EVERY:
            printed = share
            click.echo(f"{title}: {done}/{total}", err=True)

    return line
