"""MLflow: a parent run for the sweep and a nested run for each row, which is what its comparison view wants.

The default store is a SQLite file below the results; MLflow has retired its store of plain files. Look at it with
``mlflow ui --backend-store-uri sqlite:///RESULTS/trackers/mlflow/mlflow.db`` where the whole ``mlflow`` is installed.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from foundry_bench.errors import UserError
from foundry_bench.sweep.record import Record
from foundry_bench.trackers.base import Session, Sweep, Tracker, local_folder
from foundry_bench.trackers.rows import Row, curve, ended, failure, metrics, sweep_config

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

ENVIRONMENT = "MLFLOW_TRACKING_URI"
SWEEP_TAG, ROW_TAG = "foundry_bench.sweep", "foundry_bench.row"
BATCH = 900
"""Metrics in one call; MLflow takes 1000."""
PARAMS = 100
"""Parameters in one call."""


def _quiet() -> None:
    """MLflow reports its use to its makers unless told not to; here nothing leaves the machine unasked."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table it makes


@dataclass(frozen=True)
class MLflow(Tracker):
    """Log to MLflow: one parent run per sweep, one nested run per method, variant, parameters and seed.

    ``uri`` is a tracking server or ``sqlite:///file``; empty means ``MLFLOW_TRACKING_URI``, and without it a
    SQLite file in RESULTS/trackers/mlflow. ``experiment`` is the experiment's name.
    """

    uri: str = ""
    experiment: str = "foundry-bench"
    needs: ClassVar[tuple[str, ...]] = ("mlflow", "sqlalchemy", "alembic")
    extra: ClassVar[str] = "mlflow"

    def check(self, name: str) -> None:
        if urlsplit(self.uri).password is not None:
            raise UserError(
                f"tracker {name!r} was given a password, which would be written into sweep.yaml and every record; leave "
                f"the uri out and set {ENVIRONMENT}, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        _quiet()
        super().check(name)

    def destination(self, folder: Path) -> str:
        return f"{self.uri or os.environ.get(ENVIRONMENT, '')} {self.experiment}"

    def open(self, sweep: Sweep, state: dict[str, Any]) -> Session:
        _quiet()
        from mlflow import MlflowClient

        asked = self.uri or os.environ.get(ENVIRONMENT)
        folder = None if asked else local_folder(sweep, "mlflow")
        client = MlflowClient(tracking_uri=asked or f"sqlite:///{folder}/mlflow.db")
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return MLflowSession(client, found.experiment_id, sweep, state)
        artifacts = (folder / "artifacts").as_uri() if folder else None
        made = client.create_experiment(self.experiment, artifact_location=artifacts)
        return MLflowSession(client, made, sweep, state)


class MLflowSession(Session):
    """Runs are found again by their tags where ``state`` does not know them: a crash may have come between."""

    def __init__(self, client: MlflowClient, experiment: str, sweep: Sweep, state: dict[str, Any]) -> None:
        self._client = client
        self._experiment = experiment
        self._sweep = sweep
        self._state = state
        self._running: set[str] = set()
        tags = {SWEEP_TAG: sweep.id, ROW_TAG: "", "mlflow.note.content": "A sweep of foundry-bench."}
        self._parent = self._run("sweep", sweep.folder.resolve().name, tags)
        self._log_params(self._parent, sweep_config(sweep.config))

    def cell(self, row: Row, record: Record) -> None:
        from mlflow.entities import Metric

        run = self._row_run(row)
        stamp = int(ended(record) * 1000)  # not now: MLflow drops what it has got already, time and all
        values = [Metric(name, value, stamp, 0) for name, value in metrics(record).items()]
        for step, point in curve(record):
            values += [Metric(name, value, stamp, step) for name, value in point.items()]
        for start in range(0, len(values), BATCH):
            self._client.log_batch(run, metrics=values[start : start + BATCH])
        problem = failure([record])
        if problem:
            self._client.set_tag(run, "failure", problem)

    def row(self, row: Row, records: list[Record]) -> None:
        run, problem = self._row_run(row), failure(records)
        if problem is None:
            self._client.set_tag(run, "failure", "")  # of an attempt that was mended since
        end = int(max(ended(record) for record in records) * 1000)
        self._client.set_terminated(run, "FAILED" if problem else "FINISHED", end)
        self._running.discard(run)

    def close(self, board: pd.DataFrame | None) -> None:
        if board is not None:
            self._client.log_text(self._parent, board.to_csv(index=False), "leaderboard.csv")
            self._client.log_dict(self._parent, sweep_config(self._sweep.config), "sweep.yaml")
        status = "KILLED" if board is None else "FINISHED"
        for run in (*self._running, self._parent):
            self._client.set_terminated(run, status)

    def _row_run(self, row: Row) -> str:
        tags = {SWEEP_TAG: self._sweep.id, ROW_TAG: row.id, "mlflow.parentRunId": self._parent}
        known = row.id in self._state
        run = self._run(row.id, row.name, tags)
        if not known:
            self._log_params(run, row.config)
        return run

    def _run(self, key: str, name: str, tags: dict[str, str]) -> str:
        """The id of the run for ``key``; it is made, or found and set running again, on first use in this process."""
        run = self._state.get(key) or self._find(tags)
        if run is None:
            run = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        elif run not in self._running:
            self._client.update_run(run, status="RUNNING")
        self._state[key] = run
        self._running.add(run)
        return run

    def _find(self, tags: dict[str, str]) -> str | None:
        wanted = " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in (SWEEP_TAG, ROW_TAG) if tags[key])
        runs = self._client.search_runs([self._experiment], wanted, max_results=1000)
        same = [run for run in runs if run.data.tags.get(ROW_TAG, "") == tags[ROW_TAG]]
        return same[0].info.run_id if same else None

    def _log_params(self, run: str, values: dict[str, Any]) -> None:
        """Log parameters that the run does not have. MLflow's never change: a widened sweep keeps its first ones."""
        from mlflow.entities import Param

        there = self._client.get_run(run).data.params
        params = [Param(key, str(value)) for key, value in values.items() if key not in there]
        for start in range(0, len(params), PARAMS):
            self._client.log_batch(run, params=params[start : start + PARAMS])
