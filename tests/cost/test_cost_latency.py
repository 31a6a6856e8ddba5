"""Student and teacher are timed in turns; the ratio says which one is slower. The clock goes on when an encoder works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoders import Lift, Transformer, blank_clouds
from torch import Tensor

from foundry_bench.cost import measure_latency
from foundry_bench.cost.latency import Latency
from foundry_bench.encoder import Encoder, Tokens
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.runtimes.figures import LatencyFigures, figures
from tests.runtimes.simulated_machine import Machine

GROUPING = 3.0


def told_of(latency: Latency) -> LatencyFigures:
    return figures(latency.encode, latency.total, latency.batch)


class Working(Lift):
    """Takes so many seconds of its machine, and three more to group a cloud."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        super().__init__()
        self.machine, self.seconds = machine, seconds

    def __deepcopy__(self, memo: dict[int, object]) -> Working:
        return Working(self.machine, self.seconds)

    def tokenize(self, points: Tensor) -> Patches:
        self.machine.work(GROUPING)
        return super().tokenize(points)

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        self.machine.work(self.seconds)
        return super().forward(patches)


@pytest.mark.filterwarnings("ignore:clouds reach far out")
def test_the_ratio_is_that_of_the_encoders_with_and_without_grouping() -> None:
    machine = Machine()
    student, teacher = Working(machine, 1.0), Working(machine, 2.0)
    latency = measure_latency(student, teacher, blank_clouds(4), seconds=100.0, clock=machine.clock)
    told = told_of(latency)
    assert told.latency_ratio == told.latency_cpu_ratio == 0.5
    assert told.latency_total_ratio == pytest.approx((1 + GROUPING) / (2 + GROUPING))
    assert (told.latency_ms, told.latency_p99_ms, told.latency_teacher_ms) == (1000, 1000, 2000)
    assert told.latency_control_ratio == told.latency_total_control_ratio == 1.0
    assert told.cpu_s_per_cloud == 1 + GROUPING
    assert (told.noisy, told.attempts) == (False, 1)
    assert (latency.batch, latency.dtype, latency.threads, latency.r2) == (1, "float32", 1, 1.0)


@pytest.mark.filterwarnings("ignore:clouds reach far out")
def test_without_a_teacher_there_are_times_and_no_ratio() -> None:
    machine = Machine()
    told = told_of(
        measure_latency(Working(machine, 1.0), None, blank_clouds(2), seconds=9.0, clock=machine.clock)
    )
    assert told.latency_ms == 1000
    assert told.latency_control_ratio == 1.0
    assert told.latency_ratio is told.latency_teacher_ms is told.latency_total_ratio is None


class Slower(Runtime):
    """Runs every encoder as PyTorch does, and takes ten seconds more for each."""

    name = "slower"

    def __init__(self, machine: Machine) -> None:
        self.machine, self.folders = machine, []

    def available(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        assert not any(folder.iterdir())
        assert not encoder.training
        self.folders.append(folder)
        (folder / "graph").touch()

        def forward(patches: Patches) -> Tensor:
            self.machine.work(10.0)
            return encoder(patches).features

        return forward

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        assert folder == self.folders[-1]
        (folder / "graph").unlink()
        return self.prepare(encoder, example, folder, threads)


@pytest.mark.filterwarnings("ignore:clouds reach far out")
def test_a_runtime_prepares_student_and_teacher_in_folders_of_their_own() -> None:
    machine = Machine()
    runtime = Slower(machine)
    student, teacher = Working(machine, 2.0), Working(machine, 5.0)
    latency = measure_latency(
        student, teacher, blank_clouds(2), runtime=runtime, seconds=90.0, clock=machine.clock
    )
    assert told_of(latency).latency_ratio == pytest.approx(12 / 15)
    assert (latency.r2, latency.difference) == (1.0, 0.0)
    ours, theirs, copy = runtime.folders
    assert ours != theirs == copy
    assert not ours.exists()


def test_a_model_beside_itself_gives_its_own_tokens_on_a_real_clock() -> None:
    encoder = Transformer(1)
    latency = measure_latency(encoder, encoder, blank_clouds(4) / 9, seconds=0)
    assert latency.encode.turns >= 5
    assert latency.encode.student.p99 >= latency.encode.student.p50 > 0
    assert (latency.r2, latency.difference) == (1.0, 0.0)


def test_timing_leaves_mode_and_threads_alone() -> None:
    encoder, threads = Transformer(1).train(), torch.get_num_threads()
    measure_latency(encoder, encoder, blank_clouds(1) / 9, seconds=0)
    assert encoder.training
    assert torch.get_num_threads() == threads


def test_a_batch_needs_its_clouds() -> None:
    with pytest.raises(ValueError, match="do not fill a batch"):
        measure_latency(Transformer(1), Transformer(1), blank_clouds(2), batch=4)
