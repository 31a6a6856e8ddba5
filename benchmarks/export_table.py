"""Which methods export to ONNX, how close ONNX Runtime is to PyTorch, what eight bits leave, what students cost there, and
whose ranks change against PyTorch, as a Markdown table.

OMP_NUM_THREADS=1 python benchmarks/export_table.py            every built-in method, untrained, of the shipped teacher
OMP_NUM_THREADS=1 python benchmarks/export_table.py 'tome[r=16]' foundry --seconds 4

Differences are the largest of any number on the eight golden clouds. R2 is of the eight-bit graph's tokens, of all eight clouds
at once where it takes any number, against the float student's. Times are CPU times as shares of the teacher's, one cloud, one
thread, in turns, with the clouds' grouping and without it; the control is a second copy of the teacher. Students are untrained:
training moves weights, not what is in a graph.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from runtimes import flips
from torch import Tensor

import foundry_bench as fb
from foundry_bench import registry
from foundry_bench.cost import measure_latency
from foundry_bench.cost.latency import Latency
from foundry_bench.cost.report import evaluation_clouds
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports import QuantizedEncoder, Session, quantize, to_onnx
from foundry_bench.exports.golden import Golden, golden_of
from foundry_bench.exports.parity import LEAST_R2, parity
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.runtimes.onnxruntime import MODEL, OnnxRuntime

COLUMNS = (
    *("exports", "clouds at a time", "largest difference", "MB", "int8 MB", "int8 R2"),
    *("PyTorch", "with grouping", "ONNX Runtime", "with grouping", "control"),
)


class Ready(OnnxRuntime):
    """ONNX Runtime with one student's graph, which was exported before."""

    def __init__(self, student: Encoder, graph: Path) -> None:
        self.student, self.graph = student, graph

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        if encoder is not self.student:
            return super().prepare(encoder, example, folder, threads)
        shutil.copyfile(self.graph, folder / MODEL)
        return self.again(encoder, example, folder, threads)


@dataclass
class Table:
    """A row for each student, and the CPU ratios of all in both runtimes."""

    teacher: Encoder
    clouds: Tensor
    seconds: float
    cache: Path

    def __post_init__(self) -> None:
        self.ratios: dict[str, dict[str, float]] = {"PyTorch": {}, "ONNX Runtime": {}}

    def row(self, name: str, student: Encoder, golden: Golden, folder: Path) -> list[str]:
        """The cells of one student; where it is refused, the reason stands in the first."""
        graph = folder / "float.onnx"
        try:
            made = to_onnx(student, graph, golden=golden)
        except UserError as error:
            eager, _ = self.timed(name, student, None)
            return [f"no: {error}", *[""] * 5, *eager, "", "", ""]
        quantize(graph, folder / "int8.onnx")
        small = parity(Session(folder / "int8.onnx").run(**golden.inputs), golden.outputs)
        sizes = [f"{(folder / file).stat().st_size / 1e6:.1f}" for file in ("float.onnx", "int8.onnx")]
        r2 = f"{small.r2:.3f}" + ("" if small.r2 >= LEAST_R2 else ", refused")
        many = "any" if made.form.batch is None else str(made.form.batch)
        kind = "yes" if made.form.name == "plain" else f"yes, {made.form.name}"
        if isinstance(student, QuantizedEncoder):
            graph.write_bytes(student.content)
        eager, first = self.timed(name, student, None)
        there, second = self.timed(name, student, Ready(student, graph))
        close = f"{made.parity.difference:.1e}"
        return [kind, many, close, *sizes, r2, *eager, *there, f"{first}, {second}"]

    def timed(self, name: str, student: Encoder, runtime: Runtime | None) -> tuple[list[str], str]:
        """CPU time of a student without and with grouping, as shares of the teacher's, and the control."""
        given = {"runtime": runtime, "seconds": self.seconds, "cache": self.cache}
        found: Latency = measure_latency(student, self.teacher, self.clouds, **given)  # type: ignore[arg-type]
        turns = (found.encode, found.total)
        ratios = [turn.ratio.cpu for turn in turns if turn.ratio is not None and turn.ratio.cpu is not None]
        self.ratios["PyTorch" if runtime is None else "ONNX Runtime"][name] = ratios[0]
        return [f"{ratio:.2f}" for ratio in ratios], f"{found.encode.control.cpu or float('nan'):.2f}"


def main() -> None:
    """Print a row for each selector on the command line, or for each built-in method, and whose ranks change."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("students", nargs="*", help="selectors")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one attempt to time one student")
    given = parser.parse_args()
    torch.set_num_threads(1)
    methods = registry.entries("methods").items()
    own = [name for name, entry in methods if registry.distribution(entry) == registry.OWN]
    teacher, data = fb.load_teacher("small"), registry.load("datasets", "kicad")()
    sys.stdout.write(f"| student | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}\n")
    with tempfile.TemporaryDirectory() as scratch:
        table = Table(
            teacher, evaluation_clouds(data, teacher.config.points), given.seconds, Path(scratch) / "cache"
        )
        for number, name in enumerate(given.students or own):
            student = fb.make_student(name, teacher)
            folder = Path(scratch) / str(number)
            folder.mkdir()
            cells = table.row(name, student, golden_of(student, data), folder)
            sys.stdout.write(f"| `{name}` | {' | '.join(cells)} |\n")
            sys.stdout.flush()
    changed = flips(table.ratios["PyTorch"], table.ratios["ONNX Runtime"])
    sys.stdout.write(
        f"\nIn ONNX Runtime otherwise than in PyTorch: {'; '.join(changed) or 'no order changes'}\n"
    )


if __name__ == "__main__":
    main()
