"""How good are a teacher's frozen features, and what do its blocks add? A table for each data set, over its series-wise splits.

    python benchmarks/teacher_probe.py [--data kicad,bricks] [--upright] [TEACHER...]

SVM on mean + max features: random initialisation, voxels, rotation-invariant histograms, and of every teacher its own tokens
beside their positional encodings without any block, then its tokens after some of its blocks and after all. Clouds are turned
at random about the up axis, as all tasks turn them, or left ``--upright``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import torch
from teacher_by_depth import Cut

from foundry_bench import registry
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, TokenEncoder, Tokens
from foundry_bench.heads.classical import classical_features
from foundry_bench.heads.features import embed_clouds, turned
from foundry_bench.heads.probe import probe
from foundry_bench.teachers import PointTransformer, load_teacher


class Beside(TokenEncoder):
    """Each patch's token beside its positional encoding, (B, T, 2D), without any block."""

    def __init__(self, teacher: PointTransformer) -> None:
        super().__init__()
        self.config, self.tokenizer, self.teacher = teacher.config, teacher.tokenizer, teacher

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        positions = self.teacher.positional_encoding(embedding.centers)
        return Tokens(torch.cat([embedding.tokens, positions], dim=-1))


def descriptors(names: list[str], data: PointCloudDataset, upright: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Row of the table and features (N, F) of the clouds, those of the first teacher's architecture at random first."""
    teachers = {name: load_teacher(name).eval() for name in names}
    config = teachers[names[0]].config
    points = data.points[:, : config.points]
    clouds = points if upright else turned(points, data.paths)
    torch.manual_seed(0)
    yield "random initialisation", embed_clouds(PointTransformer(config), clouds)
    yield "voxels + D2", classical_features(clouds, "voxels")
    yield "rotation-invariant histograms", classical_features(clouds, "histograms")
    for name, teacher in teachers.items():
        yield f"`{name}`, tokens and positions, no block", embed_clouds(Beside(teacher).eval(), clouds)
        depth = len(teacher.blocks)
        for blocks in sorted({depth // 4, depth // 2, 3 * depth // 4, depth}):
            yield f"`{name}`, {blocks} of {depth} blocks", embed_clouds(Cut(teacher, blocks).eval(), clouds)


def main() -> None:
    """Print a table in Markdown for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teachers", nargs="*", default=["small"], metavar="TEACHER", help="names or files")
    parser.add_argument("--data", default="kicad", help="labelled data sets with splits, by comma")
    parser.add_argument("--upright", action="store_true", help="leave the clouds in the pose of the data set")
    options = parser.parse_args()
    for name in options.data.split(","):
        data = registry.load("datasets", name)()
        columns = [*(f"linear {split}" for split in data.splits), "linear", "RBF"]
        pose = "upright" if options.upright else "turned about up"
        sys.stdout.write(f"\n{name}, {len(data.classes)} classes, {pose}, accuracy in %\n\n")
        sys.stdout.write(f"| features | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n")
        for row, features in descriptors(options.teachers, data, options.upright):
            linear, rbf = (probe(features, data, kind=kind) for kind in ("linear", "rbf"))
            scores = " | ".join(f"{100 * score:.1f}" for score in (*linear.values(), rbf["mean"]))
            sys.stdout.write(f"| {row} | {scores} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
