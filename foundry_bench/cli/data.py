"""``foundry-bench data``: list, prepare and verify the data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundry_bench import registry
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import give, json_option, out_option
from foundry_bench.cli.place import Place

if TYPE_CHECKING:
    from foundry_bench.datasets.dataset import PointCloudDataset
    from foundry_bench.datasets.official.base import OfficialDataset

NAMES = ("kicad", "furniture", "pretrain", "bricks", "bricks-unlabelled")

#: Without a terminal, one line is printed per this share of the work.
_LINE_EVERY = 0.05

#: Skipped models that are named on the command line; dataset.json lists all.
_SKIPPED_SHOWN = 10

#: Clouds read at a time to verify them.
_BLOCK = 512


@click.group()
def data() -> None:
    """List, prepare and verify the data sets.

    \b
    foundry-bench data list
    foundry-bench data verify kicad
    """


@data.command("list")
@click.option(
    "--root",
    type=Place(),
    help="Folder below which the official data sets lie.  [default: data]",
)
@json_option
def list_datasets(root: Path | None, as_json: bool) -> None:
    """Show the data sets that ship with foundry-bench or are made as asked for, and which official ones are there.

    \b
    foundry-bench data list
    foundry-bench data list --root ~/data --json
    """
    from foundry_bench.datasets import catalog
    from foundry_bench.datasets.embedded_reader import EMBEDDED

    root = root or catalog.ROOT
    names = [*EMBEDDED, *(name for name, _ in _generated()), *(official.name for official in _officials())]
    found = {name: overview(name, root) for name in names}
    give({"datasets": [{"name": name, **about} for name, about in found.items()]}, None, as_json)
    for name, about in {} if as_json else found.items():
        click.echo(f"{name:<17} {overview_text(about)}")


def overview(name: str, root: Path) -> dict[str, Any]:
    """What a registered data set holds and under which licence, as far as it tells without its points being read.

    ``objects``, ``points`` of each, ``classes`` (0 where unlabelled), ``parted`` categories, ``licence``, ``sha256``; of an
    official one its ``terms`` and ``url``, and where it was ``found`` below ``root``, None where it is missing. ``rule``: the
    name with all parameters of one that is made. Empty for what a plugin reads in its own way.
    """
    from foundry_bench.datasets import catalog
    from foundry_bench.datasets.embedded_reader import EMBEDDED, embedded_folder, read_description

    if name in EMBEDDED:
        about = read_description(embedded_folder(name), "reinstall foundry-bench")
        sizes = {"objects": about["objects"], "points": about["points"], "classes": len(about["classes"])}
        return {
            **sizes,
            "parted": len(about["part_names"]),
            "licence": about["licence"],
            "sha256": about["sha256"],
        }
    if (rule := catalog.generated(name)) is not None:
        made = rule.load()
        return {**_sizes(made), "rule": made.name}
    source = catalog.registered(name)
    if catalog.is_official(source):
        official: OfficialDataset = source()
        place = str(official.place(root)) if official.present(root) else None
        known = {
            "name": official.name,
            "licence": official.licence,
            "terms": official.terms,
            "url": official.url,
        }
        return {**known, "counts": dict(official.counts), "found": place, "root": str(root)}
    return _sizes(source()) if registry.built_in("datasets", name) else {}


def _sizes(found: PointCloudDataset) -> dict[str, Any]:
    count, points = found.points.shape[:2]
    sizes = {"objects": int(count), "points": int(points), "classes": len(found.classes)}
    return {**sizes, "parted": len(found.part_names), "licence": found.licence, "sha256": found.sha256}


def overview_text(about: dict[str, Any]) -> str:
    """An overview in a line."""
    if "found" in about:
        there = f"found in {about['found']}"
        how = f"missing below {about['root']}: `foundry-bench data verify {about['name']}` says how to get it"
        return f"{there if about['found'] else how}; {about['licence']}"
    kind = f"{about['classes']} classes" if about["classes"] else "unlabelled"
    parts = f", parts in {about['parted']} categories" if about["parted"] else ""
    made = ", made as asked for" if "rule" in about else ""
    rule = f"; all of {about['rule']}" if "rule" in about else ""
    return (
        f"{about['objects']:>6} objects x {about['points']} points, {kind}{parts}{made}; "
        f"{about['licence']}; sha256 {about['sha256'][:12]}{rule}"
    )


@data.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--source",
    required=True,
    type=Place(),
    help="Folder in which the Debian packages were unpacked (dpkg -x PACKAGE.deb DIR).",
)
@out_option("Folder to write. [data/NAME]")
@click.option("--points", type=click.IntRange(min=16), help="Points an object.  [default: as in the package]")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=1), help="Processes.")
def prepare(name: str, source: Path, out: Path | None, points: int | None, jobs: int) -> None:
    """Make the data set NAME from the original models, with the same bytes on every run.

    \b
    Example:
      apt-get download kicad-packages3d && dpkg -x kicad-packages3d_*.deb models
      foundry-bench data prepare kicad --source models --out data/kicad
    """
    from foundry_bench.beforehand.checks import check_folder
    from foundry_bench.datasets import preparation
    from foundry_bench.datasets.embedded_reader import embedded_folder, read_description

    out = out or Path("data") / name
    check_folder(out, "--out")
    shipped: int = read_description(embedded_folder(name), "reinstall foundry-bench")["points"]
    makers = {
        "kicad": preparation.prepare_kicad,
        "furniture": preparation.prepare_furniture,
        "pretrain": preparation.prepare_pretrain,
        "bricks": preparation.prepare_bricks,
        "bricks-unlabelled": preparation.prepare_bricks_unlabelled,
    }
    with _progress(f"preparing {name}") as progress:
        folder = makers[name](source, out, points=points or shipped, jobs=jobs, progress=progress)
    about = read_description(folder, "")
    for item in about["skipped"][:_SKIPPED_SHOWN]:
        click.echo(f"skipped {item['path']}: {item['reason']}", err=True)
    if len(about["skipped"]) > _SKIPPED_SHOWN:
        click.echo(f"skipped {len(about['skipped'])} in all, listed in {folder / 'dataset.json'}", err=True)
    click.echo(
        f"{about['objects']} objects x {about['points']} points in {folder}, {len(about['skipped'])} skipped"
    )


@data.command()
@click.argument("name")
@click.option(
    "--root",
    type=Place(),
    help="The data set's folder, or one that holds it.  [default: the embedded copy; data for official sets]",
)
@folder_options
@click.pass_context
def verify(context: click.Context, name: str, root: Path | None, **folder: Any) -> None:
    """Check a data set: an embedded or prepared one byte by byte, an official one against its layout.

    For an official data set that is not whole, say what is missing, where to get it and how it must lie. NAME may also
    be a folder of clouds; `foundry-bench info FOLDER` says more of it.

    \b
    Examples:
      foundry-bench data verify kicad
      foundry-bench data verify modelnet40 --root /data
    """
    from foundry_bench.datasets import catalog
    from foundry_bench.datasets.embedded_reader import EMBEDDED, read_description

    (name,) = with_folder_options([name], **folder)
    if name in EMBEDDED:
        _verify_embedded(name, root)
    elif catalog.is_folder(name) and (Path(name) / catalog.PREPARED).exists():
        _verify_embedded(str(read_description(Path(name), "prepare it again").get("name")), Path(name))
    elif catalog.is_folder(name):
        from foundry_bench.progress import long_work

        with long_work() as (progress, _):
            found = catalog.load_dataset(name, progress=progress)
        _show_counts(found)
    elif not _verify_official(name, root or catalog.ROOT):
        context.exit(2)


def _verify_embedded(name: str, root: Path | None) -> None:
    from foundry_bench.datasets.verification import verify_folder

    report = verify_folder(name, root)
    for file in report.files:
        click.echo(f"ok  {file}")
    click.echo(f"ok  {report.objects} objects x {report.points} points, sha256 {report.sha256}")


def _officials() -> list[OfficialDataset]:
    """The official data sets of all installed distributions, by name."""
    from foundry_bench.datasets import catalog

    return [source() for _, source in _sources() if catalog.is_official(source)]


def _generated() -> list[tuple[str, PointCloudDataset]]:
    """Names and contents, none of it made yet, of the data sets that rules make, with their default parameters."""
    from foundry_bench.datasets import catalog

    rules = [(name, catalog.generated(name)) for name, _ in _sources()]
    return [(name, rule.load()) for name, rule in rules if rule is not None]


def _sources() -> Iterator[tuple[str, Any]]:
    """What is registered as a data set, by name; a broken plugin is left to ``foundry-bench list``."""
    from foundry_bench import registry
    from foundry_bench.datasets import catalog
    from foundry_bench.errors import UserError

    for name in registry.entries("datasets"):
        try:
            yield name, catalog.registered(name)
        except UserError:
            continue


def _verify_official(name: str, root: Path) -> bool:
    """Prints what is wrong with an official data set, or its counts after reading all of it."""
    from foundry_bench.datasets import catalog
    from foundry_bench.errors import UserError

    source: Any = catalog.generated(name) or catalog.registered(name)
    if not catalog.is_official(source):
        raise UserError(f"data set {name!r} has nothing to verify: it is made in memory")
    official: OfficialDataset = source()
    problems = official.problems(root)
    if problems:
        for line in problems:
            click.echo(line)
        click.echo(f"\nget {name} from {official.url}\nterms: {official.terms}\nexpected below {root}:")
        click.echo(official.layout)
        return False
    with _progress(f"reading {name}") as progress:
        dataset = official.load(root, lambda _, done, total: progress(done, total, ""))
        for start in range(0, len(dataset.points), _BLOCK):
            dataset.points[start : start + _BLOCK]
            progress(min(start + _BLOCK, len(dataset.points)), len(dataset.points), "")
    _show_counts(dataset, official.counts)
    return True


def _show_counts(dataset: PointCloudDataset, expected: dict[str, int] | None = None) -> None:
    """Prints clouds a side, points, episodes and the hash; a count that is not the official one is pointed out."""
    expected = expected or {}
    for split, sides in dataset.splits.items():
        for side in sorted(set(sides.tolist())):
            count = int((sides == side).sum())
            official = expected.get(side, count)
            note = "" if count == official else f"  (the official data set has {official})"
            click.echo(f"{split} {side:<5} {count} clouds{note}")
    for name, episodes in dataset.episodes.items():
        click.echo(f"episodes {name}: {len(episodes)} folds")
    click.echo(
        f"{len(dataset.points)} clouds x {dataset.points.shape[1]} points, {len(dataset.classes)} classes"
    )
    click.echo(f"sha256 {dataset.sha256}\nok")


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
