"""The end of long work on a disk that is full or gone: what was made is kept, and nothing is half there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from foundry_bench import load_student, make_student, save_student
from foundry_bench.cli.saving import saved
from foundry_bench.encoder import Encoder, EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.storage import atomic_folder
from foundry_bench.students import files
from foundry_bench.teachers import PointTransformer, save_teacher

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
ERRORS = (
    FULL,
    OSError(errno.EROFS, "Read-only file system"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    UserError("out is not a folder; choose another folder"),
)


@pytest.fixture(scope="module")
def student() -> Encoder:
    """A student that is made at once."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 1, "heads": 2, "groups": 8, "group_size": 4, "points": 64}
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16)))
    return make_student("foundry[supertokens=2]", teacher.eval())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder of this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_student_that_cannot_be_saved_is_kept_elsewhere(
    student: Encoder, tmp_path: Path, elsewhere: Path, error: Exception
) -> None:
    def save(folder: Path) -> None:
        if folder == tmp_path / "out":
            raise error
        save_student(student, folder)

    with pytest.raises(
        UserError, match=f"the student cannot be saved in {tmp_path}/out .*; it is kept in"
    ) as told:
        saved(save, tmp_path / "out", "the student")
    (kept,) = elsewhere.iterdir()
    assert str(kept) in str(told.value)
    found = load_student(kept).state_dict()
    assert all(torch.equal(found[name], value) for name, value in student.state_dict().items())
    assert not (tmp_path / "out").exists()


def test_what_can_be_saved_nowhere_is_one_line_and_leaves_nothing(tmp_path: Path, elsewhere: Path) -> None:
    def save(folder: Path) -> None:
        raise FULL

    with pytest.raises(UserError, match="nor anywhere else; free some space"):
        saved(save, tmp_path / "out", "the student")
    assert list(elsewhere.iterdir()) == []


def test_weights_that_no_folder_takes_are_told_as_they_are(tmp_path: Path, elsewhere: Path) -> None:
    def save(folder: Path) -> None:
        raise UserError("3 of the weights are not finite")

    with pytest.raises(UserError, match=r"^3 of the weights are not finite$"):
        saved(save, tmp_path / "out", "the student")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("fails", ["save_file", "json.dumps"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "interrupt"])
def test_a_student_is_saved_whole_or_not_at_all(
    student: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    fails: str,
    error: BaseException,
) -> None:
    folder = tmp_path / "student"
    if there:
        save_student(student, folder)
        (folder / "note.txt").write_text("mine")
    before = _content(tmp_path)

    def fail(*args: Any, **named: Any) -> None:
        if fails == "save_file":
            Path(args[1]).write_bytes(b"half")
        raise error

    monkeypatch.setattr(files if fails == "save_file" else files.json, fails.removeprefix("json."), fail)
    with pytest.raises(type(error)):
        save_student(student, folder)
    assert _content(tmp_path) == before


def test_a_student_replaces_one_and_leaves_other_files(student: Encoder, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "config.json").write_text("{}")
    save_student(student, tmp_path)
    assert load_student(tmp_path).origin.method.name == "foundry"
    assert sorted(_content(tmp_path)) == ["config.json", "model.safetensors", "note.txt"]


def test_a_teacher_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    sizes = {"dim": 16, "depth": 1, "heads": 2, "groups": 8, "group_size": 4, "points": 64}
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16)))
    with pytest.raises(TypeError):
        save_teacher(teacher, tmp_path / "teacher", {"log": object()})
    assert _content(tmp_path) == {}


def test_a_folder_of_the_longest_name_is_written(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / ("a" * 255)) as place:
        (place / "file").write_text("text")
    assert _content(tmp_path) == {"a" * 255 + "/file": b"text"}


def _content(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, and every empty folder, by its path there."""
    paths = (path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir()))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}
