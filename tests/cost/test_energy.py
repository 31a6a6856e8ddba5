"""Joules are read or None with a reason; CPU seconds are there in any case."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from foundry_bench.cost.energy import Energy


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def zone(root: Path, place: str, name: str, microjoules: int, wraps: int = 10**9) -> Path:
    folder = root / place
    folder.mkdir(parents=True)
    for file, content in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", wraps)):
        (folder / file).write_text(f"{content}\n")
    return folder / "energy_uj"


def test_without_a_counter_there_are_no_joules_but_a_reason_and_cpu_seconds(tmp_path: Path) -> None:
    with Energy(tmp_path / "nowhere") as spent:
        sum(range(300_000))
    assert spent.joules is None
    assert "is not there; no NVML counter" in str(spent.reason)
    assert spent.counters == ()
    assert 0 < spent.cpu_s < 5


def test_packages_are_summed_and_their_parts_left_out(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    with Energy(tmp_path) as spent:
        first.write_text("3500000\n")
        second.write_text("250000\n")
        core.write_text("900000000\n")
    assert spent.joules == pytest.approx(2.75)
    assert spent.counters == ("package-0", "package-1")
    assert spent.reason is None


def test_a_counter_that_starts_again_from_zero_is_followed(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, wraps=10_000_000)
    with Energy(tmp_path) as spent:
        counter.write_text("500000\n")
    assert spent.joules == pytest.approx(1.5)


def test_a_folder_without_a_package_says_so(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0:0", "core", 0)
    with Energy(tmp_path) as spent:
        pass
    assert spent.joules is None
    assert "no RAPL counter of a package" in str(spent.reason)


def test_counters_that_root_alone_may_read_are_said_to_be_that(tmp_path: Path, monkeypatch) -> None:
    closed = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    read = Path.read_text

    def refused(self: Path, *args: object) -> str:
        if self == closed:
            raise PermissionError
        return read(self)

    monkeypatch.setattr(Path, "read_text", refused)
    with Energy(tmp_path) as spent:
        pass
    assert spent.joules is None
    assert "root alone (intel-rapl:0)" in str(spent.reason)


def test_gpus_are_read_in_millijoules(tmp_path: Path, monkeypatch) -> None:
    readings = iter([1000, 1000, 4500])  # the first only shows that the counter can be read
    stub = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(readings),
    )
    monkeypatch.setitem(sys.modules, "pynvml", stub)
    with Energy(tmp_path / "nowhere") as spent:
        pass
    assert spent.joules == pytest.approx(3.5)
    assert spent.counters == ("gpu-0",)
