"""Our 3DLST: soft supertokens, trained by labels alone."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.three_dlst import ThreeDLST
from foundry_bench.selectors import expand, parse_selector
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

ZERO = None  # a mixture of supertokens never is the token itself


def closed_form(method: ThreeDLST, config: EncoderConfig, trains: bool) -> int:
    """As Foundry's."""
    s, dim, patches = method.supertokens, config.dim, config.groups
    total = form.tokenizer(config) + (s + 2 * patches) * dim**2 + 4 * patches * s * dim
    return total + form.position(config) + config.depth * form.block(config, s) + form.cau(config)


def test_the_published_training_ignores_the_teacher() -> None:
    student, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    method = ThreeDLST()
    losses = [method.expert_loss(student, torch.randn(4, 3), labels) for _ in range(2)]
    assert torch.equal(*losses)
    assert torch.allclose(losses[0], torch.nn.functional.cross_entropy(student, labels))


def test_before_training_it_is_foundry_in_its_default_form(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    ours = make_student(ThreeDLST(supertokens=2), tiny_teacher, clouds, Context(variant="expert"))
    foundry = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context())
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:3, :256]))
    with torch.no_grad():
        assert torch.equal(ours(patches).features, foundry(patches).features)


@pytest.mark.parametrize("variant", ["fmd", "off-the-shelf"])
def test_what_would_be_foundry_under_another_name_is_refused(variant: str) -> None:
    with pytest.raises(UserError, match=f"3dlst has no variant {variant}; it has expert, as in 3dlst.expert"):
        expand(parse_selector(f"3dlst[supertokens=4]+{variant}"))


def test_no_supertoken_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be in .1, 1024."):
        ThreeDLST(supertokens=0)
