"""PiToMe agrees with the official implementation; its traps are closed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import closed_form as form
import numpy as np
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.pitome import PiToMe, energy, layer_margin, merged_count, pitome_match, protects
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import Attended, Stream, merge, take
from foundry_bench.teachers.transformer import PointTransformer

OFF = Context(variant="off-the-shelf")
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "pitome.npz")


@pytest.mark.parametrize(
    ("case", "margin", "protect"),
    [
        ("margin0.75_bsm", 0.75, False),
        ("margin0.45_protected", 0.45, True),
        ("margin0.1_protected", 0.1, True),
    ],
)
def test_agrees_with_official_pitome(case: str, margin: float, protect: bool) -> None:
    x, metric = (torch.from_numpy(GOLDEN[f"{case}_{k}"]) for k in ("x", "metric"))
    index, count = pitome_match(metric, merged_count(x.shape[1], 0.8), margin, protect)
    merged = merge(Stream.of(x, x), index, count)
    np.testing.assert_allclose(merged.x, GOLDEN[f"{case}_merged"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(merged.size, GOLDEN[f"{case}_merged_size"])


def test_energy_is_the_mean_elu_with_the_token_itself() -> None:
    similarity = torch.tensor([[1.0, 0.9, -0.5], [0.9, 1.0, 0.1], [-0.5, 0.1, 1.0]])
    first = (0.6 + 0.5 + math.expm1(-0.9)) / 3
    assert energy(similarity[None], 0.4)[0, 0].item() == pytest.approx(first, abs=1e-6)


def test_margin_falls_with_depth_and_the_later_half_protects() -> None:
    assert [layer_margin(layer, 4) for layer in range(4)] == [0.75, 0.5625, 0.375, 0.1875]
    assert [protects(layer, 4) for layer in range(4)] == [False, False, True, True]
    assert [protects(layer, 5) for layer in range(5)] == [False, False, False, True, True]


def test_ratio_is_the_fraction_kept() -> None:
    assert [merged_count(64, ratio) for ratio in (0.5, 0.8, 0.9, 1.0)] == [32, 12, 6, 0]
    assert merged_count(1, 0.5) == 0


def test_isolated_tokens_are_protected() -> None:
    """Six near copies of one token have the highest energy; the four others come first, as they are."""
    torch.manual_seed(0)
    unlike = torch.eye(10)[:4]
    alike = torch.eye(10)[9] + 0.01 * torch.rand(6, 10)
    metric = torch.cat([alike[:3], unlike, alike[3:]])[None]
    merged = merge(Stream.of(metric, metric), *pitome_match(metric, 3, 0.2, protect=True))
    assert sorted(merged.x[0, :4].argmax(-1).tolist()) == [0, 1, 2, 3]
    assert torch.equal(merged.size[0, :4, 0], torch.ones(4))
    assert merged.size[0, 4:].sum() == 6


def test_every_a_token_merges_however_unlike_when_others_are_protected() -> None:
    """The protected version picks tokens by energy, not by their best similarity as the other one does."""
    metric = torch.from_numpy(GOLDEN["margin0.1_protected_metric"])
    indices = [pitome_match(metric, 12, 0.1, protect)[0] for protect in (False, True)]
    assert not torch.equal(*indices)


@pytest.mark.parametrize("protect", [False, True])
@pytest.mark.parametrize("count", range(1, 8))
def test_any_number_of_tokens_and_any_r_give_rows_that_are_all_filled(count: int, protect: bool) -> None:
    metric = torch.randn(3, count, 4)
    for r in (0, 1, 2, 99):
        index, rows = pitome_match(metric, r, 0.3, protect)
        assert rows == count - min(r, count // 2)
        for cloud in index:
            assert cloud.unique().tolist() == list(range(rows))


def test_ties_of_energy_keep_the_order_of_the_tokens() -> None:
    index, count = pitome_match(torch.ones(2, 6, 4), 2, 0.5, protect=True)
    assert count == 4
    assert index[:, 4:].tolist() == [[0, 1]] * 2


def test_identical_pairs_are_merged_and_read_back_without_loss() -> None:
    x = torch.randn(2, 6, 5).repeat_interleave(2, dim=1)
    for protect in (False, True):
        merged = merge(Stream.of(x, x), *pitome_match(x, 6, 0.3, protect))
        assert torch.allclose(take(merged.x, merged.source), x, atol=1e-6)


def test_blocks_use_their_layers_margin_and_version(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(PiToMe(), tiny_teacher, clouds, OFF)
    x, keys = (torch.from_numpy(GOLDEN[f"margin0.1_protected_{k}"]) for k in ("x", "metric"))
    for layer, (margin, protect) in enumerate([(0.75, False), (0.5, False), (0.25, True)]):
        reduced = student.reduce(layer, Stream.of(x, x), Attended(x, keys), 0.8)
        expected = merge(Stream.of(x, x), *pitome_match(keys, 12, margin, protect))
        other = merge(Stream.of(x, x), *pitome_match(keys, 12, margin, not protect))
        assert torch.equal(reduced.x, expected.x)
        assert not torch.equal(expected.x, other.x)


def test_positions_are_merged_with_their_tokens(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Every patch twice: twins have the same energy and merge in the first block, and with proportional attention the next
    block then computes what it computes without twins, which it would not if positions were left behind."""
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    twins = Patches(patches.neighborhoods.repeat_interleave(2, 1), patches.centers.repeat_interleave(2, 1))
    student = make_student(PiToMe(ratio=0.5, proportional=True), tiny_teacher, clouds, OFF)
    tiny_teacher.blocks = tiny_teacher.blocks[:2]
    with torch.no_grad():
        stream, base = student.begin(student.embed(twins), student.positional_encoding(twins.centers))
        stream = student.step(0, student.blocks[0], stream)
        assert torch.equal(stream.size, torch.full((2, 16, 1), 2.0))
        stream = student.step(1, student.blocks[1], replace(stream, strength=1.0))
        merged = student.restore(stream, base, final=True)[:, ::2]
        assert torch.allclose(merged, tiny_teacher(patches).features, atol=1e-5)


def test_size_counts_the_patches_of_a_row(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    student = make_student(PiToMe(ratio=0.7), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        aux = student(tiny_teacher.tokenize(torch.from_numpy(clouds.points[:3, :256]))).aux
    assert aux["size"].shape == (3, 7)  # 16 -> 12 -> 9 -> 7
    for size, source in zip(aux["size"], aux["source"], strict=True):
        assert torch.equal(size, source.bincount(minlength=7).float())


def test_proportional_attention_is_off_as_in_the_official_code_and_works_when_on(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    outs = []
    for method in (PiToMe(), PiToMe(proportional=False), PiToMe(proportional=True)):
        student = make_student(method, tiny_teacher, clouds, OFF)
        with torch.no_grad():
            outs.append(student(patches).features)
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2], atol=1e-5)


def test_ratio_is_read_at_inference_and_one_costs_nothing(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:1, :256]))
    student = make_student(PiToMe(ratio=1.0), tiny_teacher, clouds, OFF)
    assert count_macs(student, patches).total == count_macs(tiny_teacher, patches).total
    with torch.no_grad():
        plain = student(patches).features
        PiToMe(ratio=0.5).configure(student)
        assert not torch.allclose(student(patches).features, plain, atol=1e-4)


def test_training_draws_the_ratio_and_survives_bfloat16(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(PiToMe(ratio=1.0, trained_ratio=(0.5, 0.8)), tiny_teacher, clouds).train()
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    rows = set()
    for _ in range(12):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens = student(patches)
        tokens.features.float().square().mean().backward()
        rows.add(tokens.aux["size"].shape[1])
    assert rows == {2, 9}  # 16 -> 8 -> 4 -> 2 and 16 -> 13 -> 11 -> 9
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize(
    "values", [{"ratio": 0.49}, {"ratio": 1.1}, {"trained_ratio": (0.4,)}, {"trained_ratio": ()}]
)
def test_impossible_ratios_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ratio"):
        PiToMe(**values)


ZERO = PiToMe(ratio=1.0)


def closed_form(method: PiToMe, config: EncoderConfig, trains: bool) -> int:
    """Attention on the tokens that enter a block, MLP on those left; cosine similarities of all tokens with all."""
    total = form.outside_of_blocks(config, trains and method.upsample)
    tokens, width = config.groups, config.dim // config.heads
    for _ in range(config.depth):
        total += form.attention(config, tokens)
        gone = int(tokens - tokens * method.ratio)
        if gone:
            total += tokens**2 * width
        tokens -= gone
        total += form.mlp(config, tokens)
    return total
