"""An exported folder needs this package no more, says what it is, and is refused rather than wrong."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from foundry_bench.cli import main
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports import RuntimeEncoder, Session, needs, runner
from foundry_bench.exports.folder import export
from foundry_bench.exports.golden import Golden
from foundry_bench.exports.grouping import grouping
from foundry_bench.points import group, normalize
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers import save_teacher
from foundry_bench.teachers.transformer import PointTransformer

ALONE = "import sys, runpy; sys.modules.update(torch=None, foundry_bench=None, onnx=None, scipy=None); sys.argv[0] = 'run.py'; "
"""The start of a program that has NumPy and ONNX Runtime, and nothing of ours."""


def run_py(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python run.py ARGUMENTS`` in the folder, in a process that cannot import this package or PyTorch."""
    program = f"{ALONE}runpy.run_path('run.py', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def golden_in(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_golden_outputs_are_the_students_own(folder: Path, teacher: PointTransformer) -> None:
    arrays = golden_in(folder)
    assert len(arrays["points"]) >= 8
    with torch.no_grad():
        patches = teacher.tokenize(torch.from_numpy(arrays["points"]))
        tokens = teacher(patches).features.numpy()
    assert np.abs(arrays["tokens"] - tokens).max() < 1e-5
    assert (arrays["centers"] == patches.centers.numpy()).all()
    assert (arrays["neighborhoods"] == patches.neighborhoods.numpy()).all()
    assert set(Session(folder).inputs) < set(arrays)
    assert set(Session(folder).outputs) < set(arrays)


def test_a_shell_with_numpy_and_the_runtime_alone_gives_the_golden_descriptor(
    folder: Path, tmp_path: Path
) -> None:
    arrays = golden_in(folder)
    np.save(tmp_path / "cloud.npy", arrays["points"][3])
    ran = run_py(folder, str(tmp_path / "cloud.npy"), "--as-is", "-o", str(tmp_path / "out.npz"))
    assert ran.returncode == 0, ran.stderr
    with np.load(tmp_path / "out.npz") as out:
        assert np.abs(out["descriptor"] - arrays["descriptor"][3]).max() < 1e-4
        assert np.abs(out["tokens"] - arrays["tokens"][3]).max() < 1e-4
    raw = 40 * arrays["points"][3] + 7
    np.save(tmp_path / "millimetres.npy", raw)
    ran = run_py(folder, str(tmp_path / "millimetres.npy"), "-o", str(tmp_path / "raw.npz"))
    assert ran.returncode == 0, ran.stderr
    with np.load(tmp_path / "raw.npz") as out:
        patches = group(normalize(torch.from_numpy(raw[None])), 16, 8)
        tokens, _ = Session(folder)(patches.centers.numpy(), patches.neighborhoods.numpy())
        assert np.abs(out["tokens"] - tokens[0]).max() < 1e-3


def test_the_check_of_a_folder_sees_another_model(folder: Path, tmp_path: Path) -> None:
    ran = run_py(folder, "--check")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("ok ") == 3
    twin = shutil.copytree(folder, tmp_path / "twin")
    arrays = golden_in(twin)
    arrays["tokens"][5, 2] += 0.1
    np.savez(twin / "golden.npz", **arrays)
    ran = run_py(twin, "--check")
    assert ran.returncode == 1
    assert ran.stdout.count("WRONG") == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "no numbers", "cannot be read"),
        ("a.csv", "1 2\n3 4", "shape (2, 2)"),
        ("b.npy", "", "cannot"),
    ],
)
def test_the_runner_tells_a_bad_cloud_in_one_line(
    folder: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    ran = run_py(folder, str(tmp_path / name))
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def hard_clouds() -> list[np.ndarray]:
    """Clouds whose points lie on a grid, on a line, or several times in one place: distances that are equal."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-0.5, 0.5, 5, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    line = np.zeros((40, 3), np.float32)
    line[:, 0] = np.linspace(-1, 1, 40)
    some = rng.uniform(-0.5, 0.5, (30, 3)).astype(np.float32)
    return [rng.permutation(grid), line, np.concatenate([some, some, some]), some]


def by_group(neighborhoods: np.ndarray) -> np.ndarray:
    """Distances from the centre of the points of each group, ascending: which of equally near points are taken is free."""
    return np.sort(np.square(neighborhoods).sum(axis=-1), axis=-1)


@pytest.mark.parametrize("cloud", hard_clouds(), ids=["grid", "line", "repeated", "plain"])
def test_grouping_outside_of_pytorch_is_the_same(cloud: np.ndarray) -> None:
    ours = group(torch.from_numpy(cloud[None]), 16, 8)
    session = Session(grouping(16, 8, None).SerializeToString())
    found = session.run(points=cloud[None])
    for centers, neighborhoods in (
        (found["centers"], found["neighborhoods"]),
        runner.group(cloud, 16, 8),
    ):
        assert (centers == ours.centers.numpy()).all()
        assert np.abs(by_group(neighborhoods) - by_group(ours.neighborhoods.numpy())).max() < 1e-6


def test_points_in_takes_any_number_of_points_and_clouds(folder: Path, teacher: PointTransformer) -> None:
    session = Session(folder / "points.onnx")
    points = torch.from_numpy(golden_in(folder)["points"])
    for part in (points[:3], points[:1, :100]):
        with torch.no_grad():
            wanted = teacher(teacher.tokenize(part)).features.numpy()
        assert np.abs(session.run(points=part.numpy())["tokens"] - wanted).max() < 1e-4


def test_the_card_is_in_the_folder_and_in_the_model(folder: Path) -> None:
    card = json.loads((folder / "export.json").read_text())
    model = onnx.load(folder / "model.onnx")
    inside = json.loads({entry.key: entry.value for entry in model.metadata_props}["foundry_bench"])
    assert inside == {key: value for key, value in card.items() if key != "files"}
    assert card["opset"] == model.opset_import[0].version
    assert card["parity"]["clouds"] == 8
    assert card["parity"]["relative"] < card["parity"]["tolerance"]
    assert set(card["files"]) == {"model.onnx", "points.onnx", "golden.npz", "run.py", "run.cpp"}
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node), (
        "paths of this machine"
    )


def test_eight_bits_are_held_to_the_float_parent(
    teacher: PointTransformer,
    clouds: PointCloudDataset,
    golden: Golden,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = export(teacher, tmp_path / "small", clouds, int8=True)
    assert 0.98 < made.parity.r2 < 1
    assert (golden_in(tmp_path / "small")["tokens"] == golden.outputs["tokens"]).all()
    types = {node.op_type for node in onnx.load(tmp_path / "small" / "model.onnx").graph.node}
    assert "MatMulInteger" in types
    assert run_py(tmp_path / "small", "--check").returncode == 0
    monkeypatch.setattr("foundry_bench.exports.eight_bits.LEAST_R2", 1.0)
    with pytest.raises(UserError, match=r"below 1\.0; export it without --int8"):
        export(teacher, tmp_path / "refused", clouds, int8=True)
    assert not (tmp_path / "refused").exists()


def test_a_student_in_eight_bits_is_exported_from_its_float_parent(
    teacher: PointTransformer, clouds: PointCloudDataset, golden: Golden, tmp_path: Path
) -> None:
    student = make_student("int8", teacher, clouds)
    made = export(student, tmp_path / "float", clouds)
    assert made.parity.holds
    assert (golden_in(tmp_path / "float")["tokens"] == golden.outputs["tokens"]).all()
    small = export(student, tmp_path / "int8", clouds, int8=True)
    assert 0.98 < small.parity.r2 < 1
    own = student(golden.patches).features.numpy()
    arrays = [golden.inputs[name] for name in ("centers", "neighborhoods")]
    session = Session(tmp_path / "int8")
    found = np.concatenate([session(*(a[i : i + 1] for a in arrays))[0] for i in range(len(own))])
    assert np.abs(found - own).max() < 1e-5, "the same eight bits"


def test_tasks_score_the_graph_itself(
    folder: Path, teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    encoder = RuntimeEncoder(folder)
    points = torch.from_numpy(clouds.points[:3, :256])
    patches = encoder.tokenize(points)
    wanted = teacher(teacher.tokenize(points)).features
    for twin in (encoder, copy.deepcopy(encoder)):
        assert torch.allclose(twin(patches).features, wanted, atol=1e-4)
    assert encoder(patches[:0]).features.shape == (0, 16, 32)
    with pytest.raises(UserError, match="choose another task"):
        encoder(patches, levels=True)


def test_an_exported_folder_is_profiled_as_it_is_evaluated(
    folder: Path, teacher: PointTransformer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_teacher(teacher, tmp_path / "tiny", {})
    asked = ("profile", str(folder), "--json", "--no-memory", "--runtime", "onnxruntime")
    for more, beside in (((), None), (("--teacher", str(tmp_path / "tiny")), str(tmp_path / "tiny"))):
        with pytest.raises(SystemExit) as left:
            main([*asked, *more])
        assert left.value.code == 0
        said = capsys.readouterr()
        found = json.loads(said.out)
        assert found["runtime"] == "onnxruntime"
        assert found["disk_mb"] == (folder / "model.onnx").stat().st_size / 1e6
        assert found["gmacs"] is found["params_m"] is found["gmacs_ratio"] is None
        assert found["latency_ms"] > 0
        assert found["teacher"] == beside
        assert (found["latency_ratio"] is None) == (beside is None)
        assert found["runtimes"]["onnxruntime"]["reason"] is None
        assert found["runtimes"]["onnxruntime"]["difference"] == 0
        assert ("not recorded" in said.err) == (beside is None)


def test_an_exported_folder_is_not_exported_or_counted_again(folder: Path, tmp_path: Path) -> None:
    encoder = RuntimeEncoder(folder)
    for work in (
        lambda: export(encoder, tmp_path / "again", load_kicad()),
        lambda: count_macs(encoder, encoder.tokenize(torch.rand(1, 256, 3) - 0.5)),
    ):
        with pytest.raises(UserError, match=r"the student.* made from"):
            work()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("[]", "is not of the format"),
        ("{", "cannot be read"),
        ('{"format": "foundry-bench export 1", "runtime": "torch"}', "is for torch"),
        ('{"format": "foundry-bench export 1", "runtime": "onnxruntime"}', "has no sizes"),
        (
            '{"format": "foundry-bench export 1", "runtime": "onnxruntime", '
            '"sizes": {"dim": 32, "groups": 99999, "group_size": 8, "points": 64}}',
            "groups must be",
        ),
    ],
)
def test_a_forged_card_is_told_in_one_line(card: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(card)
    with pytest.raises(UserError, match=message) as caught:
        RuntimeEncoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_student_that_groups_in_its_own_way_has_no_points_in(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokenize(self: Encoder, points: torch.Tensor) -> Patches:
        return group(points, self.config.groups, self.config.group_size)

    monkeypatch.setattr(PointTransformer, "tokenize", tokenize)
    with pytest.raises(UserError, match="in a way of its own"):
        export(teacher, tmp_path / "out", clouds, points_in=True)
    assert not (tmp_path / "out").exists()


def test_fewer_clouds_than_that_verify_nothing(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    few = replace(clouds, points=clouds.points[:7])
    with pytest.raises(UserError, match="has 7 clouds; verifying takes 8"):
        export(teacher, tmp_path / "out", few)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that the user can mend."""
    with pytest.raises(SystemExit) as left:
        main(["export", "teacher", *arguments])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_what_is_missing_is_said_before_work_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foundry_bench.teachers.load_teacher", lambda *_: pytest.fail("work has started"))
    out = ("-o", str(tmp_path / "out"))
    assert "did you mean 'onnx'" in refused(capsys, *out, "--format", "onx")
    assert "--int8 is for --format onnx" in refused(capsys, *out, "--format", "torch", "--int8")
    assert "--points-in is for --format onnx" in refused(capsys, *out, "--format", "torch", "--points-in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    assert "not an empty folder" in refused(capsys, "-o", str(tmp_path / "full"))
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    assert "onnx needs onnx, onnxscript, onnxruntime: pip install 'foundry-bench[onnx]'" in refused(
        capsys, *out
    )
    line = refused(capsys, *out, "--format", "executorch")
    assert "pip install 'foundry-bench[executorch]'" in line


def test_a_program_of_torch_needs_this_package_no_more(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    made = export(teacher, tmp_path / "out", clouds, form="torch")
    assert made.batch is None
    program = (
        "import sys; sys.modules.update(foundry_bench=None, timm=None)\n"
        "import numpy as np, torch\n"
        "golden = np.load('golden.npz')\n"
        "module = torch.export.load('model.pt2').module()\n"
        "tokens, descriptor = module(*(torch.from_numpy(golden[n]) for n in ('centers', 'neighborhoods')))\n"
        "assert np.abs(tokens.detach().numpy() - golden['tokens']).max() < 1e-4\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    card = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (card["runtime"], card["model"], card["opset"]) == ("torch", "model.pt2", None)


@pytest.mark.slow
def test_a_program_of_executorch_gives_the_tokens_in_its_runtime(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    pytest.importorskip("executorch")
    made = export(teacher, tmp_path / "out", clouds, form="executorch")
    assert (made.runtime, made.batch) == ("executorch", 1)
    assert made.parity.holds
    assert (tmp_path / "out" / "model.pte").stat().st_size > 0


def test_the_runner_in_cpp_gives_the_golden_descriptor(folder: Path, tmp_path: Path) -> None:
    """Headers and library where the compiler looks for them; CPATH, LIBRARY_PATH and LD_LIBRARY_PATH name other places."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    command = [compiler, "-std=c++17", str(folder / "run.cpp"), "-o", str(tmp_path / "run"), "-lonnxruntime"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if "onnxruntime_cxx_api.h" in made.stderr or "-lonnxruntime" in made.stderr:
        pytest.skip("ONNX Runtime's C++ headers are not installed (Debian: libonnxruntime-dev)")
    assert made.returncode == 0, made.stderr
    arrays = golden_in(folder)
    np.save(tmp_path / "cloud.npy", arrays["points"][0])
    call = [str(tmp_path / "run"), str(folder / "model.onnx"), str(tmp_path / "cloud.npy"), "--as-is"]
    ran = subprocess.run(call, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ran.returncode == 0, ran.stderr
    assert np.abs(np.array(ran.stdout.split(), float) - arrays["descriptor"][0]).max() < 1e-4
