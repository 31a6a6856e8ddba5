"""Our 3DLST: soft supertokens, trained by labels alone."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.three_dlst import ThreeDLST
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

ZERO = None  # a mixture of supertokens never is the token itself


def closed_form(method: ThreeDLST, config: EncoderConfig, trains: bool) -> int:
    """As Foundry's; off the shelf without the reconstruction and the positions it would read."""
    s, dim, patches = method.supertokens, config.dim, config.groups
    total = form.tokenizer(config) + (s + 2 * patches) * dim**2 + 4 * patches * s * dim
    total += form.position(config) + config.depth * form.block(config, s)
    return total + (form.cau(config) if trains else 0)


def test_the_published_training_ignores_the_teacher() -> None:
    student, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    method = ThreeDLST()
    losses = [method.expert_loss(student, torch.randn(4, 3), labels) for _ in range(2)]
    assert torch.equal(*losses)
    assert torch.allclose(losses[0], torch.nn.functional.cross_entropy(student, labels))


def test_off_the_shelf_patches_are_mixtures_of_the_supertokens(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(ThreeDLST(supertokens=2), tiny_teacher, clouds, Context(variant="off-the-shelf"))
    with torch.no_grad():
        tokens = student(tiny_teacher.tokenize(torch.from_numpy(clouds.points[:3, :256])))
    assert int(torch.linalg.matrix_rank(tokens.features[0], tol=1e-4)) <= 2
    share = tokens.aux["assignment"]
    assert torch.allclose(share.sum(dim=-1), torch.ones(3, 16), atol=1e-6)
    assert float(share.max(dim=-1).values.mean()) > 0.7


def test_no_supertoken_is_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        ThreeDLST(supertokens=0)
