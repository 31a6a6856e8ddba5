"""How a cloud's tokens are spread over Foundry's SuperTokens: the two forms, with a load-balancing loss, and slots.

python benchmarks/codebook.py --teacher small --budget quick

For students distilled on the unlabelled set: held-out R2 of the teacher's tokens, and over the held-out objects the SuperTokens
of a cloud that have a token, fewest and on average, and the largest share of its tokens that one has. A token counts for the
SuperToken it gives most to, so that soft and hard assignments are compared.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from foundry_bench import registry, selectors
from foundry_bench.context import Context
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.encoder import TokenEncoder
from foundry_bench.students.files import make_student
from foundry_bench.teachers import load_teacher
from foundry_bench.training.budget import BUDGETS
from foundry_bench.training.distillation import distill
from foundry_bench.training.token_cache import held_out

ROWS = (
    "foundry[published=true]",
    "foundry[published=true,balance=0.01]",
    "foundry[published=true,balance=0.1]",
    "foundry",
    "foundry[balance=0.01]",
    "foundry[balance=0.1]",
    "foundry[assignment=slots]",
)
BATCH = 64


@dataclass(frozen=True)
class Usage:
    """Of each cloud (B,): ``non_empty`` SuperTokens, and the ``largest`` share of its tokens that one of them has."""

    non_empty: Tensor
    largest: Tensor


def usage(assignment: Tensor) -> Usage:
    """What an assignment (B, T, s) uses, each token counted for the SuperToken that it gives most to."""
    counts = torch.zeros_like(assignment[:, 0])
    picked = assignment.argmax(dim=-1)
    counts.scatter_add_(1, picked, torch.ones_like(picked, dtype=counts.dtype))
    return Usage((counts > 0).sum(dim=1), counts.amax(dim=1) / assignment.shape[1])


@torch.no_grad()
def assignments(student: TokenEncoder, data: PointCloudDataset) -> Tensor:
    """How ``student`` assigns the tokens of the clouds that no student is trained on, (B, T, s)."""
    points = torch.from_numpy(data.points[held_out(data), : student.config.points].astype(np.float32))
    return torch.cat(
        [student(student.tokenize(batch)).aux["assignment"].cpu() for batch in points.split(BATCH)]
    )


def row(selector: str, teacher: TokenEncoder, data: PointCloudDataset, ctx: Context) -> str:
    """One line of the table."""
    ((method, _),) = selectors.expand(selectors.parse_selector(selector), grid=None)
    student = make_student(method, teacher, data, ctx)
    found = distill(student, teacher, data, method=method, ctx=ctx, budget=ctx.budget)
    used = usage(assignments(student, data))
    mean, fewest, largest = used.non_empty.float().mean(), int(used.non_empty.min()), used.largest.mean()
    return f"| `{selector}` | {found.r2:.3f} | {found.r2_within:.3f} | {mean:.1f} | {fewest} | {100 * largest:.0f} % |\n"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", default="small", help="name or file")
    parser.add_argument("--budget", default="quick", choices=BUDGETS)
    parser.add_argument("--data", default="pretrain", help="unlabelled data set to distil on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    teacher, data = load_teacher(arguments.teacher), registry.load("datasets", arguments.data)()
    sys.stdout.write(
        "| method | R2 | within clouds | SuperTokens with a token | fewest | largest share |\n"
        "|---|---|---|---|---|---|\n"
    )
    with TemporaryDirectory() as cache:
        ctx = Context(seed=arguments.seed, budget=arguments.budget, cache=Path(cache))
        for selector in ROWS:
            sys.stdout.write(row(selector, teacher, data, ctx))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
