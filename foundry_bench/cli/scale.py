"""``foundry-bench scale``: what students cost as clouds grow, under a memory budget."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli import offers
from foundry_bench.cli.options import (
    data_root_option,
    dataset_option,
    give,
    json_option,
    out_option,
    student_of,
    teacher_option,
)
from foundry_bench.progress import console, working_context
from foundry_bench.report.numbers import figures

if TYPE_CHECKING:
    from rich.table import Table

    from foundry_bench.cost.scaling import ScaleRow

MULTIPLES = {"": 1, "k": 10**3, "m": 10**6}
BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9}
STEP = 4
"""From one number of a range to the next."""


class Counts(click.ParamType):
    """Numbers by comma, such as ``1k,10k``; ``64..4096`` goes up by fours."""

    name = "NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        found: list[int] = []
        for piece in str(value).split(","):
            low, _, high = (part.strip() for part in piece.partition(".."))
            last = self._one(high, param, ctx) if high else None
            found.append(self._one(low, param, ctx))
            while last is not None and found[-1] * STEP <= last:
                found.append(found[-1] * STEP)
        return sorted(set(found))

    def _one(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9})([km]?)", text.lower())
        if match is None or int(match[1]) < 1:
            self.fail(f"{text!r} is no number; write them as 1k,10k or 64..4096", param, ctx)
        return int(match[1]) * MULTIPLES[match[2]]


class Bytes(click.ParamType):
    """An amount of memory such as ``6GB``, in bytes; a GB is 1e9 bytes."""

    name = "MEMORY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?) ?([kmg]b)", str(value).lower())
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no amount of memory; write it as 6GB or 500MB", param, ctx)
        return int(float(match[1]) * BYTES[match[2]])


@click.command()
@click.argument("students", nargs=-1, shell_complete=offers.student)
@click.option(
    "--points", type=Counts(), default="1k,10k,100k,300k", show_default=True, help="Points of a cloud."
)
@click.option("--groups", type=Counts(), default="64..4096", show_default=True, help="Patches of a cloud.")
@click.option("--memory", type=Bytes(), help="Most memory of a process, such as 6GB.")
@click.option(
    "--attention",
    type=click.Choice(["plain", "fused", "both"]),
    default="both",
    show_default=True,
    help="Products written out, or PyTorch's fused kernel.",
)
@out_option("Folder for scaling.csv and the figure")
@dataset_option("Where the cloud is from")
@click.option(
    "--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="Timing of each size."
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds for each size."
)
@data_root_option
@teacher_option
@json_option
def scale(students: tuple[str, ...], out: Path | None, as_json: bool, **options: Any) -> int:
    """Measure what STUDENTS, saved folders or selectors, cost as clouds grow: memory by part, time, multiply-adds.

    Each size runs in a fresh process. One that passes --memory is ended: that is a result, and the row says in which part.
    The teacher is measured where no student is named. What a method merges in a block grows with the groups, r=8 of 64 is
    r=512 of 4,096; SuperTokens stay as many as they are.

    \b
    foundry-bench scale teacher 'foundry[supertokens=16]' --memory 6GB -o results/scaling
    foundry-bench scale students/foundry-4 --points 100k --groups 1024 --attention fused
    """
    if out is not None:
        check_folder(out, "--out")
    from foundry_bench.cost.report import evaluation_clouds
    from foundry_bench.cost.scaling import measure_scaling
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.report.scaling import write_scaling
    from foundry_bench.teachers import load_teacher

    reference = load_teacher(options["teacher"])
    rows: list[ScaleRow] = []
    with working_context(data_root=options["data_root"]) as ctx:
        cases = cases_of(options["points"], options["groups"], options["attention"], reference.config)
        named = [(text, student_of(text, reference, ctx)) for text in students or ("teacher",)]
        data = load_dataset(options["dataset"], Path(options["data_root"]), ctx.progress)
        cloud = evaluation_clouds(data, data.points.shape[1])[0]
        limits = {name: options[name] for name in ("memory", "timeout", "seconds")}
        for row in measure_scaling(named, cloud, cases, progress=ctx.progress, **limits):
            rows.append(row)
            if out is not None:
                write_scaling(rows, out, figure=False)
    if out is not None:
        write_scaling(rows, out)
    give({"rows": [asdict(row) for row in rows]}, None, as_json)
    if not as_json:
        console().print(table_of(rows))
    return 0


def cases_of(points: list[int], groups: list[int], attention: str, config: Any) -> list[Any]:
    """The sizes to measure. Raises UserError where there is none, or one that no encoder takes."""
    from dataclasses import replace

    from foundry_bench.cost.scaling_child import FUSED, PLAIN, Case
    from foundry_bench.errors import UserError

    kinds = [PLAIN, FUSED] if attention == "both" else [attention]
    found = [
        Case(n, g, kind) for g in groups for n in points if n >= max(g, config.group_size) for kind in kinds
    ]
    if not found:
        raise UserError("no cloud has as many points as it has groups; raise --points or lower --groups")
    for case in found:
        replace(config, groups=case.groups, points=case.points)
    return found


def table_of(rows: list[ScaleRow]) -> Table:
    """The rows as a table for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="costs against size", title_justify="left", pad_edge=False)
    for column in ("student", "attention", "points", "groups", "result"):
        table.add_column(column, overflow="fold")
    memory = ("base_mb", "grouping_mb", "tokenizer_mb", "encoder_mb", "decoder_mb", "gmacs")
    times = ("grouping_cpu_ms", "encode_cpu_ms")
    for column in (*memory, *times):
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        result = row.status if row.stage is None else f"{row.status} in {row.stage}"
        shown = [getattr(row, column) for column in (*memory, *times)]
        cells = ["" if value is None else figures(value) for value in shown]
        table.add_row(
            escape(row.student), row.attention, f"{row.points:,}", f"{row.groups:,}", result, *cells
        )
    return table
