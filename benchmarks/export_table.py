"""Which methods export to ONNX, how close ONNX Runtime is to PyTorch, and what eight bits leave, as a Markdown table.

python benchmarks/export_table.py                     every built-in method as it is made, untrained, of the shipped teacher
python benchmarks/export_table.py 'tome[r=16]' foundry

Differences are the largest of any number on the eight golden clouds. R2 is of the eight-bit graph's tokens, of all eight clouds
at once where it takes any number, against the float student's. Students are untrained: training moves weights, not what is in
a graph.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import foundry_bench as fb
from foundry_bench import registry
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports import Session, quantize, to_onnx
from foundry_bench.exports.golden import Golden, golden_of
from foundry_bench.exports.parity import LEAST_R2, parity

COLUMNS = ("exports", "clouds at a time", "largest difference", "MB", "int8 MB", "int8 R2", "CPU s")


def row(student: Encoder, golden: Golden, folder: Path) -> list[str]:
    """The cells of one student; where it is refused, the reason stands in the first."""
    start = time.process_time()
    try:
        made = to_onnx(student, folder / "float.onnx", golden=golden)
    except UserError as error:
        return [f"no: {error}", *[""] * len(COLUMNS[2:]), f"{time.process_time() - start:.0f}"]
    spent = time.process_time() - start
    quantize(folder / "float.onnx", folder / "int8.onnx")
    small = parity(Session(folder / "int8.onnx").run(**golden.inputs), golden.outputs)
    sizes = [f"{(folder / name).stat().st_size / 1e6:.1f}" for name in ("float.onnx", "int8.onnx")]
    r2 = f"{small.r2:.4f}" + ("" if small.r2 >= LEAST_R2 else " (refused)")
    many = "any" if made.form.batch is None else str(made.form.batch)
    kind = "yes" if made.form.name == "plain" else f"yes, {made.form.name}"
    return [kind, many, f"{made.parity.difference:.1e}", *sizes, r2, f"{spent:.0f}"]


def main() -> None:
    """Print a row for each selector on the command line, or for each built-in method."""
    methods = registry.entries("methods").items()
    own = [name for name, entry in methods if registry.distribution(entry) == registry.OWN]
    teacher, data = fb.load_teacher("small"), registry.load("datasets", "kicad")()
    sys.stdout.write(f"| student | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}\n")
    for name in sys.argv[1:] or own:
        student = fb.make_student(name, teacher)
        with tempfile.TemporaryDirectory() as folder:
            cells = row(student, golden_of(student, data), Path(folder))
        sys.stdout.write(f"| `{name}` | {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
