"""Weights & Biases in offline mode, read back from the files that ``wandb sync`` sends."""

from __future__ import annotations

import getpass
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from foundry_bench.errors import UserError
from foundry_bench.trackers.rows import metrics
from foundry_bench.trackers.wandb import QUIET, WeightsAndBiases

pytest.importorskip("wandb")
BLOCK, HEADER = 32768, 7
KEY = "0" * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stands for W&B and for the way out, and remembers who called; hangs up on everybody."""
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                calls.append(connection.recv(200).decode(errors="replace"))
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name in ("WANDB_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        yield calls
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _own_service(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B with settings, caches and background process of this test alone."""
    import wandb

    wandb.teardown()
    for name in ("MODE", "PROJECT", "ENTITY", "API_KEY"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    yield
    wandb.teardown()


@dataclass
class Run:
    """What one file says about a run."""

    about: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def records_of(content: bytes) -> Iterator[bytes]:
    """The records of a W&B file, which is a LevelDB log: blocks of parts with a checksum, a length and a type."""
    at, whole = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # full, last
            yield whole
            whole = b""


def read(file: Path) -> Run:
    """One run from its file."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = Run()
    for content in records_of(file.read_bytes()):
        record = Record.FromString(content)
        if record.HasField("run"):
            run.about = record.run
            run.config.update({i.key: json.loads(i.value_json) for i in record.run.config.update})
        elif record.HasField("history"):
            pairs = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            run.history.append(pairs)
        elif record.HasField("summary"):
            pairs = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
            run.summary.update(pairs)
        elif record.HasField("exit"):
            run.exit_code = record.exit.exit_code
    return run


@pytest.fixture
def runs(results) -> Callable[[], dict[str, Run]]:
    """All runs by name; one file for each."""

    def find() -> dict[str, Run]:
        files = list((results.store.folder / "trackers" / "wandb" / "wandb").glob("offline-run-*/*.wandb"))
        found = {run.about.display_name: run for run in map(read, files)}
        assert len(found) == len(files)
        return found

    return find


def test_every_row_is_a_run_of_one_group(results, runs) -> None:
    results.log(wandb=WeightsAndBiases())
    assert results.warnings == []
    found = runs()
    assert set(found) == {row.name for row in results.rows} | {"fewshot-quick"}
    assert len({run.about.run_group for run in found.values()}) == 1
    assert {run.about.project for run in found.values()} == {"foundry-bench"}
    records = {
        r["identity"]["cell_id"]: r
        for kind in ("student", "evaluate", "profile")
        for r in results.records(kind)
    }
    for row in results.rows:
        run = found[row.name]
        assert {key: run.config[key] for key in row.config} == row.config
        assert run.exit_code == 0
        for cell in row.cells[1:]:
            for name, value in metrics(records[cell]).items():
                assert run.summary[name] == pytest.approx(value)
        points = records[row.cells[0]]["fidelity"]["curve"]
        curve = [(line["_step"], line["curve/loss"]) for line in run.history if "curve/loss" in line]
        assert curve == [(point["step"], pytest.approx(point["loss"])) for point in points]


def test_the_leaderboard_is_a_table_of_the_sweeps_own_run(results, runs) -> None:
    results.log(wandb=WeightsAndBiases())
    run = runs()["fewshot-quick"]
    assert run.config["methods"] == "tome+fmd, kd+fmd"
    folder = results.store.folder / "trackers" / "wandb" / "wandb"
    (file,) = folder.glob("offline-run-*-sweep/files/media/table/*.json")
    table = json.loads(file.read_text())
    assert table["columns"] == list(results.board.columns)
    assert [line[1] for line in table["data"]] == list(results.board["method"])


def test_nothing_is_sent_by_default(results, runs, server) -> None:
    results.log(wandb=WeightsAndBiases())
    assert len(runs()) == len(results.rows) + 1
    assert server == []


def test_online_means_online_and_a_server_that_hangs_up_is_one_warning(results, server, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for name in ("init_timeout", "finish_timeout"):
        monkeypatch.setitem(QUIET, name, 1.0)
    results.trackers(wandb=WeightsAndBiases(mode="online")).close(results.board)
    assert server
    assert len(results.warnings) == 1
    assert "Error: " in results.warnings[0]
    assert KEY not in results.warnings[0]


def test_online_without_a_key_is_an_error_before_the_sweep(server) -> None:
    with pytest.raises(UserError, match=r"wandb login"):
        WeightsAndBiases(mode="online").check("wandb")
    assert server == []


def test_wandb_mode_is_followed_where_the_parameter_is_silent(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert WeightsAndBiases().destination(Path()).startswith("online ")
    assert WeightsAndBiases(mode="offline").destination(Path()).startswith("offline ")


def test_a_failure_is_seen_and_replaced_when_it_is_mended(results, runs) -> None:
    cell = results.fail(0, "it broke")
    name = next(row.name for row in results.rows if cell.id in row.cells)
    results.log(wandb=WeightsAndBiases())
    run = runs()[name]
    assert run.exit_code == 1
    assert run.summary["failure"] == "failed in evaluate: it broke"
    results.mend(cell)
    results.log(wandb=WeightsAndBiases())
    run = runs()[name]
    assert run.exit_code == 0
    assert "failure" not in run.summary


def test_what_was_shown_but_not_remembered_is_not_shown_twice(results, runs) -> None:
    results.log(wandb=WeightsAndBiases())
    ids = {run.about.run_id for run in runs().values()}
    results.forget()
    results.log(wandb=WeightsAndBiases())
    assert results.warnings == []
    assert {run.about.run_id for run in runs().values()} == ids


def test_a_resumed_sweep_writes_no_row_twice(results, runs) -> None:
    def files() -> set[str]:
        return {str(file) for file in results.store.folder.rglob("*.wandb") if "-sweep" not in file.name}

    results.log(wandb=WeightsAndBiases())
    before = files()
    results.log(wandb=WeightsAndBiases())
    assert files() == before


def test_neither_host_nor_user_nor_code_is_in_the_files(results, runs) -> None:
    results.log(wandb=WeightsAndBiases())
    for run in runs().values():
        assert run.about.host == ""
        assert not run.about.HasField("git")
    folder = results.store.folder / "trackers" / "wandb"
    assert not list(folder.rglob("wandb-metadata.json"))
    assert not list(folder.rglob("requirements.txt"))
    secrets = [name.encode() for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4]
    for file in folder.rglob("*.wandb"):
        assert not any(secret in file.read_bytes() for secret in [*secrets, b"somebody"])
