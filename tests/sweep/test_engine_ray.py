"""Cells on a real Ray cluster: the same records as on this machine, clear errors at the start, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sweep_helpers import Sweep

from foundry_bench.errors import UserError
from foundry_bench.sweep.engines import ray as engine_module
from foundry_bench.sweep.engines import ray_session
from foundry_bench.sweep.engines.base import Ending
from foundry_bench.sweep.engines.ray import RayEngine
from foundry_bench.sweep.store import Store

ray = pytest.importorskip("ray")
PATIENCE = 180.0
"""Seconds that a busy machine is given to start something."""


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def commands_naming(text: str) -> list[list[str]]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [process.cmdline()] if any(text in word for word in process.cmdline()) else []
    return found


def alive(pids: Iterable[int]) -> list[str]:
    """What those processes are that have not ended; nobody may have asked yet how one ended."""
    found = []
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{pid} {process.status()} {' '.join(process.cmdline())}")
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster that somebody else has started, in another folder and without the variables of this process."""
    folder, port = Path(tempfile.mkdtemp(prefix="ray-")), free_port()
    options = [
        f"--port={port}",
        "--num-cpus=2",
        f"--temp-dir={folder}",
        f"--object-store-memory={100 * 2**20}",
    ]
    options += [
        "--include-dashboard=false",
        "--disable-usage-stats",
        f"--ray-client-server-port={free_port()}",
    ]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["RAY_AUTH_MODE"] = "disabled"
    with (folder / "output").open("w") as output:
        head = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        assert eventually(lambda: listens(port)), (folder / "output").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        eventually(lambda: not commands_naming(str(folder)), 10)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_running_cluster_gives_the_same_records_and_is_left_running(sweep: Sweep, address: str) -> None:
    methods = "failing,hungry,leaving,skipping,teacher-copy[scale=2.0]"
    results = []
    for out, engine in (("serial", "serial"), ("ray", f"ray[address={address},start_timeout=180]")):
        outcome, notes = sweep(methods, out=out, engine=engine)
        values = [r["scores"]["values"][0]["value"] for r in notes.records if r["scores"]]
        results.append((notes.statuses, values, outcome.exit_code))
    assert results[0] == results[1]
    assert not ray.is_initialized()
    assert listens(int(address.rpartition(":")[2]))


def test_a_cell_that_is_killed_is_tried_once_more(sweep: Sweep, address: str, tmp_path: Path) -> None:
    outcome, notes = sweep(
        f"dying[once={tmp_path / 'died'}],dying", engine=f"ray[address={address},start_timeout=180]"
    )
    found = {(r["identity"]["status"], r["identity"]["attempt"]) for r in notes.records if not r["scores"]}
    assert found >= {("ok", 2), ("killed", 2)}
    killed = next(r["identity"] for r in outcome.failed if r["identity"]["status"] == "killed")
    log = tmp_path / "out" / "cells" / "student" / killed["traceback_file"]
    assert "by SIGKILL" in log.read_text()


def test_a_cell_over_its_time_is_stopped_with_all_that_it_started(
    sweep: Sweep, plugins: Path, address: str, tmp_path: Path
) -> None:
    started = tmp_path / "pids"
    with (plugins / "fake_bench.py").open("a") as source:
        source.write(
            "\nimport subprocess\ndef wait_for_a_child(self, teacher, data, ctx):\n"
            "    child = subprocess.Popen(['sleep', '600'])\n"
            f"    Path({str(started)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
            "    os.system('echo from a shell')\n    child.wait()\nSleeping.compress = wait_for_a_child\n"
        )
    outcome, notes = sweep("sleeping", engine=f"ray[address={address},start_timeout=180]", timeout=6.0)
    assert notes.statuses == {"student sleeping": "timeout", "evaluate sleeping": "failed"}
    identity = outcome.failed[0]["identity"]
    assert "--timeout" in identity["message"]
    log = tmp_path / "out" / "cells" / "student" / identity["traceback_file"]
    assert log.read_text() == "from a shell\n"
    cell, child = map(int, started.read_text().split())
    assert eventually(lambda: not alive([cell, child]), 5)


def test_what_no_node_has_is_refused_instead_of_waited_for(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use --device cuda instead of cuda:1"):
        RayEngine(device="cuda:1", address=address).open(Store(tmp_path))
    for asked, fix in (({"gpus": 1e6}, "or set gpus"), ({"memory": 10**18}, "lower --memory")):
        engine = RayEngine(**asked, address=address)
        with pytest.raises(UserError, match=fix):
            engine.open(Store(tmp_path))
        engine.close()


def test_nodes_are_asked_for_the_results_folder_and_versions(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, engine = Store(tmp_path), RayEngine(address=address)
    engine.open(store)
    try:
        second = RayEngine()
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "write_atomic", lambda path, content: None)
            with pytest.raises(UserError, match=r"node \S+ of .* does not see .*; choose an --out"):
                second.open(store)
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "version", lambda name: "0.0.1")
            with pytest.raises(UserError, match=r"has foundry-bench \S+ and this machine 0\.0\.1; install"):
                second.open(store)
        second.close()
        assert ray.is_initialized(), "a connection that was there before is not the engine's to close"
        assert list(store.cache.iterdir()) == []
    finally:
        engine.close()
    assert not ray.is_initialized()


@pytest.mark.parametrize("wrong", ["127.0.0.1:{port}", "127.0.0.1", "nowhere.invalid:6379"])
def test_an_address_where_nobody_is_ends_in_one_line(sweep: Sweep, wrong: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="no Ray cluster answers") as caught:
        sweep("teacher-copy", engine=f"ray[address={wrong.format(port=free_port())},start_timeout=5]")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 8


def test_a_server_that_never_answers_ends_within_the_limit(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        engine = RayEngine(address=f"127.0.0.1:{mute.getsockname()[1]}", start_timeout=1)
        began = time.monotonic()
        with pytest.raises(UserError, match="no Ray cluster answers"):
            engine.open(Store(tmp_path))
    engine.close()
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("given", [True, False])
def test_a_start_that_hangs_ends_within_the_limit(
    given: bool, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda **options: time.sleep(30))
    engine = RayEngine(address=address if given else None, start_timeout=0.5)
    with pytest.raises(UserError, match=r"did not answer within 0\.5 s"):
        engine.open(Store(tmp_path))
    engine.close()


def test_the_cluster_of_the_environment_is_found_and_more_threads_than_it_has_wait_not_forever(
    sweep: Sweep, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_session, "_short_folder", lambda: pytest.fail("started a cluster"))
    _, notes = sweep("teacher-copy", engine="ray[start_timeout=180]", threads=64)
    assert set(notes.statuses.values()) == {"ok"}


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install foundry-bench\[ray\]"):
        RayEngine().open(Store(tmp_path))


def test_a_local_cluster_leaves_nothing_behind(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fb-"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(ray_session, "_short_folder", lambda: str(folder))
    _, notes = sweep("teacher-copy", engine="ray[start_timeout=180]")
    assert set(notes.statuses.values()) == {"ok"}
    assert list(folder.iterdir()) == []
    assert list(home.iterdir()) == []
    assert eventually(lambda: not commands_naming(str(folder)), 5), commands_naming(str(folder))
    assert capfd.readouterr() == ("", "")
    folder.rmdir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)])
def test_a_driver_that_is_stopped_takes_its_local_cluster_along(
    plugins: Path, tmp_path: Path, number: int, code: int
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fb-"))
    options = [
        "--methods=sleeping",
        "--tasks=spread",
        "--teacher=tiny",
        "--distill-on=blobs",
        "--no-rehearsal",
    ]
    options += ["--engine=ray[start_timeout=180]", f"--out={tmp_path / 'out'}"]
    command = [sys.executable, "-c", "from foundry_bench.cli import main; main()", "run", *options]
    with (tmp_path / "output").open("w") as output:
        environment = {**os.environ, "TMPDIR": str(folder)}
        driver = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    marks = Store(tmp_path / "out").marks

    def at_work() -> list[int]:
        notices = [marks.alive(name) for name in marks.names()]
        return [n.pid for n in notices if n is not None and n.kind == "student"]

    try:
        assert eventually(at_work), (tmp_path / "output").read_text()
        [cell] = at_work()
        family = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
        assert cell in family
        driver.send_signal(number)
        assert driver.wait(60) == code, (tmp_path / "output").read_text()
    finally:
        driver.kill()
        driver.wait()

    def left() -> list[str]:
        """Without two idle agents of Ray, which look for a minute for the cluster that is gone, and then end, too."""
        agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
        return [line for line in alive(family) if not any(agent in line for agent in agents)]

    assert eventually(lambda: not left(), 15), left()
    assert number == signal.SIGKILL or list(folder.glob("ray-*")) == []
    shutil.rmtree(folder)


def test_the_death_of_a_worker_is_told_from_an_error_of_the_task() -> None:
    crash = engine_module._ending(ray.exceptions.WorkerCrashedError())
    assert crash == Ending(died=True, detail="with its Ray worker (WorkerCrashedError)")
    assert engine_module._ending(ray.exceptions.OutOfMemoryError("node")).died
    error = ray.exceptions.RayTaskError("supervise", "a\nb", FileNotFoundError("no such spec"))
    assert engine_module._ending(error) == Ending(detail="FileNotFoundError: no such spec")


def test_paths_of_this_process_reach_workers_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["plugins", "/absolute"]))
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", "/cache")
    passed = ray_session._environment()
    assert passed["PYTHONPATH"] == os.pathsep.join([str(tmp_path / "plugins"), "/absolute"])
    assert passed["FOUNDRY_BENCH_CACHE"] == "/cache"
    assert "HOME" not in passed
