"""The teacher's architecture agrees with the official one, and its factored tokenizer with the plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers.tokenizer import PointNetTokenizer
from foundry_bench.teachers.transformer import PointTransformer

GOLDEN = Path(__file__).parents[1] / "golden"


def reference_model() -> PointTransformer:
    """The reference Point-JEPA student; its first convolutions have no bias."""
    state = {}
    for key, value in load_file(GOLDEN / "point_jepa_student.safetensors").items():
        name = key.replace("tokenizer.embedding.encoder.", "tokenizer.").removeprefix("student.")
        state[name] = value.squeeze(-1) if value.dim() == 3 else value
    model = PointTransformer(EncoderConfig(dim=48, depth=3, heads=4, groups=16, group_size=8, points=256))
    for layer in (model.tokenizer.first_conv[0], model.tokenizer.second_conv[0]):
        torch.nn.init.zeros_(layer.bias)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) == {"tokenizer.first_conv.0.bias", "tokenizer.second_conv.0.bias"}
    assert not unexpected
    return model.eval()


def test_agrees_with_official_point_jepa() -> None:
    golden = np.load(GOLDEN / "point_jepa.npz")
    model = reference_model()
    with torch.inference_mode():
        patches = model.tokenize(torch.from_numpy(golden["points"]))
        embedding = model.embed(patches)
        tokens = model.encode(embedding, levels=True)
    np.testing.assert_allclose(patches.centers, golden["centers"], atol=0)
    np.testing.assert_allclose(embedding.tokens, golden["tokens"], atol=1e-5)
    np.testing.assert_allclose(tokens.features, golden["student"], atol=1e-5)
    for level, block in zip(tokens.levels, model.config.level_blocks, strict=True):
        np.testing.assert_allclose(level, golden["student_hidden"][block], atol=1e-5)


def plain_forward(tokenizer: PointNetTokenizer, neighborhoods: torch.Tensor) -> torch.Tensor:
    """The PointNet as published: concatenate [global | local] for every point."""
    batch, groups, size, _ = neighborhoods.shape
    local = tokenizer.first_conv(neighborhoods.reshape(-1, 3)).reshape(batch * groups, size, -1)
    joined = torch.cat([local.amax(dim=1, keepdim=True).expand_as(local), local], dim=-1)
    out = tokenizer.second_conv(joined.flatten(0, 1))
    return out.reshape(batch, groups, size, -1).amax(dim=2)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_factored_tokenizer_equals_the_plain_one(mode: str) -> None:
    torch.manual_seed(0)
    tokenizer = PointNetTokenizer((128, 256, 512), 384).train(mode == "train")
    neighborhoods = torch.randn(2, 64, 32, 3) * 0.2
    with torch.no_grad():
        assert torch.allclose(tokenizer(neighborhoods), plain_forward(tokenizer, neighborhoods), atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "blocks"), [(12, (3, 7, 11)), (3, (0, 1, 2)), (8, (2, 4, 7)), (1, (0, 0, 0))]
)
def test_levels_are_at_a_third_two_thirds_and_the_end(depth: int, blocks: tuple[int, int, int]) -> None:
    assert EncoderConfig(depth=depth).level_blocks == blocks


def test_position_enters_before_every_block(tiny_teacher: PointTransformer) -> None:
    seen = []
    for block in tiny_teacher.blocks:
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        block.register_forward_hook(lambda *args: seen.append(args[2]))
    patches = tiny_teacher.tokenize(torch.rand(1, 64, 3))
    with torch.no_grad():
        tiny_teacher(patches)
        position = tiny_teacher.positional_encoding(patches.centers)
    for out, entering in zip(seen[1::2], seen[2::2], strict=False):
        assert torch.allclose(entering, out + position)
