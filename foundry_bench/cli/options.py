"""Options and look-ups that the sub-commands about one student share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foundry_bench import selectors
from foundry_bench.errors import UserError
from foundry_bench.students.files import load_student, make_student

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.encoder import Encoder
    from foundry_bench.method import Method

Command = TypeVar("Command", bound=Callable[..., Any])


def teacher_option(command: Command) -> Command:
    """``--teacher``, with the shipped one as its default."""
    return click.option("--teacher", default="small", show_default=True, help="A name, or a file or folder.")(
        command
    )


def one_method(selector: str, variant: str | None = None) -> tuple[Method, str]:
    """The one method and variant a selector stands for; ``variant`` where the selector names none.

    Raises UserError for a selector that stands for several.
    """
    found = selectors.expand(selectors.parse_selector(selector), use_grid=False)
    named = [pair for pair in found if variant is None or pair[1] == variant] or found
    if len({str(method.params()) for method, _ in named}) > 1:
        raise UserError(f"{selector!r} stands for {len(found)} students; give every parameter one value")
    return named[0]


def data_root_option(command: Command) -> Command:
    """``--data-root``, where official data sets lie."""
    return click.option(
        "--data-root", default="data", show_default=True, help="Folder that holds the official data sets."
    )(command)


def student_of(text: str, teacher: Encoder, ctx: Context) -> Encoder:
    """A saved student's folder, or an untrained student of a selector, off the shelf where the method can be."""

    if Path(text).is_dir():
        return load_student(Path(text))
    method, variant = one_method(text)
    return make_student(method, teacher, None, replace(ctx, variant=variant))
