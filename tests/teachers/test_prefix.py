"""Rows in front of the patches: part of every block, of no reduction, and of every student of a teacher that has them."""

from __future__ import annotations

import copy
import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from foundry_bench import registry, selectors
from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import FMD, OFF_THE_SHELF, Method
from foundry_bench.methods.tome import ToMeStudent
from foundry_bench.points.patches import Patches
from foundry_bench.students.base import TokenStudent, require_transformer
from foundry_bench.students.files import make_student
from foundry_bench.students.reduction import ReducingStudent
from foundry_bench.students.tokens import Attended, Stream
from foundry_bench.teachers.prefix import Prefix
from foundry_bench.teachers.transformer import PointTransformer, run_blocks
from foundry_bench.testing import ConformanceError, check_method
from foundry_bench.variants import Family
from tests.conftest import TINY

NAMES = list(registry.entries("methods"))
KEEP_IT = ("evit", "fps", "kmeans", "pitome", "random-drop", "tofu", "tome")
OFF = Context(variant=OFF_THE_SHELF)


def of_size(prefix: int) -> PointTransformer:
    torch.manual_seed(0)
    return PointTransformer(replace(TINY, prefix=prefix)).eval().requires_grad_(False)


@pytest.fixture
def teacher() -> PointTransformer:
    """The tiny teacher with one row in front."""
    return of_size(1)


@pytest.fixture
def patches(teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    return teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))


def zero_compression(name: str, monkeypatch: pytest.MonkeyPatch) -> Method | None:
    """``ZERO`` of the method's own test module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "methods"))
    return importlib.import_module(f"test_{name.replace('-', '_')}").ZERO


@pytest.mark.parametrize("name", NAMES)
def test_zero_compression_is_the_teacher_with_its_prefix(
    name: str,
    teacher: PointTransformer,
    patches: Patches,
    clouds: PointCloudDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = zero_compression(name, monkeypatch)
    if method is None:
        pytest.skip(f"{name} has no setting without compression")
    student = make_student(method, teacher, clouds, OFF)
    with torch.no_grad():
        ours, theirs = student(patches, levels=True), teacher(patches, levels=True)
    assert torch.allclose(ours.features, theirs.features, atol=1e-5)
    for level, reference in zip(ours.levels, theirs.levels, strict=True):
        assert torch.allclose(level, reference, atol=1e-5)
    if "prefix" in ours.aux:
        assert torch.allclose(ours.aux["prefix"], theirs.aux["prefix"], atol=1e-5)


def sample_plugin() -> Any:
    """The module of the sample plugin, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(
        "keep_first", Path(__file__).parents[1] / "plugin" / "keep_first.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_sample_plugin_with_all_blocks_is_its_teacher(count: int, clouds: PointCloudDataset) -> None:
    teacher = of_size(count)
    patches = teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    student = make_student(sample_plugin().KeepFirst(blocks=TINY.depth), teacher, clouds, OFF)
    with torch.no_grad():
        assert torch.allclose(student(patches).features, teacher(patches).features, atol=1e-5)


class Looping(TokenStudent):
    """Runs the blocks in a loop of its own and so forgets the rows in front."""

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        x, pos = embedding.tokens, self.positional_encoding(embedding.centers)
        for block in self.blocks:
            x = block(x + pos)
        return Tokens(self.norm(x), (x,) * 3 if levels else ())


@dataclass(frozen=True)
class Loop(Method):
    """Makes a student that forgets the rows in front."""

    name: ClassVar[str] = "loop"
    family: ClassVar[Family] = "reference"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return Looping(require_transformer(teacher, self.name))


def test_the_kit_tells_who_forgets_the_rows_in_front(clouds: PointCloudDataset) -> None:
    with pytest.raises(ConformanceError, match=r"rows in front of the patches: .* self\.run"):
        check_method(Loop(), of_size(0), clouds, OFF)
    check_method(sample_plugin().KeepFirst(), of_size(0), clouds, OFF)


class Cutting(TokenStudent):
    """Gives dense heads the first T rows of the levels, so that the row in front stands for a patch there."""

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        pos = self.positional_encoding(embedding.centers)
        rows = Prefix.of(self, len(pos))
        x, pos = (embedding.tokens, pos) if rows is None else rows.in_front(embedding.tokens, pos)
        x, kept = run_blocks(self.blocks, x, pos, self.config.level_blocks)
        count = embedding.tokens.shape[1]
        return Tokens(self.norm(x)[:, -count:], tuple(level[:, :count] for level in kept) if levels else ())


class Foreign(TokenStudent):
    """Runs blocks of another library, whose attention has other layers than timm's."""

    def __init__(self, teacher: PointTransformer) -> None:
        super().__init__(teacher)
        layer = torch.nn.TransformerEncoderLayer(TINY.dim, 4, 64, 0.0, batch_first=True, norm_first=True)
        self.blocks = torch.nn.ModuleList(copy.deepcopy(layer) for _ in range(3))
        for block in self.blocks:
            block.attn = block.self_attn

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        x, kept = self.run(embedding.tokens, self.positional_encoding(embedding.centers), (0, 1, 2))
        return Tokens(self.norm(x), tuple(kept) if levels else ())


def made_by(monkeypatch: pytest.MonkeyPatch, student: type[TokenStudent]) -> Method:
    monkeypatch.setattr(Loop, "compress", lambda self, teacher, data, ctx: student(teacher))
    return Loop()


def test_the_kit_tells_who_gives_dense_heads_the_rows_in_front(
    clouds: PointCloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConformanceError, match="must not be read as patches"):
        check_method(made_by(monkeypatch, Cutting), of_size(0), clouds, OFF)


def test_the_kit_takes_blocks_of_another_library(
    clouds: PointCloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_method(made_by(monkeypatch, Foreign), of_size(0), clouds, OFF)


def by_hand(teacher: PointTransformer, patches: Patches) -> list[torch.Tensor]:
    """Hidden states (B, n + T, D), one a block."""
    x, pos = teacher.tokenizer(patches.neighborhoods), teacher.positional_encoding(patches.centers)
    assert teacher.prefix is not None
    assert teacher.prefix_pos is not None
    x = torch.cat([teacher.prefix.expand(len(x), -1, -1), x], dim=1)
    pos = torch.cat([teacher.prefix_pos.expand(len(x), -1, -1), pos], dim=1)
    states = []
    for block in teacher.blocks:
        x = block(x + pos)
        states.append(x)
    return states


@pytest.mark.parametrize("count", [1, 3])
def test_prefix_rows_run_in_front_and_are_no_patches(count: int, patches: Patches) -> None:
    teacher = of_size(count)
    with torch.no_grad():
        tokens, states = teacher(patches, levels=True), by_hand(teacher, patches)
        final = teacher.norm(states[-1])
    assert tokens.features.shape == (4, TINY.groups, TINY.dim)
    assert torch.allclose(tokens.features, final[:, count:], atol=1e-6)
    assert torch.allclose(tokens.aux["prefix"], final[:, :count], atol=1e-6)
    for level, block in zip(tokens.levels, teacher.config.level_blocks, strict=True):
        assert torch.allclose(level, states[block][:, count:], atol=1e-6)


def test_a_teacher_without_one_is_as_it_was(patches: Patches) -> None:
    """No parameter, no output, and the same first weights from the same seed."""
    with_one, without = of_size(1), of_size(0)
    assert set(with_one.state_dict()) - set(without.state_dict()) == {"prefix", "prefix_pos"}
    assert all(
        torch.equal(value, with_one.state_dict()[name]) for name, value in without.state_dict().items()
    )
    tokens = without(patches)
    assert tokens.aux == {}
    x, _ = run_blocks(
        without.blocks, without.tokenizer(patches.neighborhoods), without.positional_encoding(patches.centers)
    )
    assert torch.equal(tokens.features, without.norm(x))


def test_blocks_can_be_run_with_a_prefix_by_any_method(teacher: PointTransformer, patches: Patches) -> None:
    embedding = teacher.embed(patches)
    pos = teacher.positional_encoding(embedding.centers)
    x, kept = run_blocks(teacher.blocks, embedding.tokens, pos, (0, 2), Prefix.of(teacher, 4))
    expected = by_hand(teacher, patches)
    assert torch.equal(x, expected[2][:, 1:])
    assert [torch.equal(k, expected[i][:, 1:]) for k, i in zip(kept, (0, 2), strict=True)] == [True, True]


def rows_entering_mlps(student: ReducingStudent) -> list[int]:
    """How many rows every block's MLP gets, filled by the next forward pass."""
    seen: list[int] = []
    for block in student.blocks:
        block.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    return seen


def compressed(name: str) -> list[tuple[Method, str]]:
    return selectors.expand(selectors.parse_selector(name))


@pytest.mark.parametrize("name", KEEP_IT)
def test_no_reduction_sees_the_prefix_and_every_block_does(
    name: str, teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset
) -> None:
    for method, variant in compressed(name):
        student = make_student(method, teacher, clouds, Context(variant=variant))
        assert isinstance(student, ReducingStudent)
        seen = rows_entering_mlps(student)
        with torch.no_grad():
            tokens = student(patches, levels=True)
        assert tokens.features.shape == (4, TINY.groups, TINY.dim)
        assert tokens.aux["prefix"].shape == (4, 1, TINY.dim)
        left = tokens.aux["size"].shape[1]
        assert seen[-1] == left + 1
        assert tokens.aux["source"].max() < left
        assert torch.allclose(tokens.aux["size"].sum(dim=1), torch.tensor(float(TINY.groups)))


@pytest.mark.parametrize("name", KEEP_IT)
def test_the_prefix_is_a_parameter_of_the_student_and_matters(
    name: str, teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset
) -> None:
    method = compressed(name)[0][0]
    student = make_student(method, teacher, clouds, Context(variant=FMD)).train()
    loss = student(patches).features.square().mean()
    loss.backward()
    assert isinstance(student, TokenStudent)
    for ours, theirs in ((student.prefix, teacher.prefix), (student.prefix_pos, teacher.prefix_pos)):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)
        assert ours is not theirs
        assert ours.grad is not None
        assert ours.grad.abs().max() > 0
        assert theirs.grad is None


class OnceStudent(ToMeStudent):
    """Merges in block 0 only."""

    def reduce(self, index: int, stream: Stream, attended: Attended, strength: int) -> Stream:
        return super().reduce(index, stream, attended, strength) if index == 0 else stream


def test_twins_merged_under_proportional_attention_leave_the_prefix_as_it_was(
    teacher: PointTransformer, patches: Patches
) -> None:
    """A merged pair weighs like two keys and the prefix like one: then nothing changes, for patches or prefix."""
    twins = torch.arange(TINY.groups // 2).repeat_interleave(2)
    embedding = teacher.embed(Patches(patches.neighborhoods[:, twins], patches.centers[:, twins]))
    student = OnceStudent(teacher, False, (8,)).eval()
    student.r, student.proportional = 8, True
    with torch.no_grad():
        ours, theirs = student.encode(embedding), teacher.encode(embedding)
        assert ours.aux["size"].tolist() == [[2.0] * 8] * 4
        assert torch.allclose(ours.features, theirs.features, atol=1e-5)
        assert torch.allclose(ours.aux["prefix"], theirs.aux["prefix"], atol=1e-5)
        student.proportional = False
        assert not torch.allclose(student.encode(embedding).aux["prefix"], theirs.aux["prefix"], atol=1e-4)


class ForgetfulStudent(ReducingStudent):
    """Makes a stream of its own in the middle and drops the prefix."""

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        return super().step(index, block, Stream(stream.x, stream.pos, stream.size, stream.source))


def test_a_stream_that_lost_the_prefix_is_an_error(teacher: PointTransformer, patches: Patches) -> None:
    with pytest.raises(ValueError, match="lost the teacher's prefix"):
        ForgetfulStudent(teacher, False)(patches)
    ForgetfulStudent(of_size(0), False)(patches)


def test_the_prefix_is_counted(teacher: PointTransformer, patches: Patches) -> None:
    """One more row in every block: 12 D^2 + 2 D (2 T + 1) multiply-adds each."""
    more = count_macs(teacher, patches[:1]).total - count_macs(of_size(0), patches[:1]).total
    expected = TINY.depth * (12 * TINY.dim**2 + 2 * TINY.dim * (2 * TINY.groups + 1))
    assert more == expected


def test_a_batch_does_not_matter(teacher: PointTransformer, patches: Patches) -> None:
    embedding = teacher.embed(patches)
    with torch.no_grad():
        whole = teacher.encode(embedding)
        alone = teacher.encode(Embedding(embedding.tokens[2:3], embedding.centers[2:3]))
    assert torch.allclose(whole.aux["prefix"][2:3], alone.aux["prefix"], atol=1e-6)
    assert torch.allclose(whole.features[2:3], alone.features, atol=1e-6)
