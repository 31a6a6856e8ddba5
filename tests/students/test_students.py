"""Students on disk, and the frozen tokenizer they keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.methods.foundry import Foundry
from foundry_bench.selectors import expand, parse_selector
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.teachers.transformer import PointTransformer


def test_an_encoder_that_no_method_made_is_not_saved(tiny_teacher: PointTransformer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make_student"):
        save_student(tiny_teacher, tmp_path)
    assert not list(tmp_path.iterdir())


def test_round_trip(tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path) -> None:
    method = Foundry(supertokens=2, hidden_ratio=2.0)
    student = make_student(method, tiny_teacher, clouds, Context(seed=7))
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.origin == student.origin
    assert loaded.origin.method == method
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        assert torch.equal(loaded(patches).features, student(patches).features)


def test_damaged_foreign_and_unfitting_folders(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_student(tmp_path / "absent")
    method = Foundry(supertokens=2)
    save_student(make_student(method, tiny_teacher, clouds, Context()), tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"supertokens": 2', '"supertokens": 3'))
    with pytest.raises(UserError, match="does not fit"):
        load_student(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no student"):
        load_student(tmp_path)
    (tmp_path / "config.json").write_text(config)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:64])
    with pytest.raises(UserError, match="cannot be read"):
        load_student(tmp_path)


def test_a_student_of_before_there_were_two_forms_stays_what_it_was(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    for folder, method in (
        (tmp_path / "hard", Foundry(supertokens=2, published=True)),
        (tmp_path / "soft", Foundry(supertokens=2, cau_skip=False)),
    ):
        student = make_student(method, tiny_teacher, clouds, Context())
        save_student(student, folder)
        config = json.loads((folder / "config.json").read_text())
        for later in ("published", "balance"):
            del config["params"][later]
        (folder / "config.json").write_text(json.dumps(config))
        loaded = load_student(folder)
        assert loaded.origin.method == method
        with torch.no_grad():
            assert torch.equal(loaded(patches).features, student(patches).features)


def test_a_student_of_another_version_of_its_method_is_refused(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    save_student(make_student("foundry-gate[supertokens=2]", tiny_teacher, clouds), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"version": "1"}))
    with pytest.raises(UserError, match=r"student of foundry-gate version 1, .* version 2; make it again"):
        load_student(tmp_path)


def test_the_tokenizer_stays_the_teachers_through_training_mode(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context())
    student.train()
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:8, :256]))
    assert torch.equal(student.embed(patches).tokens, tiny_teacher.embed(patches).tokens)
    assert not any(p.requires_grad for p in student.tokenizer.parameters())


def test_all_but_the_tokenizer_is_trained_although_the_teacher_is_frozen(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context())
    frozen = {name.split(".")[0] for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == {"tokenizer"}
    assert not any(p.requires_grad for p in tiny_teacher.parameters())


@pytest.mark.parametrize(
    "selector",
    ["tome[r=4]+lowrank+off-the-shelf", "foundry[supertokens=4]+int8", "evit+wanda+prune-magnitude"],
)
def test_a_stack_is_saved_and_loaded_with_all_its_methods(
    selector: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    ((method, variant), *_) = expand(parse_selector(selector), grid=None)
    student = make_student(method, tiny_teacher, clouds, Context(variant=variant))
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        assert torch.equal(loaded(patches).features, student(patches).features)
