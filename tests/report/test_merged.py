"""Records of exported folders from other machines become columns of the leaderboard; what is no record is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from board_helpers import cells, frame
from click.testing import CliRunner

from foundry_bench.cli.leaderboard import leaderboard
from foundry_bench.errors import UserError
from foundry_bench.report.leaderboard import build
from foundry_bench.report.merged import merge, read_record

GOLDEN = Path(__file__).parents[1] / "golden" / "pipeline-3"
TEACHER = {"name": "small", "sha256": "t"}


def record(**changes: Any) -> dict[str, Any]:
    """A record of ``kd[depth=2]``, as ``foundry-bench bench`` writes it, as far as it is read."""
    student = {"method": "kd", "params": {"depth": 2}, "variant": "fmd", "version": "1"}
    baseline = {"method": "teacher", "params": {}, "variant": "off-the-shelf", "version": "1"}
    return {
        **{"format": "foundry-bench bench 1", "student": student, "teacher": TEACHER, "int8": False},
        "reference": {"student": baseline, "teacher": TEACHER},
        **{"label": "jetson", "runtime": {"name": "onnxruntime", "version": "1.2"}},
        "figures": {
            **{
                "latency_ms": 2.0,
                "latency_ratio": 0.4,
                "latency_ratio_iqr": 0.02,
                "latency_total_ratio": 0.6,
            },
            **{"latency_cpu_ratio": 0.41, "noisy": False},
        },
        **changes,
    }


def written(folder: Path, content: Any, name: str = "jetson.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """The cells of two rows."""
    rows = cells("kd", tmp_path, level=0.7, params='{"depth": 2}')
    return frame(rows, cells("kd", tmp_path, level=0.6, params='{"depth": 3}'))


def test_a_record_becomes_columns_of_its_row_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    merged, unmatched = merge(table, [written(tmp_path, record())])
    assert unmatched == []
    board = build(merged).set_index("params")
    assert board["latency_ratio_onnxruntime@jetson"].dropna().to_dict() == pytest.approx(
        {'{"depth": 2}': 0.4}
    )
    assert board["latency_total_ratio_onnxruntime@jetson"].iloc[0] == pytest.approx(0.6)
    assert board["noisy_onnxruntime@jetson"].tolist()[0] is False
    assert board["latency_ratio"].tolist() == [0.5, 0.5], "what was measured here stays"


def test_records_of_several_starts_are_averaged(table: pd.DataFrame, tmp_path: Path) -> None:
    slower = record(figures={**record()["figures"], "latency_ratio": 0.6, "noisy": True})
    files = [written(tmp_path, record()), written(tmp_path, slower, "b.json")]
    board = build(merge(table, files)[0])
    assert board["latency_ratio_onnxruntime@jetson"].iloc[0] == pytest.approx(0.5)
    assert board["noisy_onnxruntime@jetson"].tolist()[0] is True


def test_machines_and_int8_have_columns_of_their_own(table: pd.DataFrame, tmp_path: Path) -> None:
    others = [record(), record(label="phone"), record(int8=True)]
    files = [written(tmp_path, content, f"{number}.json") for number, content in enumerate(others)]
    columns = build(merge(table, files)[0]).columns
    for ending in ("onnxruntime@jetson", "onnxruntime@phone", "onnxruntime-int8@jetson"):
        assert f"latency_ratio_{ending}" in columns


def test_without_a_reference_there_are_times_and_no_ratio(table: pd.DataFrame, tmp_path: Path) -> None:
    ratios = dict.fromkeys(key for key in record()["figures"] if key.endswith(("ratio", "iqr")))
    alone = record(reference=None, figures={**record()["figures"], **ratios})
    board = build(merge(table, [written(tmp_path, alone)])[0])
    assert board["latency_ms_onnxruntime@jetson"].iloc[0] == 2.0
    assert board["latency_ratio_onnxruntime@jetson"].isna().all()


@pytest.mark.parametrize(
    "other",
    [
        {"student": {"method": "kd", "params": {"depth": 9}, "variant": "fmd"}},
        {"student": {"method": "kd", "params": {"depth": 2}, "variant": "off-the-shelf"}},
        {
            "teacher": {"sha256": "another"},
            "reference": {**record()["reference"], "teacher": {"sha256": "another"}},
        },
    ],
    ids=["params", "variant", "teacher"],
)
def test_a_record_of_no_row_is_told_in_one_line(
    table: pd.DataFrame, tmp_path: Path, other: dict[str, Any]
) -> None:
    file = written(tmp_path, record(**other))
    merged, unmatched = merge(table, [file])
    assert len(unmatched) == 1
    assert unmatched[0].startswith(f"{file} belongs to no row: kd[depth=")
    assert "\n" not in unmatched[0]
    assert build(merged)["latency_ratio_onnxruntime@jetson"].isna().all()


FIGURES = record()["figures"]
REFUSED: dict[str, Any] = {
    "empty": "",
    "cut": json.dumps(record())[:-9],
    "deep": "[" * 100_000,
    "list": [],
    "export": {**record(), "format": "foundry-bench export 1"},
    "lacks": {k: v for k, v in record().items() if k != "figures"},
    "nan": record(figures={**FIGURES, "latency_ratio": float("nan")}),
    "infinite": record(figures={**FIGURES, "latency_ms": float("inf")}),
    "text": record(figures={**FIGURES, "latency_ms": "[red]"}),
    "huge": record(figures={**FIGURES, "latency_ms": 10**18}),
    "negative": record(figures={**FIGURES, "latency_ratio": -0.1}),
    "zero": record(figures={**FIGURES, "latency_ms": 0}),
    "truth": record(figures={**FIGURES, "noisy": 1}),
    "label": record(label="[red]"),
    "line": record(label="a\nb"),
    "long": record(label="a" * 41),
    "runtime": record(runtime={"name": "a b"}),
    "params": record(student={"method": "kd", "params": [], "variant": "fmd"}),
    "student": record(student=None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_record_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    file = written(tmp_path, REFUSED[case])
    with pytest.raises(UserError, match=r"jetson\.json") as refusal:
        read_record(file)
    assert "\n" not in str(refusal.value)


def test_a_folder_a_large_file_and_none_are_refused(tmp_path: Path) -> None:
    large = written(tmp_path, " " * (2**20 + 1))
    for path in (tmp_path, large, tmp_path / "none"):
        with pytest.raises(UserError, match=path.name):
            read_record(path)


@pytest.mark.parametrize(
    "reference",
    [
        {"student": record()["student"], "teacher": TEACHER},
        {"student": record()["reference"]["student"], "teacher": {"sha256": "another"}},
        None,
    ],
    ids=["a student", "another teacher", "none"],
)
def test_a_ratio_to_something_else_than_the_teacher_is_refused(reference: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="beside something else than its teacher"):
        read_record(written(tmp_path, record(reference=reference)))


def test_the_command_line_merges_and_warns(tmp_path: Path) -> None:
    profile = next(
        content
        for content in map(
            json.loads, (f.read_bytes() for f in (GOLDEN / "cells" / "profile").glob("*.json"))
        )
        if content["inputs"]["method"]["name"] == "tome"
    )["inputs"]
    student = {"method": "tome", "params": profile["params"], "variant": profile["variant"]}
    teacher = {"sha256": profile["teacher"]["sha256"]}
    reference = {**record()["reference"], "teacher": teacher}
    fits = written(tmp_path, record(student=student, teacher=teacher, reference=reference), "fits.json")
    stray = written(tmp_path, record(), "stray.json")
    board = tmp_path / "board.csv"
    merging = ["--merge", str(fits), "--merge", str(stray)]
    done = CliRunner().invoke(leaderboard, [str(GOLDEN), *merging, "-o", str(board)])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("belongs to no row") == 1
    table = pd.read_csv(board)
    assert table["latency_ratio_onnxruntime@jetson"].dropna().tolist() == [0.4]
    assert table.loc[table["latency_ratio_onnxruntime@jetson"].notna(), "method"].tolist() == ["tome"]
