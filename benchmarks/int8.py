"""Which eight bits are faster: four ways to run one student, in turns, on one thread, a cloud at a time.

python benchmarks/int8.py                     the shipped teacher
python benchmarks/int8.py 'foundry[supertokens=16]' --rounds 200

Its float layers and those of the method ``int8`` in PyTorch; its graph and the same quantised in ONNX Runtime. CPU time of the
process, median and quartiles, as a share of PyTorch's float; R2 of the tokens against the float student's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import foundry_bench as fb
from foundry_bench import registry
from foundry_bench.context import Context
from foundry_bench.encoder import Encoder
from foundry_bench.exports import Session, quantize, to_onnx
from foundry_bench.exports.golden import Golden, golden_of
from foundry_bench.exports.parity import r2
from foundry_bench.methods.int8 import Int8
from foundry_bench.points.patches import Patches
from foundry_bench.variants import OFF_THE_SHELF

Way = Callable[[np.ndarray, np.ndarray], np.ndarray]


def in_torch(encoder: Encoder) -> Way:
    """The tokens of an encoder in PyTorch, from centres and neighbourhoods."""

    def run(centers: np.ndarray, neighborhoods: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            patches = Patches(torch.from_numpy(neighborhoods), torch.from_numpy(centers))
            return encoder(patches).features.numpy()

    return run


def ways_of(student: Encoder, golden: Golden, folder: Path) -> dict[str, Way]:
    """Name -> how the student is run; the first is what the others are shares of."""
    clouds, ctx = registry.load("datasets", "pretrain")(), Context(variant=OFF_THE_SHELF)
    ways = {"PyTorch float": in_torch(student)}
    for activations in ("dynamic", "static"):
        small = Int8(activations).compress(student, clouds, ctx).eval()  # type: ignore[arg-type]
        ways[f"PyTorch int8, {activations}"] = in_torch(small)
    to_onnx(student, folder / "float.onnx", golden=golden)
    quantize(folder / "float.onnx", folder / "int8.onnx")
    sessions = {name: Session(folder / f"{name}.onnx") for name in ("float", "int8")}
    ways["ONNX Runtime float"] = lambda c, n: sessions["float"](c, n)[0]
    ways["ONNX Runtime int8, dynamic"] = lambda c, n: sessions["int8"](c, n)[0]
    return ways


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("student", nargs="?", default="teacher")
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    student = fb.make_student(given.student, fb.load_teacher("small"))
    golden = golden_of(student, registry.load("datasets", "kicad")())
    centers, neighborhoods = golden.inputs["centers"], golden.inputs["neighborhoods"]
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(student, golden, Path(folder))
        right = golden.outputs["tokens"]
        close = {
            name: r2(np.concatenate(_each(way, centers, neighborhoods)), right) for name, way in ways.items()
        }
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(given.rounds):
            i = turn % len(centers)
            for name, way in ways.items():
                start = time.process_time()
                way(centers[i : i + 1], neighborhoods[i : i + 1])
                spent[name].append(time.process_time() - start)
    base = np.array(spent["PyTorch float"])
    sys.stdout.write(
        f"{given.student}, {given.rounds} rounds\n\n| way | ms | of PyTorch float (quartiles) | R2 |\n|---|---|---|---|\n"
    )
    for name, seconds in spent.items():
        low, middle, high = np.quantile(np.array(seconds) / base, (0.25, 0.5, 0.75))
        ms = 1e3 * np.median(seconds)
        sys.stdout.write(
            f"| {name} | {ms:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {close[name]:.5f} |\n"
        )


def _each(way: Way, centers: np.ndarray, neighborhoods: np.ndarray) -> list[np.ndarray]:
    return [way(centers[i : i + 1], neighborhoods[i : i + 1]) for i in range(len(centers))]


if __name__ == "__main__":
    main()
