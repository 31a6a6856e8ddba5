"""A teacher is prepared once for all students beside it, and again where it, the runtime or the copy is another."""

from __future__ import annotations

import copy
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foundry_bench.encoder import Encoder
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.runtimes.kept import prepare
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer


class Counted(Runtime):
    """Writes a file and counts how often."""

    name = "counted"

    def __init__(self) -> None:
        self.made = 0

    def available(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        assert not list(folder.iterdir()), "an empty folder"
        self.made += 1
        (folder / "model").write_text("made")
        return self.again(encoder, example, folder, threads)

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        if (folder / "model").read_text() != "made":
            raise ValueError("damaged")
        return lambda patches: encoder(patches).features


class Plain(Counted):
    """Cannot load a prepared folder again."""

    again = Runtime.again

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        self.made += 1
        return lambda patches: encoder(patches).features


@pytest.fixture
def patches(tiny_teacher: PointTransformer) -> Patches:
    return tiny_teacher.tokenize(torch.rand(1, 256, 3) - 0.5)


def tried(runtime: Runtime, encoder: Encoder, patches: Patches, cache: Path | None, place: Path) -> None:
    """Prepare in a new folder of ``place``, and run it."""
    folder = place / str(len(list(place.iterdir())))
    folder.mkdir()
    forward = prepare(runtime, encoder, patches, folder, 1, cache)
    assert torch.equal(forward(patches), encoder(patches).features)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_one_teacher_is_prepared_once(
    tiny_teacher: PointTransformer, patches: Patches, tmp_path: Path, place: Path
) -> None:
    runtime, cache = Counted(), tmp_path / "cache"
    for _ in range(3):
        tried(runtime, copy.deepcopy(tiny_teacher), patches, cache, place)
    assert runtime.made == 1
    assert len(list((cache / "runtimes").iterdir())) == 1
    tried(runtime, tiny_teacher, patches, None, place)
    assert runtime.made == 2, "without a cache"


@pytest.mark.parametrize("what", ["weights", "sizes", "version", "batch"])
def test_another_one_is_prepared_for_itself(
    what: str,
    tiny_teacher: PointTransformer,
    patches: Patches,
    tmp_path: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime, other = Counted(), copy.deepcopy(tiny_teacher)
    tried(runtime, tiny_teacher, patches, tmp_path / "cache", place)
    if what == "weights":
        other.norm.weight[0] += 1
    elif what == "sizes":
        other.config = replace(other.config, points=128)
    elif what == "version":
        monkeypatch.setattr(Counted, "version", lambda self: "2")
    else:
        patches = Patches(patches.neighborhoods.repeat(2, 1, 1, 1), patches.centers.repeat(2, 1, 1))
    tried(runtime, other, patches, tmp_path / "cache", place)
    assert runtime.made == 2


def test_what_is_damaged_is_made_anew_and_kept(
    tiny_teacher: PointTransformer, patches: Patches, tmp_path: Path, place: Path
) -> None:
    runtime = Counted()
    tried(runtime, tiny_teacher, patches, tmp_path / "cache", place)
    (file,) = (tmp_path / "cache").rglob("model")
    file.write_text("spoiled")
    for _ in range(2):
        tried(runtime, tiny_teacher, patches, tmp_path / "cache", place)
    assert runtime.made == 2


def test_students_and_runtimes_that_load_nothing_are_prepared_as_ever(
    tiny_teacher: PointTransformer, patches: Patches, tmp_path: Path, place: Path
) -> None:
    student, plain = make_student("tome[r=2]+off-the-shelf", tiny_teacher), Plain()
    for runtime, encoder in ((Counted(), student), (plain, tiny_teacher)):
        for _ in range(2):
            tried(runtime, encoder, patches, tmp_path / "cache", place)
        assert runtime.made == 2
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_done_without(
    tiny_teacher: PointTransformer, patches: Patches, tmp_path: Path, place: Path
) -> None:
    (tmp_path / "cache").touch()
    runtime = Counted()
    tried(runtime, tiny_teacher, patches, tmp_path / "cache", place)
    assert runtime.made == 1


def race(cache: Path, place: Path, seed: int) -> None:
    """Prepare one teacher in this process."""
    torch.manual_seed(0)
    from tests.conftest import TINY

    teacher = PointTransformer(TINY).eval().requires_grad_(False)
    folder = place / str(seed)
    folder.mkdir()
    prepare(Counted(), teacher, teacher.tokenize(torch.rand(1, 256, 3) - 0.5), folder, 1, cache)


def test_processes_at_once_keep_one_whole_copy(tmp_path: Path, place: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=race, args=(tmp_path / "cache", place, seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    (kept,) = (tmp_path / "cache" / "runtimes").iterdir()
    assert (kept / "model").read_text() == "made"
