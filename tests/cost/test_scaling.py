"""Costs against size: parts apart, a budget that is kept from outside, and every ending a row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from foundry_bench.cli import main
from foundry_bench.cost import scaling
from foundry_bench.cost.macs import count_macs
from foundry_bench.cost.scaling import LATE, OK, SHORT, ScaleRow, measure_scaling
from foundry_bench.cost.scaling_child import FUSED, PLAIN, Case, cloud_of, scale
from foundry_bench.datasets import load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.report.scaling import write_scaling
from foundry_bench.students.files import make_student
from foundry_bench.teachers import load_teacher


@pytest.fixture(scope="module")
def teacher() -> Encoder:
    return load_teacher("small")


@pytest.fixture(scope="module")
def cloud() -> torch.Tensor:
    return torch.from_numpy(load_kicad().points[3].astype("float32"))


@pytest.fixture(scope="module")
def rows(teacher: Encoder, cloud: torch.Tensor) -> list[ScaleRow]:
    """The teacher at two sizes, then with too little memory for the attention of the larger one."""
    cases = [Case(1000, 64, FUSED), Case(3000, 1024, PLAIN)]
    free = list(measure_scaling([("teacher", teacher)], cloud, cases, seconds=0))
    budget = int(1e6 * (free[1].base_mb + 0.6 * (free[1].peak_mb - free[1].base_mb)))
    return free + list(measure_scaling([("teacher", teacher)], cloud, cases, seconds=0, memory=budget))


def test_the_parts_of_a_pass_are_measured_apart(rows: list[ScaleRow]) -> None:
    small, large = rows[:2]
    assert (small.status, small.cloud, large.cloud) == (OK, "real", "resampled")
    assert large.decoder_mb is None, "a teacher has no decoder"
    weights = 1024**2 * 3 * 4 / 1e6
    assert weights < large.encoder_mb < 10 * weights
    assert large.tokenizer_mb < weights
    assert large.peak_mb == pytest.approx(large.base_mb + large.encoder_mb, rel=0.01)
    assert large.encode_cpu_ms > small.encode_cpu_ms > 0


def test_multiply_adds_are_those_of_the_counter(rows: list[ScaleRow], teacher: Encoder) -> None:
    counted = count_macs(teacher, teacher.tokenize(torch.from_numpy(load_kicad().points[3:4, :1024])))
    assert rows[0].gmacs == pytest.approx(counted.total / 1e9)
    assert rows[0].gmacs_encoder == pytest.approx(counted.encoder / 1e9)


def test_a_process_that_passes_the_budget_is_a_row_that_names_the_part(rows: list[ScaleRow]) -> None:
    small, large = rows[2:]
    assert (small.status, small.stage) == (OK, None)
    assert (large.status, large.stage) == (SHORT, "encoder")
    assert large.encode_cpu_ms is None
    assert large.gmacs == rows[1].gmacs


def test_a_size_that_takes_too_long_is_a_row(teacher: Encoder, cloud: torch.Tensor, monkeypatch) -> None:
    monkeypatch.setattr(scaling, "_hear", lambda wire, told: True)
    (row,) = measure_scaling([("teacher", teacher)], cloud, [Case(1000, 64)], timeout=0.01)
    assert row.status == LATE
    assert "0.01 seconds" in str(row.reason)


class Broken(torch.nn.Module):
    """No encoder at all."""


def test_an_encoder_that_fails_is_a_row_with_its_reason(cloud: torch.Tensor) -> None:
    (row,) = measure_scaling([("broken", Broken())], cloud, [Case(1000, 64)])
    assert row.status == "failed"
    assert "Broken" in str(row.reason)
    assert row.gmacs is None


def test_what_a_method_merges_grows_with_the_groups_and_supertokens_do_not(teacher: Encoder) -> None:
    data = load_kicad()
    tome, foundry = (make_student(s, teacher, data) for s in ("tome[r=8]", "foundry[supertokens=16]"))
    assert scale(tome, Case(4096, 256)) == "r=32"
    assert (tome.r, tome.config.groups, tome.config.points) == (32, 256, 4096)
    assert scale(foundry, Case(4096, 256)) == ""
    patches = foundry.tokenize(cloud_of(torch.from_numpy(data.points[0].astype("float32")), 4096))
    assert foundry(patches).features.shape == (1, 256, teacher.config.dim)


def test_clouds_of_more_points_lie_near_the_real_ones(cloud: torch.Tensor) -> None:
    assert torch.equal(cloud_of(cloud, 512)[0], cloud[:512])
    many = cloud_of(cloud, 5000)
    assert many.shape == (1, 5000, 3)
    assert torch.cdist(many[0], cloud).amin(dim=1).max() < 0.04
    assert len(many[0].unique(dim=0)) == 5000


def test_the_table_holds_every_row_and_a_figure_is_drawn(rows: list[ScaleRow], tmp_path: Path) -> None:
    write_scaling(rows, tmp_path / "new")
    with (tmp_path / "new" / "scaling.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["status"] for row in read] == [OK, OK, OK, SHORT]
    assert read[3]["encode_cpu_ms"] == ""
    assert (tmp_path / "new" / "scaling.png").stat().st_size > 10_000
    assert "</svg>" in (tmp_path / "new" / "scaling.svg").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--points", "1k,x"), "write them as 1k,10k or 64..4096"),
        (("--memory", "6"), "write it as 6GB or 500MB"),
        (("--points", "100", "--groups", "128"), "raise --points or lower --groups"),
        (("--groups", "8192", "--points", "10k"), "groups must be in [1, 4096]"),
        (("fondry",), "did you mean 'foundry'?"),
    ],
)
def test_a_mistake_is_one_line(options: tuple[str, ...], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["scale", *options])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_command_writes_its_table_with_whole_selectors(tmp_path: Path, capsys) -> None:
    arguments = ["scale", "tome[r=8]", "--points", "1k", "--groups", "16..64", "--attention", "fused"]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--seconds", "0", "-o", str(tmp_path / "out")])
    assert left.value.code == 0
    assert "tome[r=8]" in capsys.readouterr().out.replace("\n", "")
    with (tmp_path / "out" / "scaling.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [(row["student"], row["groups"], row["knob"]) for row in read] == [
        ("tome[r=8]", "16", "r=2"),
        ("tome[r=8]", "64", "r=8"),
    ]
