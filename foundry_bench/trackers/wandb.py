"""Weights & Biases: one run per row in a group, and one for the sweep with the leaderboard as a table.

A run per row is what its table, its filters and its parallel coordinates compare. A row is logged when all its cells
are there, from the records on disk: W&B cannot continue a run that was made offline, and hundreds of open runs would
be a burden. Nothing is sent unless the mode says so; ``wandb sync RESULTS/trackers/wandb/wandb/offline-run-*`` sends it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from foundry_bench.errors import UserError
from foundry_bench.sweep.record import Record
from foundry_bench.trackers.base import Session, Sweep, Tracker, local_folder
from foundry_bench.trackers.rows import Row, curve, failure, metrics, sweep_config

if TYPE_CHECKING:
    import pandas as pd

MODES = ("offline", "online", "disabled")
PROJECT = "foundry-bench"
PATIENCE = 25.0
"""Seconds for a server to answer; less than the guard waits, so that the error is W&B's own."""
QUIET: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "email": "",
    "finish_timeout": PATIENCE,
    "finish_timeout_raises": True,
    "host": "",
    "init_timeout": PATIENCE,
    "program": "foundry-bench",
    "save_code": False,
    "silent": True,
    "username": "",
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
}
"""What W&B would collect by itself: the machine, its user, the code, the installed packages; off as far as it goes."""


def _quiet() -> None:
    """W&B reports errors of its own to its makers unless told not to."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


@dataclass(frozen=True)
class WeightsAndBiases(Tracker):
    """Log to Weights & Biases: a group per sweep, in it one run per method, variant, parameters and seed.

    ``mode`` is offline, online or disabled; empty means ``WANDB_MODE``, and without it offline. ``project`` and
    ``entity`` are W&B's; empty means ``WANDB_PROJECT`` or foundry-bench, and ``WANDB_ENTITY``.
    """

    project: str = ""
    mode: str = ""
    entity: str = ""
    needs: ClassVar[tuple[str, ...]] = ("wandb",)
    extra: ClassVar[str] = "wandb"

    def __post_init__(self) -> None:
        if self.mode and self.mode not in MODES:
            raise UserError(f"mode of wandb must be one of {', '.join(MODES)}, got {self.mode!r}")

    def check(self, name: str) -> None:
        _quiet()
        super().check(name)
        if self._mode == "online":
            self._check_login()

    @staticmethod
    def _check_login() -> None:
        """Raise UserError without a key: later W&B would ask for one from a thread. Nothing is sent."""
        import wandb

        try:
            logged_in = wandb.login()
        except (wandb.Error, TimeoutError):
            logged_in = False
        if not logged_in:
            raise UserError("wandb is not logged in; run 'wandb login' or write wandb[mode=offline]")

    def destination(self, folder: Path) -> str:
        entity, server = self.entity or os.environ.get("WANDB_ENTITY"), os.environ.get("WANDB_BASE_URL")
        return f"{self._mode} {self._project} {entity} {server}"

    def open(self, sweep: Sweep, state: dict[str, Any]) -> Session:
        _quiet()
        common = {"project": self._project, "entity": self.entity or None, "mode": self._mode}
        return WandbSession(sweep, local_folder(sweep, "wandb"), common)

    @property
    def _mode(self) -> str:
        return self.mode or os.environ.get("WANDB_MODE") or "offline"

    @property
    def _project(self) -> str:
        return str(self.project) or os.environ.get("WANDB_PROJECT") or PROJECT


class WandbSession(Session):
    """Every run is opened, written and finished in one call, under an id made of the sweep's and the row's."""

    def __init__(self, sweep: Sweep, folder: Path, common: dict[str, Any]) -> None:
        self._sweep = sweep
        self._folder = folder
        self._common = common

    def row(self, row: Row, records: list[Record]) -> None:
        problem = failure(records)
        run = self._begin(row.id, row.name, "row", row.config)
        for record in records:
            for step, point in curve(record):
                run.log(point, step=step)
            run.summary.update(metrics(record))
        if problem:
            run.summary["failure"] = problem
        run.finish(exit_code=1 if problem else 0)

    def close(self, board: pd.DataFrame | None) -> None:
        if board is None:
            return
        import wandb

        name = self._sweep.folder.resolve().name
        run = self._begin("sweep", name, "sweep", sweep_config(self._sweep.config))
        lines: list[Iterable[Any]] = list(board.astype(object).where(board.notna(), None).values.tolist())
        columns: list[str | int] = [str(column) for column in board.columns]
        run.log({"leaderboard": wandb.Table(columns=columns, data=lines, allow_mixed_types=True)})
        run.finish(exit_code=0)

    def _begin(self, key: str, name: str, job: str, config: dict[str, Any]) -> Any:
        import wandb

        run_id = f"{self._sweep.id}-{key}"
        if self._common["mode"] == "offline":
            # The whole run is written again, so what an interrupted or failed attempt left is out of date.
            for stale in self._folder.glob(f"wandb/offline-run-*-{run_id}"):
                shutil.rmtree(stale)
        known = wandb.Settings.model_fields
        settings = {key: value for key, value in QUIET.items() if key in known}
        return wandb.init(
            **self._common,
            id=run_id,
            name=name,
            group=f"{self._sweep.folder.resolve().name}-{self._sweep.id}",
            job_type=job,
            config=config,
            dir=str(self._folder),
            resume="allow" if self._common["mode"] == "online" else None,
            reinit="create_new",  # leaves alone a run that a plugin may have open
            settings=wandb.Settings(**settings),
        )
