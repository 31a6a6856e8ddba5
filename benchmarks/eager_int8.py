"""Eight bits in PyTorch itself by torchao, beside the float encoder: what is left of its tokens, and what a cloud costs.

CPU times of one cloud, patches in and tokens out, as shares of the float encoder's, in turns on one thread; the control is a
second copy of the float encoder. Needs torchao, which nothing else here does.

pip install torchao && OMP_NUM_THREADS=1 python benchmarks/eager_int8.py teacher 'lowrank[keep=0.36]'
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable

import torch
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    quantize_,
)

import foundry_bench as fb
from foundry_bench.cost.report import evaluation_clouds
from foundry_bench.datasets import load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.exports.parity import parity
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes.turns import in_turns

FORMS = {
    "weights and activations": Int8DynamicActivationInt8WeightConfig,
    "weights": Int8WeightOnlyConfig,
}


def runs(encoder: Encoder, patches: list[Patches]) -> Callable[[int], None]:
    """A cloud at a time through ``encoder``."""

    def run(number: int) -> None:
        encoder(patches[number % len(patches)])

    return run


@torch.no_grad()
def main() -> None:
    """Print a row for each student and form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("students", nargs="*", default=["teacher"], help="selectors")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one attempt to time one student")
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher = fb.load_teacher()
    clouds = evaluation_clouds(load_kicad(), teacher.config.points)
    sys.stdout.write(
        "| student | in eight bits | R2 | CPU time of float | control |\n|---|---|---|---|---|\n"
    )
    for name in given.students:
        student = fb.make_student(name, teacher).eval()
        patches = [student.tokenize(cloud[None]) for cloud in clouds]
        whole = student.tokenize(clouds)
        for form, config in FORMS.items():
            small = copy.deepcopy(student)
            quantize_(small, config())
            found = parity(
                {"tokens": small(whole).features.numpy()}, {"tokens": student(whole).features.numpy()}
            )
            turns = in_turns(
                *(runs(small, patches), runs(student, patches), runs(copy.deepcopy(student), patches)),
                seconds=given.seconds,
            )
            ratio = turns.ratio.cpu if turns.ratio is not None else None
            sys.stdout.write(
                f"| `{name}` | {form} | {found.r2:.4f} | {ratio:.2f} | {turns.control.cpu:.2f} |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
