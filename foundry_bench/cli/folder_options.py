"""``--up``, ``--scale`` and ``--points``: what the folders of one command do not tell, in place of options of their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foundry_bench.errors import UserError

if TYPE_CHECKING:
    from logging import Logger

    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder
    from foundry_bench.sweep.config import SweepConfig

Command = TypeVar("Command", bound=Callable[..., Any])
NAMES = ("up", "scale", "points")


def folder_options(command: Command) -> Command:
    """The three options; each is None where it is not given."""
    for option in (
        click.option("--points", type=int, help="Points that every cloud of a folder is brought to. [2048]"),
        click.option(
            "--scale",
            type=float,
            help="Radius, in the units of a folder's files, that becomes 1. [each cloud's own]",
        ),
        click.option("--up", help="Axis that is up in the clouds of a folder: z or y. [z]"),
    ):
        command = option(command)
    return command


def with_folder_options(names: Sequence[str], **asked: Any) -> list[str]:
    """Data sets with the options ``asked`` for, those that are None left out, where they are folders.

    Raises UserError where options are given and none is a folder.
    """
    if all(value is None for value in asked.values()):
        return list(names)
    from foundry_bench.datasets.catalog import is_folder
    from foundry_bench.datasets.folders.options import with_options

    if not any(map(is_folder, names)):
        first = next(key for key, value in asked.items() if value is not None)
        raise UserError(f"--{first} is for folders of clouds, and none is named: name one, or leave it out")
    return [with_options(name, **asked) if is_folder(name) else name for name in names]


def told_fewer_points(name: str, data: PointCloudDataset, encoder: Encoder, log: Logger) -> None:
    """A line of the log where a folder's clouds are brought to fewer points than an encoder reads."""
    from foundry_bench.datasets.catalog import is_folder

    reads, points = encoder.config.points, data.points.shape[1]
    if reads is not None and points < reads and is_folder(name):
        log.info(
            "%s: the teacher reads %s points of a cloud and gets %s; --points %s gives it as many",
            name,
            reads,
            points,
            reads,
        )


def sweep_with_folder_options(config: SweepConfig, **asked: Any) -> SweepConfig:
    """A sweep whose folders have the options ``asked`` for, in its tasks, tables, ``dataset`` and ``distill_on``."""
    from foundry_bench.selectors import join_task, split_task

    split = [[split_task(text) for text in table.tasks] for table in config.comparisons]
    placed = [place for tasks in split for _, place in tasks if place is not None]
    given = iter(with_folder_options([*placed, *config.dataset, config.distill_on], **asked))
    tasks = [
        tuple(join_task(first, None if place is None else next(given)) for first, place in table)
        for table in split
    ]
    dataset = tuple(next(given) for _ in config.dataset)
    changed = replace(config, dataset=dataset, distill_on=next(given))
    if config.tables:
        tables = zip(config.tables, tasks, strict=True)
        return replace(changed, tables=tuple(replace(table, tasks=own) for table, own in tables))
    return replace(changed, tasks=tasks[0])
