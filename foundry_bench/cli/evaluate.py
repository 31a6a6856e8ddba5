"""``foundry-bench evaluate``: one student on one task."""

from __future__ import annotations

import click

from foundry_bench import registry
from foundry_bench.cli.options import student_of, teacher_option, working_context


@click.command()
@click.argument("student")
@click.option("--task", default="fewshot", show_default=True)
@click.option("--dataset", help="Data set. [the task's own]")
@teacher_option
def evaluate(student: str, task: str, dataset: str | None, teacher: str) -> int:
    """Score STUDENT, a saved folder or the selector of an untrained one.

    \b
    foundry-bench evaluate students/foundry-4 --task fewshot --dataset kicad
    foundry-bench evaluate teacher
    """
    from foundry_bench.sweep import harness

    protocol = registry.load("tasks", task)()
    with working_context() as ctx:
        encoder = student_of(student, harness.load_teacher(teacher), ctx)
        for name in [dataset] if dataset else protocol.datasets:
            data = harness.load_dataset(name)
            harness.check_needs(task, protocol.needs, name, data)
            for score in protocol.evaluate(encoder, data, ctx).values:
                spread = "" if score.ci_low is None else f"  [{score.ci_low:.4f}, {score.ci_high:.4f}]"
                click.echo(f"{task}:{name}:{score.metric}  {score.value:.4f}{spread}  n={score.n}")
    return 0
