"""An exported teacher and student of a tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundry_bench.datasets import load_kicad
from foundry_bench.exports.folder import export
from foundry_bench.runtimes.bench import write_beside
from foundry_bench.students.files import make_student
from foundry_bench.teachers.checkpoints.names import TeacherSource
from foundry_bench.teachers.transformer import PointTransformer
from tests.conftest import TINY


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of a teacher of three blocks, and of a student that has the first of them."""
    pytest.importorskip("onnxruntime")
    place = tmp_path_factory.mktemp("exports")
    torch.manual_seed(0)
    teacher = PointTransformer(TINY).eval().requires_grad_(False)
    teacher.source = TeacherSource("tiny", "foundry-bench", "student", "t" * 64)
    found = {}
    for method in ("teacher", "truncate"):
        encoder = teacher if method == "teacher" else make_student("truncate[blocks=1]", teacher)
        found[method] = place / method
        export(encoder, found[method], load_kicad())
        write_beside(found[method])
    return found
