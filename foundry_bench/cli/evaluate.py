"""``foundry-bench evaluate``: one student on one task."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundry_bench.beforehand.checks import check_device
from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import folder_options, told_fewer_points, with_folder_options
from foundry_bench.cli.options import (
    budget_option,
    check_output,
    data_root_option,
    device_option,
    give,
    output_options,
    student_argument,
    student_or_export_of,
    teacher_option,
    threads_option,
    use_threads,
)
from foundry_bench.parameters.text import unquoted
from foundry_bench.progress import working_context

if TYPE_CHECKING:
    from foundry_bench.task import Scores, Task


@click.command()
@student_argument
@click.option(
    "--task",
    default="fewshot",
    show_default=True,
    help="Such as 'classification[mode=finetune]:modelnet40'.",
    shell_complete=offers.task,
)
@click.option("--dataset", help="Data set. [the task's own]", shell_complete=offers.dataset)
@budget_option
@device_option
@threads_option
@folder_options
@data_root_option
@teacher_option
@output_options
def evaluate(
    student: str,
    task: str,
    dataset: str | None,
    budget: str,
    device: str,
    threads: int | None,
    data_root: str,
    teacher: str,
    output: Path | None,
    as_json: bool,
    **folder: Any,
) -> int:
    """Score STUDENT, a saved or exported folder or the selector of an untrained one.

    An exported folder is run by ONNX Runtime, so its scores are those of the graph, in eight bits where it is.

    \b
    foundry-bench evaluate students/foundry-4 --task fewshot --dataset kicad
    foundry-bench evaluate students/foundry-4 --task 'classification:modelnet40' --data-root ~/data
    foundry-bench evaluate students/mine --task partseg:scans/ --up y
    foundry-bench evaluate teacher --device cuda --json
    """
    check_output(output)
    check_device(device)
    from foundry_bench import selectors
    from foundry_bench.datasets.catalog import load_dataset, resolved
    from foundry_bench.task import check_data, evaluated
    from foundry_bench.training.budget import get_budget

    tasks = [(task, _places(task, asked, dataset)) for task, asked in selectors.expand_task(task)]
    places = [name for _, names in tasks for name in names]
    chosen = dict(zip(places, with_folder_options(places, **folder), strict=True))
    get_budget(budget)
    use_threads(threads)
    found: list[dict[str, Any]] = []
    with working_context(budget=budget, data_root=data_root, device=device) as ctx:
        encoder = student_or_export_of(student, teacher, ctx, threads or 1)
        for protocol, names in tasks:
            label = selectors.selector_text(protocol.name, selectors.shown_fields(protocol), None)
            for name in (resolved(chosen[name]) for name in names):
                data = load_dataset(name, Path(data_root), ctx.progress)
                told_fewer_points(name, data, encoder, ctx.log)
                check_data(protocol, name, data)
                scores = evaluated(protocol, encoder, data, ctx)
                found += [{"task": label, "dataset": name, **asdict(value)} for value in scores.values]
                if not as_json:
                    _print(f"{label}:{name}", scores)
    give({"student": student, "scores": found}, output, as_json)
    return 0


def _places(task: Task, asked: str | None, dataset: str | None) -> tuple[str, ...]:
    """The data sets that a task is evaluated on."""
    return (asked,) if asked else task.datasets if dataset is None else (unquoted(dataset),)


def _print(place: str, scores: Scores) -> None:
    for score in scores.values:
        spread = "" if score.ci_low is None else f"  [{score.ci_low:.4f}, {score.ci_high:.4f}]"
        click.echo(f"{place}:{score.metric}  {score.value:.4f}{spread}  n={score.n}")
