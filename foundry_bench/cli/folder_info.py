"""``foundry-bench info FOLDER``: what a folder of clouds was understood as, and which tasks it serves."""

from __future__ import annotations

from collections.abc import Iterator

from foundry_bench import registry, selectors
from foundry_bench.border import plain
from foundry_bench.datasets.catalog import PREPARED, load_dataset, understood
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.one_file import shown
from foundry_bench.errors import UserError
from foundry_bench.progress import long_work
from foundry_bench.task import check_data


def describe_folder(name: str) -> Iterator[str]:
    """Lines about a folder of clouds; raises UserError for one that cannot be used as it is."""
    with long_work() as (progress, _):
        folder = understood(name, progress)
        data = load_dataset(name, progress=progress) if folder is None else folder.data
    yield f"{shown(name)} (folder of {'a prepared data set' if folder is None else 'clouds'})"
    yield ""
    lines = _prepared(data) if folder is None else folder.lines()
    for label, text in lines:
        yield f"  {label}: {text}"
    yield from _tasks(name, data)


def _prepared(data: PointCloudDataset) -> Iterator[tuple[str, str]]:
    yield (
        "clouds",
        f"{len(data.labels):,} of {data.points.shape[1]:,} points, made by data prepare ({PREPARED})",
    )
    yield "classes", f"{len(data.classes)}: {', '.join(map(shown, data.classes))}"
    yield "splits", ", ".join(map(shown, data.splits)) or "none"
    yield "licence", shown(data.licence)
    yield "sha256", data.sha256


def _tasks(name: str, data: PointCloudDataset) -> Iterator[str]:
    """A line for each task: whether the data set has what it needs, or what to add."""
    for task in registry.entries("tasks"):
        try:
            found = selectors.task_class(task)()
            with registry.guard("tasks", task, "cannot tell what it needs"):
                check_data(found, name, data)
                metrics = ", ".join(metric.name for metric in found.metrics_for(data))
            yield f"  task {task}: yes ({metrics})"
        except UserError as error:
            yield f"  task {task}: no, {plain(str(error))}"
