"""TensorBoard, read back through its own reader."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from foundry_bench.trackers.rows import metrics
from foundry_bench.trackers.tensorboard import TensorBoard

pytest.importorskip("tensorboard")
HPARAMS = "_hparams_/session_start_info"
END = "_hparams_/session_end_info"


@pytest.fixture
def runs(results) -> Callable[[], dict[str, Any]]:
    """What TensorBoard has loaded, by run."""

    def read() -> dict[str, Any]:
        from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

        multiplexer = EventMultiplexer().AddRunsFromDirectory(
            str(results.store.folder / "trackers" / "tensorboard")
        )
        multiplexer.Reload()
        return {name: multiplexer.GetAccumulator(name) for name in multiplexer.Runs()}

    return read


def scalar(run: Any, tag: str) -> list[tuple[int, float]]:
    """Steps and values of one tag, which TensorBoard keeps as tensors or scalars."""
    from tensorboard.util import tensor_util

    if tag in run.Tags()["scalars"]:
        return [(event.step, event.value) for event in run.Scalars(tag)]
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in run.Tensors(tag)]


def start_and_end(run: Any) -> tuple[Any, Any]:
    """What the HParams page knows of a run."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = run.PluginTagToContent("hparams")
    start, end = (HParamsPluginData.FromString(content[tag]) for tag in (HPARAMS, END))
    return start.session_start_info, end.session_end_info


def text(run: Any, tag: str) -> str:
    """One text."""
    return run.Tensors(tag)[0].tensor_proto.string_val[0].decode()


def test_every_row_is_a_run_with_scalars_and_a_curve(results, runs) -> None:
    results.log(tensorboard=TensorBoard())
    assert results.warnings == []
    found = runs()
    assert len(found) == len(results.rows) + 1
    records = {
        r["identity"]["cell_id"]: r
        for kind in ("student", "evaluate", "profile")
        for r in results.records(kind)
    }
    for row in results.rows:
        run = found[row.name.replace("[", "-").replace("]", "")]
        for cell in row.cells[1:]:
            for tag, value in metrics(records[cell]).items():
                assert scalar(run, tag)[-1] == (0, pytest.approx(value, rel=1e-6))
        points = records[row.cells[0]]["fidelity"]["curve"]
        assert scalar(run, "curve/loss") == [(p["step"], pytest.approx(p["loss"], rel=1e-6)) for p in points]


def test_the_parameters_of_a_row_are_on_the_hparams_page(results, runs) -> None:
    results.log(tensorboard=TensorBoard())
    found = runs()
    row = next(row for row in results.rows if row.config["method"] == "kd")
    start, end = start_and_end(found[row.name.replace("[", "-").replace("]", "")])
    assert start.hparams["method"].string_value == "kd"
    assert start.hparams["params.depth"].number_value == row.config["params.depth"]
    assert end.status == 1  # STATUS_SUCCESS


def test_the_page_of_hyperparameters_finds_all_rows(results) -> None:
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    results.log(tensorboard=TensorBoard())
    multiplexer = EventMultiplexer().AddRunsFromDirectory(
        str(results.store.folder / "trackers" / "tensorboard")
    )
    multiplexer.Reload()
    assert len(multiplexer.PluginRunToTagToContent("hparams")) == len(results.rows)


def test_a_failure_is_seen_and_goes_away_when_it_is_mended(results, runs) -> None:
    cell = results.fail(0, "it broke")
    name = next(row.name for row in results.rows if cell.id in row.cells).replace("[", "-").replace("]", "")
    results.log(tensorboard=TensorBoard())
    run = runs()[name]
    assert start_and_end(run)[1].status == 2  # STATUS_FAILURE
    assert text(run, "failure") == "failed in evaluate: it broke"
    results.mend(cell)
    results.log(tensorboard=TensorBoard())
    run = runs()[name]
    assert start_and_end(run)[1].status == 1
    assert "failure" not in run.Tags()["tensors"]


def test_the_sweep_and_its_leaderboard_are_texts(results, runs) -> None:
    results.log(tensorboard=TensorBoard())
    root = runs()["."]
    assert "methods: tome+fmd, kd+fmd" in text(root, "sweep")
    assert len(text(root, "leaderboard").splitlines()) == len(results.board) + 2


def test_what_was_shown_but_not_remembered_is_not_shown_twice(results) -> None:
    def files() -> dict[str, bytes]:
        folder = results.store.folder / "trackers" / "tensorboard"
        return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    results.log(tensorboard=TensorBoard())
    before = files()
    results.forget()
    results.log(tensorboard=TensorBoard())
    assert files() == before


def test_no_file_names_the_host(results) -> None:
    results.log(tensorboard=TensorBoard())
    names = [file.name for file in (results.store.folder / "trackers" / "tensorboard").rglob("*.*.*")]
    assert names
    assert not any(socket.gethostname() in name.split(".") for name in names)


def test_the_folder_can_be_chosen(results, tmp_path) -> None:
    results.log(tensorboard=TensorBoard(folder=str(tmp_path / "board")))
    assert list((tmp_path / "board").glob("*/events.out.tfevents.*"))
    assert not (results.store.folder / "trackers").exists()


def test_a_folder_that_cannot_be_written_is_one_warning(results, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    results.log(tensorboard=TensorBoard(folder=str(tmp_path / "file" / "board")))
    assert len(results.warnings) == 1
