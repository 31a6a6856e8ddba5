"""Teachers on disk: round trip, damage, unknown names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundry_bench.errors import UserError
from foundry_bench.teachers import load_teacher, save_teacher, teacher_sha256
from foundry_bench.teachers.transformer import PointTransformer


def test_round_trip_is_exact_in_half_precision(tiny_teacher: PointTransformer, tmp_path: Path) -> None:
    save_teacher(tiny_teacher, tmp_path, {})
    loaded = load_teacher(tmp_path)
    for name, value in tiny_teacher.state_dict().items():
        assert torch.equal(loaded.state_dict()[name].half(), value.half())
    assert not any(p.requires_grad for p in loaded.parameters())


def test_truncated_weights_name_both_hashes(tiny_teacher: PointTransformer, tmp_path: Path) -> None:
    save_teacher(tiny_teacher, tmp_path, {})
    whole = teacher_sha256(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged: expected SHA-256") as error:
        load_teacher(tmp_path)
    assert whole[:12] in str(error.value)


def test_missing_weights_and_unknown_names(tiny_teacher: PointTransformer, tmp_path: Path) -> None:
    save_teacher(tiny_teacher, tmp_path, {})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_teacher(tmp_path)
    with pytest.raises(UserError, match="did you mean 'small'"):
        load_teacher("smal")
    with pytest.raises(UserError, match="does not exist"):
        load_teacher("no/such/folder")
    with pytest.raises(UserError, match="branch"):
        load_teacher("small", branch="ema")


def test_weights_of_another_size_are_refused(tiny_teacher: PointTransformer, tmp_path: Path) -> None:
    save_teacher(tiny_teacher, tmp_path, {})
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"depth": 3', '"depth": 4'))
    with pytest.raises(UserError, match="does not fit"):
        load_teacher(tmp_path)
