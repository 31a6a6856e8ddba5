"""One cost report for one student, measured together with its teacher on real clouds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foundry_bench import registry
from foundry_bench.cost.energy import Energy
from foundry_bench.cost.latency import Latency, evaluating, measure_latency
from foundry_bench.cost.macs import MacSummary, count_macs_over
from foundry_bench.cost.memory import (
    PeakMemory,
    bytes_on_disk,
    count_nonzero,
    count_parameters,
    measure_peak_memory,
)
from foundry_bench.errors import UserError
from foundry_bench.heads.features import turned
from foundry_bench.runtimes.figures import LatencyFigures, figures
from foundry_bench.runtimes.registered import KIND
from foundry_bench.runtimes.turns import Machine, machine

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from torch import Tensor

    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder
    from foundry_bench.runtimes.base import Runtime

CLOUDS = 32
"""Evaluation clouds that costs are measured on."""
ALIKE = 0.9
"""R2 of a student's tokens in another runtime below which it is not that student any more, and its time is not told."""


@dataclass(frozen=True, kw_only=True)
class CostReport(LatencyFigures):
    """Cost of one student. ``gmacs`` are multiply-adds / 1e9 of one cloud, ``gflops`` twice that.

    ``gmacs_p95`` is the 95th percentile over the counted ``clouds`` (data-dependent students), the other counts are
    means. ``gmacs_flop_counter`` is the second counter. ``gmacs_ratio`` is that of the student / teacher's. What is counted
    is None of an exported folder, whose operators and weights PyTorch does not know.
    ``params_m`` are weights / 1e6, ``nonzero_m`` those of them that are not zero. ``disk_mb`` and ``peak_mem_mb`` are
    in 1e6 bytes; peak memory is what the student takes above ``baseline_mem_mb``, a process with all libraries at work, and
    None unless it was asked for. ``joules_per_cloud`` is read from counters of the machine,
    None with ``joules_reason`` where it has none. ``affinity``, ``governor`` and ``clock_mhz`` are of
    :class:`~foundry_bench.runtimes.turns.Machine`. ``runtimes`` holds by name what was measured in other runtimes than
    PyTorch as it is written: ``version``, ``reason`` where it could not be, else the latency figures, ``r2`` and
    ``difference`` of :class:`~foundry_bench.cost.latency.Latency`. ``runtime``: the one that the student itself is run by, so
    that of the figures beside them: ``eager``, or ``onnxruntime`` for one in eight bits.
    """

    gmacs: float | None
    gmacs_p95: float | None
    gmacs_tokenizer: float | None
    gmacs_encoder: float | None
    gmacs_decoder: float | None
    gmacs_ratio: float | None
    gflops: float | None
    gmacs_flop_counter: float | None
    params_m: float | None
    nonzero_m: float | None
    disk_mb: float
    peak_mem_mb: float | None
    baseline_mem_mb: float | None
    batch: int
    dtype: str
    threads: int
    device: str
    affinity: list[int] | None
    governor: str | None
    clock_mhz: float | None
    joules_per_cloud: float | None
    joules_reason: str | None
    clouds: int | None
    runtime: str
    runtimes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The report as one JSON object, flat but for ``runtimes``; ``None`` where a figure was not measured."""
        return asdict(self)


def profile(
    student: Encoder,
    teacher: Encoder | None,
    data: PointCloudDataset,
    ctx: Context,
    *,
    runtimes: Sequence[Runtime] = (),
    measure_memory: bool = False,
    spare: Connection | None = None,
    seconds: float = 1.5,
    threads: int = 1,
) -> CostReport:
    """Measure ``student`` and ``teacher`` on clouds of ``data``, timing for about ``seconds`` in each runtime.

    What is a share of the teacher's is None without a ``teacher``. ``runtimes`` are measured on the CPU, beside PyTorch
    on the context's device. ``measure_memory`` takes a ``spare`` process, see
    :func:`~foundry_bench.cost.memory.spare_process`, or starts one, which takes a few seconds more. Mode and weights
    of both encoders stay as they are. Raises :class:`~foundry_bench.errors.UserError` for an empty data set, for an
    operator that cannot be counted and for MAC counters that disagree.
    """
    clouds = evaluation_clouds(data, student.config.points).to(ctx.device)
    encoders = [student, *([] if teacher is None else [teacher])]
    for encoder in encoders:
        encoder.to(ctx.device)
    counted = [encoder for encoder in encoders if encoder.in_torch is not None]
    steps = 3 + len(runtimes)
    ctx.progress("counting multiply-adds", 0, steps)
    macs = {id(encoder): count_macs_over(encoder, clouds) for encoder in counted}
    ctx.progress("timing in turns", 1, steps)
    state = machine()
    latency = measure_latency(student, teacher, clouds, seconds=seconds, threads=threads)
    elsewhere = {}
    for step, runtime in enumerate(runtimes):
        ctx.progress(f"timing in turns in {runtime.name}", 2 + step, steps)
        elsewhere[runtime.name] = _elsewhere(
            runtime, student, teacher, clouds.cpu(), seconds, threads, ctx.cache
        )
    for encoder in encoders:
        encoder.to(ctx.device)
    energy = _energy(student, clouds, seconds)
    ctx.progress("measuring memory", steps - 1, steps)
    memory = _memory(student, clouds, ctx, spare) if measure_memory else None
    ctx.progress("profile", steps, steps)
    beside = macs.get(id(teacher))
    reference = None if beside is None else beside.mean.total
    return _report(
        student, macs.get(id(student)), reference, latency, memory, str(ctx.device), state, energy, elsewhere
    )


def _elsewhere(
    runtime: Runtime,
    student: Encoder,
    teacher: Encoder | None,
    clouds: Tensor,
    seconds: float,
    threads: int,
    cache: Path | None,
) -> dict[str, Any]:
    """What was measured in another runtime, or the reason why nothing was."""
    known: dict[str, Any] = {"version": runtime.version(), "reason": None}
    student.cpu()
    if teacher is not None:
        teacher.cpu()
    try:
        with registry.guard(KIND, runtime.name, "cannot run this encoder"):
            found = measure_latency(
                student, teacher, clouds, runtime=runtime, seconds=seconds, threads=threads, cache=cache
            )
    except UserError as error:
        return {**known, "reason": str(error)}
    known.update(r2=found.r2, difference=found.difference)
    if not found.r2 >= ALIKE:
        return {**known, "reason": f"its tokens there explain only {found.r2:.3f} of those in PyTorch"}
    return {**known, **asdict(figures(found.encode, found.total, found.batch))}


def _energy(student: Encoder, clouds: Tensor, seconds: float) -> tuple[float | None, str | None]:
    """Joules of one cloud, grouping included, over about ``seconds`` of work; or None and why nothing counts them."""
    with Energy() as counters:
        pass
    if counters.joules is None:
        return None, counters.reason
    done, start = 0, time.perf_counter()
    with evaluating(student, threads=torch.get_num_threads()), torch.inference_mode(), Energy() as spent:
        while time.perf_counter() - start < seconds:
            cloud = clouds[done % len(clouds)][None]
            student(student.tokenize(cloud))
            done += 1
        if clouds.is_cuda:
            torch.cuda.synchronize(clouds.device)
    return (None if spent.joules is None else spent.joules / done), spent.reason


def _memory(student: Encoder, clouds: Tensor, ctx: Context, spare: Connection | None) -> PeakMemory | None:
    """Peak memory, None where no other process can run the student, of which the log tells."""
    try:
        return measure_peak_memory(student, clouds[:1], spare)
    except UserError as error:
        ctx.log.warning("%s", error)
        return None


def evaluation_clouds(data: PointCloudDataset, points: int, count: int = CLOUDS) -> Tensor:
    """At most ``count`` clouds of ``data``, evenly spaced and turned as tasks turn them, (n, points, 3)."""
    if len(data.points) == 0:
        raise UserError(f"data set {data.name!r} is empty; costs are measured on real clouds")
    picks = np.unique(np.linspace(0, len(data.points) - 1, count).round().astype(int))
    return torch.from_numpy(turned(data.points[picks, :points], np.asarray(data.paths)[picks]))


def _report(
    student: Encoder,
    macs: MacSummary | None,
    reference: int | None,
    latency: Latency,
    memory: PeakMemory | None,
    device: str,
    state: Machine,
    energy: tuple[float | None, str | None],
    elsewhere: dict[str, dict[str, Any]],
) -> CostReport:
    count, own = None if macs is None else macs.mean, student.in_torch

    def counted(name: str) -> float | None:
        return None if count is None else getattr(count, name) / 1e9

    gmacs = counted("total")
    return CostReport(
        **asdict(figures(latency.encode, latency.total, latency.batch)),
        gmacs=gmacs,
        gmacs_p95=None if macs is None else macs.p95 / 1e9,
        gmacs_tokenizer=counted("tokenizer"),
        gmacs_encoder=counted("encoder"),
        gmacs_decoder=counted("decoder"),
        gmacs_ratio=None if reference is None or count is None else count.total / reference,
        gflops=None if gmacs is None else 2 * gmacs,
        gmacs_flop_counter=counted("flop_counter"),
        params_m=None if own is None else count_parameters(own) / 1e6,
        nonzero_m=None if own is None else count_nonzero(own) / 1e6,
        disk_mb=bytes_on_disk(student) / 1e6,
        peak_mem_mb=memory.peak / 1e6 if memory else None,
        baseline_mem_mb=memory.baseline / 1e6 if memory else None,
        batch=latency.batch,
        dtype=latency.dtype,
        threads=latency.threads,
        device=device,
        **asdict(state),
        joules_per_cloud=energy[0],
        joules_reason=energy[1],
        clouds=None if macs is None else macs.clouds,
        runtime=student.runtime,
        runtimes=elsewhere,
    )
