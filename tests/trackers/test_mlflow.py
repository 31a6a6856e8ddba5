"""MLflow, read back through its own client."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry_bench.errors import UserError
from foundry_bench.trackers import Sweep, select
from foundry_bench.trackers.mlflow import ROW_TAG, MLflow
from foundry_bench.trackers.rows import metrics

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: to make one takes MLflow seconds."""
    from mlflow import MlflowClient

    MLflow().check("mlflow")
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").get_experiment_by_name("Default")
    return file


@pytest.fixture(autouse=True)
def _quick_and_local(results, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = results.store.folder / "trackers" / "mlflow"
    folder.mkdir(parents=True)
    shutil.copy(empty, folder)


@pytest.fixture
def runs(results) -> Callable[[], tuple[Any, dict[str, Any], Any]]:
    """The sweep's run, the nested runs by the id of their row, and the client."""

    def read() -> tuple[Any, dict[str, Any], Any]:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{results.store.folder}/trackers/mlflow/mlflow.db")
        experiment = client.get_experiment_by_name("foundry-bench")
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
        assert len(parents) == 1
        rows = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
        assert len(rows) + 1 == len(found)
        return parents[0], {run.data.tags[ROW_TAG]: run for run in rows}, client

    return read


def test_every_row_is_a_nested_run_with_its_parameters_scores_and_cost(results, runs) -> None:
    results.log(mlflow=MLflow())
    assert results.warnings == []
    _, found, _ = runs()
    assert set(found) == {row.id for row in results.rows}
    records = {
        r["identity"]["cell_id"]: r
        for kind in ("student", "evaluate", "profile")
        for r in results.records(kind)
    }
    for row in results.rows:
        run = found[row.id]
        assert run.info.run_name == row.name
        assert run.info.status == "FINISHED"
        assert run.data.params == {key: str(value) for key, value in row.config.items()}
        for cell in row.cells[1:]:
            wanted = metrics(records[cell])
            assert {key: run.data.metrics[key] for key in wanted} == wanted


def test_the_training_curve_has_its_steps(results, runs) -> None:
    results.log(mlflow=MLflow())
    _, found, client = runs()
    row = results.rows[0]
    student = next(r for r in results.records("student") if r["identity"]["cell_id"] == row.cells[0])
    history = client.get_metric_history(found[row.id].info.run_id, "curve/loss")
    points = [(point["step"], point["loss"]) for point in student["fidelity"]["curve"]]
    assert sorted((point.step, point.value) for point in history) == points


def test_the_sweep_is_a_run_with_its_configuration_and_the_leaderboard(results, runs, tmp_path) -> None:
    results.log(mlflow=MLflow())
    parent, _, client = runs()
    assert parent.info.status == "FINISHED"
    assert parent.data.params["methods"] == "tome+fmd, kd+fmd"
    file = client.download_artifacts(parent.info.run_id, "leaderboard.csv", str(tmp_path))
    assert Path(file).read_text() == results.board.to_csv(index=False)


def test_a_failure_is_seen_and_goes_away_when_it_is_mended(results, runs) -> None:
    cell = results.fail(0, "it broke in /home/somebody/code.py")
    row = next(row for row in results.rows if cell.id in row.cells)
    results.log(mlflow=MLflow())
    _, found, _ = runs()
    assert found[row.id].info.status == "FAILED"
    assert found[row.id].data.tags["failure"] == "failed in evaluate: it broke in code.py"
    assert [run.info.status for run in found.values()].count("FAILED") == 1
    results.mend(cell)
    results.log(mlflow=MLflow())
    _, found, _ = runs()
    assert found[row.id].info.status == "FINISHED"
    assert found[row.id].data.tags["failure"] == ""


def test_an_interrupted_sweep_is_continued_in_the_same_runs(results, runs) -> None:
    results.trackers(mlflow=MLflow()).close(interrupted=True)
    assert runs()[0].info.status == "KILLED"
    results.log(mlflow=MLflow())
    parent, found, _ = runs()
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_a_sweep_that_is_continued_is_running_again(results, runs) -> None:
    sweep = Sweep("abc", results.plan.config, results.store.folder, tuple(results.rows))
    state: dict[str, Any] = {}
    MLflow().open(sweep, state).close(None)
    session = MLflow().open(sweep, state)
    assert runs()[0].info.status == "RUNNING"
    session.close(results.board)
    assert runs()[0].info.status == "FINISHED"


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_mlflow_is_told_not_to_report_home_unless_the_user_has_decided(before, after, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "to be put back")
    if before is None:
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    else:
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", before)
    MLflow().check("mlflow")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == after


def test_what_was_shown_but_not_remembered_is_not_shown_twice(results, runs) -> None:
    def points() -> list[tuple[str, str, int, float]]:
        _, found, client = runs()
        names = [(run.info.run_id, name) for run in found.values() for name in run.data.metrics]
        return sorted((*name, p.step, p.value) for name in names for p in client.get_metric_history(*name))

    results.log(mlflow=MLflow())
    before = points()
    results.forget()
    results.log(mlflow=MLflow())
    assert results.warnings == []
    assert points() == before


def test_neither_host_nor_user_is_named_and_git_ignores_the_store(results, runs) -> None:
    results.log(mlflow=MLflow())
    parent, found, _ = runs()
    for run in (parent, *found.values()):
        texts = [*run.data.tags.values(), *run.data.params.values()]
        assert run.info.user_id in ("unknown", "", None)
        assert not {socket.gethostname(), getpass.getuser(), "somebody"} & set(" ".join(texts).split())
        assert "somebody" not in " ".join(texts)
    assert (results.store.folder / "trackers" / ".gitignore").read_text() == "*\n"


def test_a_password_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        select(("mlflow[uri=https://somebody:secret@host:5000/path]",))
    assert "secret" not in str(caught.value)
    assert set(select(("mlflow[uri=https://somebody@host:5000]",))) == {
        "mlflow[uri=https://somebody@host:5000]"
    }


def test_the_store_can_be_chosen(results, empty, tmp_path, monkeypatch) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.copy(empty, tmp_path)}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    results.log(mlflow=MLflow(experiment="mine"))
    assert results.warnings == []
    assert MlflowClient(uri).get_experiment_by_name("mine") is not None
    assert not (results.store.folder / "trackers" / ".gitignore").exists()


def test_a_store_is_made_where_there_is_none(results, runs) -> None:
    shutil.rmtree(results.store.folder / "trackers")
    results.log(mlflow=MLflow())
    assert results.warnings == []
    assert len(runs()[1]) == len(results.rows)


def test_a_server_that_is_not_there_is_one_warning(results, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    results.log(mlflow=MLflow(uri=f"http://127.0.0.1:{port}"))
    assert len(results.warnings) == 1
    assert results.warnings[0].startswith("tracker mlflow is switched off: ")
