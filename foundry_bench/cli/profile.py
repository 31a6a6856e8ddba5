"""``foundry-bench profile``: what one student costs beside its teacher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from foundry_bench.beforehand.checks import check_device
from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import (
    SHIPPED,
    check_output,
    data_root_option,
    dataset_option,
    device_option,
    give,
    output_options,
    student_argument,
    student_or_export_of,
    threads_option,
)
from foundry_bench.errors import UserError
from foundry_bench.progress import console, working_context
from foundry_bench.report.numbers import figures
from foundry_bench.runtimes.columns import EAGER, REASON, RUNTIMES

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder


@click.command()
@student_argument
@dataset_option("Clouds to measure on")
@folder_options
@click.option(
    "--runtime",
    default=EAGER,
    show_default=True,
    help="What latency is measured in beside PyTorch, such as onnxruntime,executorch.",
    shell_complete=offers.runtimes,
)
@click.option("--no-memory", is_flag=True, help="Leave out peak memory, which takes a process of its own.")
@device_option
@threads_option
@data_root_option
@click.option(
    "--teacher",
    help="A name, or a file or folder. [a saved student's own, of a selector the shipped one]",
    shell_complete=offers.teacher,
)
@output_options
def profile(
    student: str,
    dataset: str,
    runtime: str,
    no_memory: bool,
    device: str,
    threads: int | None,
    data_root: str,
    teacher: str | None,
    output: Path | None,
    as_json: bool,
    **folder: Any,
) -> int:
    """Measure multiply-adds, parameters, latency and memory of STUDENT, a saved or exported folder or a selector.

    A saved student is measured beside the teacher that it was made from; where that is not here, in absolute numbers. An
    exported folder is run by ONNX Runtime; its multiply-adds and parameters are those of the student that it was made from.
    Latency is timed with one thread unless --threads says otherwise.

    \b
    foundry-bench profile 'foundry[supertokens=4]'
    foundry-bench profile students/foundry-4 --runtime onnxruntime
    foundry-bench profile students/foundry-4 --no-memory --json
    foundry-bench profile exported/foundry-4 --runtime onnxruntime
    """
    check_output(output)
    check_device(device)
    (dataset,) = with_folder_options([dataset], **folder)
    from foundry_bench import cost
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.runtimes.registered import check_runtimes
    from foundry_bench.selectors import split_selectors
    from foundry_bench.teachers import load_teacher

    runtimes = check_runtimes(split_selectors(runtime))
    saved = os.path.isdir(student)
    reference: Encoder | None = load_teacher(teacher or SHIPPED) if teacher or not saved else None
    with working_context(data_root=data_root, device=device) as ctx:
        encoder = student_or_export_of(student, reference, ctx, threads or 1)
        if reference is None:
            reference = _own_teacher(encoder)
        report = cost.profile(
            encoder,
            reference,
            load_dataset(dataset, Path(data_root), ctx.progress),
            ctx,
            runtimes=runtimes,
            measure_memory=not no_memory,
            threads=threads or 1,
        )
    source = getattr(reference, "source", None)
    beside = None if reference is None else source.name if source else teacher or SHIPPED
    found = {"student": student, "teacher": beside, "dataset": dataset, **report.to_dict()}
    give(found, output, as_json)
    if not as_json:
        _print(found)
    return 0


def _own_teacher(student: Encoder) -> Encoder | None:
    """The teacher that a student was made from, None where it is not here any more, which a line on stderr tells."""
    from foundry_bench.exports import RuntimeEncoder
    from foundry_bench.students.files import own_teacher, recorded_teacher

    try:
        return (
            recorded_teacher(*student.teacher)
            if isinstance(student, RuntimeEncoder)
            else own_teacher(student)
        )
    except UserError as reason:
        click.echo(f"compared with no teacher: {reason}", err=True)
        return None


def _print(found: dict[str, Any]) -> None:
    """A table of what does not depend on the runtime, and one of latency with a column a runtime."""
    beside = f"beside {found['teacher']}" if found["teacher"] else "in absolute numbers"
    elsewhere: dict[str, dict[str, Any]] = found[RUNTIMES]
    own = {key: value for key, value in found.items() if key not in ("student", "teacher", RUNTIMES)}
    timed = [
        key for key in own if key.startswith("latency") or key in ("cpu_s_per_cloud", "noisy", "attempts")
    ]
    table = _table(f"{found['student']} {beside}", "value")
    for name in (name for name in own if name not in timed):
        table.add_row(name, _text(own[name]))
    console().print(table)
    ours = EAGER if found["runtime"] == EAGER else f"{found['runtime']} beside {EAGER}"
    table = _table("latency: one cloud, student and teacher in turns; total with grouping", ours, *elsewhere)
    for name in timed:
        table.add_row(name, _text(own[name]), *(_text(block.get(name)) for block in elsewhere.values()))
    console().print(table)
    for name, block in elsewhere.items():
        if block[REASON] is not None:
            click.echo(f"not measured in {name}: {block[REASON]}", err=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("figure")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _text(value: Any) -> str:
    return "" if value is None else figures(value, 4) if isinstance(value, float) else str(value)
