"""The Hub's own client is called with the right files; without a network there is one clear line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.methods.foundry import Foundry
from foundry_bench.students import hub
from foundry_bench.students.files import make_student, save_student
from foundry_bench.teachers.transformer import PointTransformer


class FakeHub:
    """A repository in a folder, behind the two calls that are made of the client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: bool | None = None

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        self.folder.mkdir(exist_ok=exist_ok)
        self.private = private

    def upload_folder(self, *, folder_path: Path, allow_patterns: list[str], **_: Any) -> None:
        for name in allow_patterns:
            shutil.copy(folder_path / name, self.folder / name)

    def snapshot_download(self, repository: str, **_: Any) -> str:
        return str(self.folder)


def test_a_student_comes_back_from_the_hub_as_it_was_pushed(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = FakeHub(tmp_path / "remote")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token=None: remote)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", remote.snapshot_download)
    student = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context())
    save_student(student, tmp_path / "student")
    (tmp_path / "student" / "notes.txt").write_text("not for others")
    assert hub.push_student(tmp_path / "student", "me/foundry", private=True).endswith("me/foundry")
    assert remote.private is True
    assert sorted(path.name for path in remote.folder.iterdir()) == ["config.json", "model.safetensors"]
    pulled = hub.pull_student("me/foundry")
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        assert torch.equal(pulled(patches).features, student(patches).features)


def test_a_folder_without_a_student_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no student"):
        hub.push_student(tmp_path, "me/foundry")


@pytest.mark.parametrize("repository", ["me/foundry", "not a name"])
def test_what_cannot_be_pulled_is_one_line(
    repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot pull") as raised:
        hub.pull_student(repository, folder=tmp_path / "pulled")
    assert "\n" not in str(raised.value)
