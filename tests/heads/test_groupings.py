"""What encoders have in common of an evaluation is made once, and changes no token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import foundry_bench as fb
from foundry_bench.encoder import Encoder
from foundry_bench.heads.features import embed_clouds
from foundry_bench.heads.groupings import FOLDER, Grouped
from foundry_bench.heads.patches import frozen

CLOUDS = torch.nn.functional.normalize(
    torch.randn(3, 1024, 3, generator=torch.Generator().manual_seed(0)), dim=-1
)


@pytest.fixture(scope="module")
def teacher() -> Encoder:
    return fb.load_teacher("small").eval()


def files(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / FOLDER).glob(f"{kind}-*.npz"))


def count_tokenized(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Clouds that are cut into patches from now on."""
    from foundry_bench import points

    seen: list[int] = []
    group = points.group
    monkeypatch.setattr(points, "group", lambda p, *sizes: seen.append(len(p)) or group(p, *sizes))
    return seen


@pytest.mark.parametrize(
    "selector",
    ["teacher", "foundry[supertokens=4]", "tome", "lowrank", "random-drop[early=true]", "kd[width=0.5]"],
)
def test_tokens_are_the_same_bit_for_bit_with_and_without(
    selector: str, teacher: Encoder, tmp_path: Path
) -> None:
    student = fb.make_student(selector, teacher)
    found = []
    for cache in (None, tmp_path, tmp_path):
        with frozen(student, cache=cache) as embed:
            found.append(embed(CLOUDS))
    for tokens, centers in found[1:]:
        assert torch.equal(tokens, found[0][0])
        assert torch.equal(centers, found[0][1])
    pooled = [embed_clouds(student, CLOUDS.numpy(), cache=cache) for cache in (None, tmp_path)]
    assert np.array_equal(*pooled)


def test_students_with_the_teachers_tokenizer_find_its_tokens(
    teacher: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_tokenized(teacher, monkeypatch)
    for selector in ("teacher", "tome", "kd[depth=1]"):
        Grouped(fb.make_student(selector, teacher), tmp_path)(CLOUDS)
    assert len(files(tmp_path, "tokens")) == 1
    assert seen.count(len(CLOUDS)) == 1


def test_students_with_their_own_tokenizer_find_its_patches(teacher: Encoder, tmp_path: Path) -> None:
    student = fb.make_student("kd[width=0.5]", teacher)
    Grouped(student, tmp_path)(CLOUDS)
    assert len(files(tmp_path, "patches")) == 1
    assert not files(tmp_path, "tokens"), "nobody else could use them"


def test_other_weights_or_clouds_or_order_find_nothing(teacher: Encoder, tmp_path: Path) -> None:
    Grouped(teacher, tmp_path)(CLOUDS)
    Grouped(teacher, tmp_path)(CLOUDS.flip(0))
    other = fb.make_student("teacher", teacher)
    with torch.no_grad():
        next(other.tokenizer.parameters()).mul_(1.5)
    rows, _ = Grouped(other, tmp_path)(CLOUDS)
    assert torch.equal(rows, other(other.tokenize(CLOUDS)).features)
    assert len(files(tmp_path, "tokens")) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"words"])
def test_a_damaged_file_is_made_again(content: bytes, teacher: Encoder, tmp_path: Path) -> None:
    first, _ = Grouped(teacher, tmp_path)(CLOUDS)
    (file,) = files(tmp_path, "tokens")
    file.write_bytes(content)
    again, _ = Grouped(teacher, tmp_path)(CLOUDS)
    assert torch.equal(first, again)
    assert file.stat().st_size > len(content)


def test_nothing_is_kept_where_it_cannot_be(teacher: Encoder, tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    rows, _ = Grouped(teacher, tmp_path)(CLOUDS)
    assert torch.equal(rows, teacher(teacher.tokenize(CLOUDS)).features)
