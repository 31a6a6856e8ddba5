"""How much of the few-shot score the teacher owes to context: its tokens before any block and after each of some.

python benchmarks/teacher_by_depth.py
"""

from __future__ import annotations

import sys

import torch

from foundry_bench import registry
from foundry_bench.context import Context
from foundry_bench.encoder import Embedding, TokenEncoder, Tokens
from foundry_bench.teachers import load_teacher
from foundry_bench.teachers.transformer import PointTransformer, run_blocks


class Cut(TokenEncoder):
    """The teacher's tokens after ``blocks`` blocks, followed by its norm; at 0 blocks T, or T + position."""

    def __init__(self, teacher: PointTransformer, blocks: int, position: bool = True) -> None:
        super().__init__()
        self.config, self.tokenizer, self.teacher = teacher.config, teacher.tokenizer, teacher
        self.blocks, self.position = blocks, position

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        pos = self.teacher.positional_encoding(embedding.centers)
        if self.blocks == 0:
            return Tokens(embedding.tokens + pos if self.position else embedding.tokens)
        x, _ = run_blocks(self.teacher.blocks[: self.blocks], embedding.tokens, pos)
        return Tokens(self.teacher.norm(x))


def main() -> None:
    """Print few-shot accuracy on both data sets by depth."""
    torch.set_num_threads(1)
    teacher = load_teacher("small")
    assert isinstance(teacher, PointTransformer)
    task = registry.load("tasks", "fewshot")()
    data = {name: registry.load("datasets", name)() for name in task.datasets}
    sys.stdout.write(f"| tokens | {' | '.join(data)} |\n|{'---|' * (1 + len(data))}\n")
    cuts = {"T": Cut(teacher, 0, position=False), "T + position": Cut(teacher, 0)}
    cuts |= {f"after {k} of {len(teacher.blocks)} blocks": Cut(teacher, k) for k in (1, 2, 4, 8)}
    for name, cut in cuts.items():
        scores = [task.evaluate(cut.eval(), found, Context()).values[0] for found in data.values()]
        texts = [f"{100 * s.value:.1f} ± {100 * (s.ci_high - s.value):.1f}" for s in scores]
        sys.stdout.write(f"| {name} | {' | '.join(texts)} |\n")


if __name__ == "__main__":
    main()
