"""What students cost of their teacher in PyTorch and in other runtimes, with and without grouping, and whose ranks change.

Weights are untrained: time depends on shapes. One cloud, one thread, everybody in turns with the teacher and with a second
copy of the teacher, the control. CPU time is ranked, since it moves less where other programs run.

python benchmarks/runtimes.py --runtime onnxruntime
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import torch

import foundry_bench as fb
from foundry_bench.cost import bytes_on_disk, measure_latency
from foundry_bench.cost.report import evaluation_clouds
from foundry_bench.datasets import load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.runtimes.figures import LatencyFigures, figures
from foundry_bench.runtimes.registered import runtime_of
from foundry_bench.selectors import split_selectors

METHODS = (
    "teacher,foundry[supertokens=16],tome[r=8],fps[tokens=9],kd,lowrank[keep=0.36],prune-structured,int8"
)
COLUMNS = (
    *("CPU", "wall (IQR)", "with grouping: CPU", "wall (IQR)", "control: CPU", "wall", "CPU ms"),
    *("largest difference", "MB"),
)


@dataclass
class Weighed(Runtime):
    """A runtime that knows the bytes of what it has prepared."""

    runtime: Runtime
    bytes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.runtime.name

    def available(self) -> str | None:
        return self.runtime.available()

    def version(self) -> str:
        return self.runtime.version()

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        forward = self.runtime.prepare(encoder, example, folder, threads)
        self.bytes.append(max(file.stat().st_size for file in folder.glob("model.*")))
        return forward

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        return self.runtime.again(encoder, example, folder, threads)


def line(told: LatencyFigures) -> str:
    """The figures of one student in one runtime, as cells of a Markdown table."""
    cells = (
        *(f"{told.latency_cpu_ratio:.2f}", f"{told.latency_ratio:.2f} ({told.latency_ratio_iqr:.2f})"),
        f"{told.latency_total_cpu_ratio:.2f}",
        f"{told.latency_total_ratio:.2f} ({told.latency_total_ratio_iqr:.2f})",
        f"{told.latency_control_cpu_ratio:.2f}, {told.latency_total_control_cpu_ratio:.2f}",
        f"{told.latency_control_ratio:.2f}, {told.latency_total_control_ratio:.2f}{' noisy' if told.noisy else ''}",
        f"{told.latency_cpu_ms:.2f}",
    )
    return " | ".join(cells)


def flips(first: dict[str, float], second: dict[str, float], least: float = 0.05) -> list[str]:
    """Pairs of methods whose order is another in ``second``, by more than ``least`` of the teacher's time in both."""
    found = []
    for one, other in combinations(first.keys() & second.keys(), 2):
        before, after = first[one] - first[other], second[one] - second[other]
        if before * after < 0 and min(abs(before), abs(after)) > least:
            faster, slower = (one, other) if after < 0 else (other, one)
            found.append(f"`{faster}` before `{slower}`")
    return sorted(found)


def main() -> None:
    """Print a table for every runtime, eager first, and whose order is another than there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one attempt")
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher, data = fb.load_teacher(), load_kicad()
    clouds = evaluation_clouds(data, teacher.config.points)
    students = {text: fb.make_student(text, teacher) for text in split_selectors(given.methods)}
    cpu: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("eager", *split_selectors(given.runtime)):
            plain = runtime_of(name)
            runtime = plain if name == "eager" else Weighed(plain)
            sys.stdout.write(f"\n{name} {runtime.version()}\n\n| method | {' | '.join(COLUMNS)} |\n")
            sys.stdout.write(f"|{'---|' * (len(COLUMNS) + 1)}\n")
            for text, student in students.items():
                try:
                    made = len(runtime.bytes) if isinstance(runtime, Weighed) else 0
                    found = measure_latency(
                        *(student, teacher, clouds),
                        runtime=runtime,
                        seconds=given.seconds,
                        cache=Path(scratch),
                    )
                except UserError as reason:
                    sys.stdout.write(f"| `{text}` | {reason} |\n")
                    continue
                told = figures(found.encode, found.total)
                cpu.setdefault(name, {})[text] = told.latency_cpu_ratio or float("nan")
                size = runtime.bytes[made] if isinstance(runtime, Weighed) else bytes_on_disk(student)
                close = f"{found.difference:.1e} | {size / 1e6:.1f}"
                sys.stdout.write(f"| `{text}` | {line(told)} | {close} |\n")
                sys.stdout.flush()
    for name, ratios in cpu.items():
        if name != "eager":
            changed = flips(cpu["eager"], ratios)
            sys.stdout.write(f"\n{name}, otherwise than eager: {'; '.join(changed) or 'no order changes'}\n")


if __name__ == "__main__":
    main()
