"""One cost report for one student, measured together with its teacher on real clouds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from foundry_bench.cost.latency import Latency, measure_latency
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

if TYPE_CHECKING:
    from torch import Tensor

    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder

CLOUDS = 32
"""Evaluation clouds that costs are measured on."""


@dataclass(frozen=True)
class CostReport:
    """Cost of one student. ``gmacs`` are multiply-adds / 1e9 of one cloud, ``gflops`` twice that.

    ``gmacs_p95`` is the 95th percentile over the counted ``clouds`` (data-dependent students), the
    other counts are means. ``gmacs_flop_counter`` is the second counter. Ratios are student / teacher.
    ``latency_*`` times the encoder alone at batch 1, ``latency_total_*`` includes grouping the cloud.
    ``params_m`` are weights / 1e6, ``nonzero_m`` those of them that are not zero.
    ``disk_mb`` and ``peak_mem_mb`` are in 1e6 bytes; peak memory is None unless it was asked for.
    """

    gmacs: float
    gmacs_p95: float
    gmacs_tokenizer: float
    gmacs_encoder: float
    gmacs_decoder: float
    gmacs_ratio: float
    gflops: float
    gmacs_flop_counter: float
    params_m: float
    nonzero_m: float
    disk_mb: float
    latency_ms: float
    latency_teacher_ms: float
    latency_ratio: float
    latency_ratio_iqr: float
    latency_total_ms: float
    latency_total_ratio: float
    latency_total_ratio_iqr: float
    peak_mem_mb: float | None
    baseline_mem_mb: float | None
    batch: int
    dtype: str
    threads: int
    device: str
    clouds: int
    pairs: int

    def to_dict(self) -> dict[str, object]:
        """The report as one flat JSON object; ``None`` where a figure was not measured."""
        return asdict(self)


def profile(
    student: Encoder,
    teacher: Encoder,
    data: PointCloudDataset,
    ctx: Context,
    *,
    measure_memory: bool = False,
    seconds: float = 1.5,
) -> CostReport:
    """Measure ``student`` and ``teacher`` on clouds of ``data``, timing for about ``seconds``.

    ``measure_memory`` starts a fresh process, which takes a few seconds more. Mode and weights of both encoders
    stay as they are. Raises :class:`~foundry_bench.errors.UserError` for an
    empty data set, for an operator that cannot be counted and for MAC counters that disagree.
    """
    clouds = evaluation_clouds(data, student.config.points).to(ctx.device)
    student.to(ctx.device), teacher.to(ctx.device)
    ctx.progress("counting multiply-adds", 0, 2)
    macs, reference = count_macs_over(student, clouds), count_macs_over(teacher, clouds)
    ctx.progress("timing pairs", 1, 2)
    latency = measure_latency(student, teacher, clouds, seconds=seconds)
    memory = measure_peak_memory(student, clouds[:1]) if measure_memory else None
    ctx.progress("profile", 2, 2)
    return _report(student, macs, reference, latency, memory, str(ctx.device))


def evaluation_clouds(data: PointCloudDataset, points: int, count: int = CLOUDS) -> Tensor:
    """At most ``count`` clouds of ``data``, evenly spaced and turned as tasks turn them, (n, points, 3)."""
    if len(data.points) == 0:
        raise UserError(f"data set {data.name!r} is empty; costs are measured on real clouds")
    picks = np.unique(np.linspace(0, len(data.points) - 1, count).round().astype(int))
    return torch.from_numpy(turned(data.points[picks, :points], np.asarray(data.paths)[picks]))


def _report(
    student: Encoder,
    macs: MacSummary,
    reference: MacSummary,
    latency: Latency,
    memory: PeakMemory | None,
    device: str,
) -> CostReport:
    encode, total, count = latency.encode, latency.total, macs.mean
    return CostReport(
        gmacs=count.total / 1e9,
        gmacs_p95=macs.p95 / 1e9,
        gmacs_tokenizer=count.tokenizer / 1e9,
        gmacs_encoder=count.encoder / 1e9,
        gmacs_decoder=count.decoder / 1e9,
        gmacs_ratio=count.total / reference.mean.total,
        gflops=2 * count.total / 1e9,
        gmacs_flop_counter=count.flop_counter / 1e9,
        params_m=count_parameters(student) / 1e6,
        nonzero_m=count_nonzero(student) / 1e6,
        disk_mb=bytes_on_disk(student) / 1e6,
        latency_ms=encode.student_ms,
        latency_teacher_ms=encode.teacher_ms,
        latency_ratio=encode.ratio,
        latency_ratio_iqr=encode.ratio_iqr,
        latency_total_ms=total.student_ms,
        latency_total_ratio=total.ratio,
        latency_total_ratio_iqr=total.ratio_iqr,
        peak_mem_mb=memory.peak / 1e6 if memory else None,
        baseline_mem_mb=memory.baseline / 1e6 if memory else None,
        batch=latency.batch,
        dtype=latency.dtype,
        threads=latency.threads,
        device=device,
        clouds=macs.clouds,
        pairs=encode.pairs,
    )
