"""What several commands share: the type of a path, and the option of those that print a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foundry_bench.beforehand.checks import check_path


class Place(click.Path):
    """A path that need not exist. An empty one, as an unset variable of a shell gives it, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path. Raises UserError, which names the option."""
        option = max(param.opts, key=len) if param is not None else self.name
        return check_path(value, option if option.startswith("-") else option.upper())


wide_option = click.option("--wide", is_flag=True, help="Print all columns, however long the lines get.")
