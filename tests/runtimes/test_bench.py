"""An exported folder is timed with numpy and onnxruntime alone, and what is none is refused in a line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import foundry_bench as fb
from foundry_bench.cli import main
from foundry_bench.datasets import load_kicad
from foundry_bench.exports.card import Graph
from foundry_bench.exports.parity import Parity
from foundry_bench.points.sampling import group as grouped
from foundry_bench.report.merged import read_record
from foundry_bench.runtimes.bench import LABEL, bench, default_label, single_file, summary
from foundry_bench.runtimes.exported import Exported, FolderError, group

WITHOUT_TORCH = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError("not installed here: " + name)
sys.meta_path.insert(0, Nowhere())
"""
"""What a process runs first, so that it is on a machine without these packages."""

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("number", range(0, 600, 60))
def test_grouping_in_numpy_is_that_of_the_package(number: int) -> None:
    cloud = load_kicad().points[number, :1024]
    centers, patches = group(cloud, 64, 32)
    wanted = grouped(torch.from_numpy(cloud)[None], 64, 32)
    assert np.array_equal(centers, wanted.centers.numpy())

    def rows(values: np.ndarray) -> list[set[tuple[float, ...]]]:
        return [set(map(tuple, one)) for one in values.reshape(64, 32, 3).tolist()]

    assert rows(patches) == rows(wanted.neighborhoods.numpy())


def test_of_equally_far_points_the_first_is_taken() -> None:
    """A square's corners and its middle, which no choice tells apart."""
    square = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    centers, _ = group(square, 5, 1)
    assert centers[0].tolist() == square.tolist()


def test_a_record_tells_figures_identity_and_machine(exports: dict[str, Path]) -> None:
    record = bench(exports["truncate"], exports["teacher"], seconds=0, label="here")
    assert record["student"]["method"] == "truncate"
    assert record["reference"]["student"]["method"] == "teacher"
    told = record["figures"]
    assert told["latency_ms"] <= told["latency_p90_ms"] <= told["latency_p99_ms"]
    assert told["latency_ratio"] > 0
    assert told["latency_control_ratio"] > 0
    assert told["latency_total_ratio"] > 0
    assert record["difference"] < 1e-4
    assert record["r2"] == pytest.approx(1)
    assert record["grouping"] == "numpy"
    assert record["runtime"]["name"] == "onnxruntime"
    assert record["machine"]["affinity"]
    assert "of the reference" in summary(record)


def test_a_folder_alone_is_its_own_control(exports: dict[str, Path]) -> None:
    record = bench(exports["truncate"], seconds=0)
    assert record["reference"] is None
    assert record["figures"]["latency_ratio"] is None
    assert record["figures"]["latency_control_ratio"] > 0
    assert LABEL.fullmatch(record["label"])
    assert "of the reference" not in summary(record)


def test_the_command_line_writes_a_record_that_merge_reads(exports: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    arguments = ["bench", str(exports["truncate"]), "--reference", str(exports["teacher"]), "-o", str(out)]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--seconds", "0", "--label", "here"])
    assert not left.value.code
    assert read_record(out)["label"] == "here"


def alone(
    folder: Path, source: str, blocked: tuple[str, ...], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run ``source`` on a machine that lacks packages."""
    file = folder / "program.py"
    file.write_text(source)
    program = (
        f"{WITHOUT_TORCH.format(blocked=blocked)}\nimport runpy\nsys.argv = {['bench.py', *arguments]}\n"
    )
    program += f"runpy.run_path({str(file)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)


def test_the_file_in_the_folder_times_that_folder(exports: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exports["truncate"], tmp_path / "folder"))
    blocked = ("torch", "foundry_bench", "click", "rich", "scipy", "pandas")
    source = (folder / "bench.py").read_text()
    assert source == single_file()
    done = alone(folder, source, blocked, "--seconds", "0")
    assert done.returncode == 0, done.stderr
    assert read_record(folder / "bench.json")["student"]["method"] == "truncate"


@pytest.mark.parametrize(("model", "written"), [("model.onnx", True), ("model.pte", False)])
def test_whoever_exports_for_onnx_runtime_gets_it_too(
    model: str, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(encoder: object, folder: Path, *given: object, **options: object) -> Graph:
        Path(folder).mkdir()
        (Path(folder) / model).touch()
        return Graph(model, "onnxruntime", "plain", None, 18, Parity(8, 0.0, 0.0, 0, 1.0))

    monkeypatch.setattr("foundry_bench.exports.folder.export", export)
    monkeypatch.setattr("foundry_bench.api.write_export", export)
    with pytest.raises(SystemExit) as left:
        main(["export", "teacher", "-o", str(tmp_path / "command")])
    assert not left.value.code
    fb.export(fb.load_teacher(), tmp_path / "python")
    for folder in ("command", "python"):
        assert (tmp_path / folder / "bench.py").exists() is written


def test_the_single_file_needs_neither_torch_nor_this_package(
    exports: dict[str, Path], tmp_path: Path
) -> None:
    blocked = ("torch", "foundry_bench", "click", "rich", "scipy", "pandas")
    folders = (str(exports["truncate"]), "--reference", str(exports["teacher"]))
    done = alone(tmp_path, single_file(), blocked, *folders, "--seconds", "0", "--label", "far")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("far: onnxruntime ")
    assert read_record(tmp_path / "bench.json")["label"] == "far"


def test_the_command_needs_no_torch(exports: dict[str, Path], tmp_path: Path) -> None:
    source = "from foundry_bench.cli import main; main()"
    blocked = ("torch", "rich", "scipy", "pandas", "pydantic", "timm")
    done = alone(
        tmp_path, source, blocked, "bench", str(exports["truncate"]), "--seconds", "0", "-o", "r.json"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.json").exists()


def test_onnxruntime_that_is_missing_is_told_with_the_fix(exports: dict[str, Path], tmp_path: Path) -> None:
    done = alone(tmp_path, single_file(), ("onnxruntime",), str(exports["truncate"]))
    assert done.returncode == 1
    assert "pip install onnxruntime" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def card(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "export.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def golden(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with np.load(folder / "golden.npz") as arrays:
            kept = dict(arrays)
        made = {**kept, **{name: value(kept[name]) for name, value in changes.items()}}
        np.savez(folder / "golden.npz", **made)

    return change


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no card": (lambda folder: (folder / "export.json").unlink(), "is no exported folder"),
    "cut card": (write("export.json", b'{"format": '), "is damaged"),
    "deep card": (write("export.json", b"[" * 100_000), "is damaged"),
    "list": (write("export.json", b"[]"), "another format"),
    "format": (card(format="x"), "another format"),
    "runtime": (card(runtime="executorch"), "exported for 'executorch'"),
    "files": (card(files=[]), "lacks one of"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "cannot be read"),
    "model": (write("model.onnx", b"other"), "is not the one"),
    "no golden": (lambda folder: (folder / "golden.npz").unlink(), "cannot be read"),
    "golden": (write("golden.npz", b"PK"), "cannot be read"),
    "pickle": (golden(tokens=lambda old: np.array([{}], object)), "cannot be read"),
    "few": (golden(tokens=lambda old: old[:3]), "do not belong together"),
    "none": (
        golden(**{n: lambda old: old[:0] for n in ("points", "centers", "neighborhoods", "tokens")}),
        "cannot",
    ),
    "wrong": (golden(tokens=lambda old: old[::-1]), "gives other tokens"),
    "nan": (golden(tokens=lambda old: old * np.nan), "gives other tokens"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_refused_in_one_line(case: str, exports: dict[str, Path], tmp_path: Path) -> None:
    damage, message = DAMAGED[case]
    folder = Path(shutil.copytree(exports["truncate"], tmp_path / "folder"))
    damage(folder)
    with pytest.raises(FolderError, match=message) as refusal:
        bench(folder, seconds=0)
    assert "\n" not in str(refusal.value)


def test_a_model_that_its_card_knows_and_no_runtime_loads_is_refused(
    exports: dict[str, Path], tmp_path: Path
) -> None:
    import hashlib

    folder = Path(shutil.copytree(exports["truncate"], tmp_path / "folder"))
    (folder / "model.onnx").write_bytes(b"other")
    card(files={"model.onnx": {"sha256": hashlib.sha256(b"other").hexdigest()}})(folder)
    with pytest.raises(FolderError, match="cannot be loaded"):
        Exported(folder, 1)


def test_a_label_is_held_to_what_columns_take(exports: dict[str, Path]) -> None:
    with pytest.raises(FolderError, match="letters, digits"):
        bench(exports["truncate"], label="[red]")


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("NVIDIA Jetson Orin Nano Developer Kit", "NVIDIA-Jetson-Orin-Nano-Developer-Kit"),
        ("Intel(R) Xeon(R) Processor @ 2.10GHz", "Intel-Xeon"),
        ("???", "machine"),
        ("x" * 99, "x" * 40),
    ],
)
def test_a_machine_is_called_by_its_model(model: str, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundry_bench.runtimes.bench._model", lambda: model)
    assert default_label() == label
