"""``foundry-bench profile``: what one student costs beside its teacher."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from foundry_bench.cli.options import data_root_option, student_of, teacher_option
from foundry_bench.progress import console, working_context


@click.command()
@click.argument("student")
@click.option("--dataset", default="kicad", show_default=True, help="Clouds to measure on.")
@data_root_option
@teacher_option
def profile(student: str, dataset: str, data_root: str, teacher: str) -> int:
    """Measure multiply-adds, parameters, latency and memory of STUDENT, a saved folder or a selector.

    \b
    foundry-bench profile 'foundry[supertokens=4]'
    foundry-bench profile students/foundry-4
    """
    from foundry_bench import cost
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.teachers import load_teacher

    reference = load_teacher(teacher)
    with working_context(data_root=data_root) as ctx:
        encoder = student_of(student, reference, ctx)
        report = cost.profile(encoder, reference, load_dataset(dataset, Path(data_root), ctx.progress), ctx)
    table = Table(title=f"{student} beside {teacher}", title_justify="left", header_style="bold")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in report.to_dict().items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    console().print(table)
    return 0
