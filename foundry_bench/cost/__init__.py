"""All measurements of cost: multiply-adds, paired latency, parameters, bytes and memory."""

from foundry_bench.cost.latency import measure_latency
from foundry_bench.cost.macs import (
    MacCount,
    MacSummary,
    closed_form_block_macs,
    count_macs,
    count_macs_over,
)
from foundry_bench.cost.memory import (
    bytes_on_disk,
    count_nonzero,
    count_parameters,
    measure_peak_memory,
    spare_process,
)
from foundry_bench.cost.report import CostReport, profile

__all__ = [
    "CostReport",
    "MacCount",
    "MacSummary",
    "bytes_on_disk",
    "closed_form_block_macs",
    "count_macs",
    "count_macs_over",
    "count_nonzero",
    "count_parameters",
    "measure_latency",
    "measure_peak_memory",
    "profile",
    "spare_process",
]
