"""The Python interface with odd encoders, data, devices, seeds, budgets and places: one line, before work."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import foundry_bench as fb
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.teachers import PointTransformer

NAN = float("nan")
EVALUATIONS: tuple[dict[str, Any], ...] = (
    {"device": "zzz"},
    {"device": 3},
    {"device": None},
    {"device": "meta"},
    {"device": torch.device("meta")},
    {"device": "cpu:1"},
    {"device": b"cpu"},
    {"task": 5},
    {"task": None},
    {"task": ""},
    {"dataset": 5},
    {"dataset": np.zeros((3, 10, 3))},
    {"budget": 3},
    {"budget": NAN},
    {"data_root": None},
    {"data_root": ""},
    {"data_root": "a\0b"},
    {"encoder": "small"},
    {"encoder": None},
    {"encoder": torch.nn.Linear(3, 3)},
)


def named(case: Any) -> str:
    return ascii(case)[:40]


@pytest.mark.parametrize("case", EVALUATIONS, ids=named)
def test_an_odd_evaluation_is_refused(case: dict[str, Any], tiny_teacher: PointTransformer) -> None:
    with pytest.raises(UserError, match=next(iter(case)).partition("_")[0]) as caught:
        fb.evaluate(**{"encoder": tiny_teacher, **case})
    assert_one_line(caught.value)


TRAININGS: tuple[dict[str, Any], ...] = (
    {"seed": NAN},
    {"seed": 1.0},
    {"seed": True},
    {"seed": -1},
    {"seed": 10**30},
    {"seed": "1"},
    {"device": 0},
    {"budget": {}},
    {"data": None},
    {"data": 5},
    {"data": torch.zeros(4, 10, 3)},
    {"teacher": "small"},
    {"teacher": None},
    {"student": "foundry"},
    {"student": None},
)


@pytest.mark.parametrize("case", TRAININGS, ids=named)
def test_an_odd_training_is_refused(
    case: dict[str, Any], tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = fb.make_student("foundry[supertokens=4]", tiny_teacher, clouds)
    with pytest.raises(UserError, match=next(iter(case))) as caught:
        fb.distill(**{"student": student, "teacher": tiny_teacher, "data": clouds, **case})
    assert_one_line(caught.value)


@pytest.mark.parametrize("case", [{"encoder": None}, {"reference": "small"}, {"dataset": 5}], ids=named)
def test_an_odd_profile_is_refused(case: dict[str, Any], tiny_teacher: PointTransformer) -> None:
    with pytest.raises(UserError) as caught:
        fb.profile(**{"encoder": tiny_teacher, "reference": tiny_teacher, **case})
    assert_one_line(caught.value)


EXPORTS: tuple[dict[str, Any], ...] = (
    {"encoder": "foundry"},
    {"folder": None},
    {"folder": ""},
    {"format": 5},
    {"format": ["onnx"]},
    {"dataset": 5},
)


@pytest.mark.parametrize("case", EXPORTS, ids=named)
def test_an_odd_export_is_refused(
    case: dict[str, Any], tiny_teacher: PointTransformer, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        fb.export(**{"encoder": tiny_teacher, "folder": tmp_path / "out", **case})
    assert_one_line(caught.value)
    assert not (tmp_path / "out").exists()


SWEEPS: tuple[dict[str, Any], ...] = (
    {"out": None},
    {"out": ""},
    {"out": 5},
    {"out": "/dev/null/x"},
    {"out": "a\0b"},
    {"config": ""},
    {"config": 5},
    {"config": {"methods": "teacher"}},
    {"track": "zzz"},
    {"track": 5},
    {"teacher": torch.nn.Linear(3, 3)},
    {"dataset": ""},
    {"dataset": Path("/nowhere/x")},
    {"device": torch.device("meta")},
    {"seeds": NAN},
    {"seeds": 10**6},
    {"jobs": True},
)


@pytest.mark.parametrize("case", SWEEPS, ids=named)
def test_an_odd_sweep_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        fb.run_sweep(**{"out": tmp_path / "new", "methods": "teacher", "tasks": "fewshot", **case})
    assert_one_line(caught.value)
    assert not (tmp_path / "new" / "cells" / "student").exists()


PLACES = ("", None, 5, "a\0b", "/proc/x/y", "/dev/null/x", "/etc/passwd/x", "a" * 300, "a/" * 3000)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place)[:20])
def test_an_encoder_is_not_saved_where_nothing_can_be_written(
    place: Any, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = fb.make_student("foundry[supertokens=4]", tiny_teacher, clouds)
    for save in (lambda: fb.save_student(student, place), lambda: fb.save_teacher(tiny_teacher, place, {})):
        with pytest.raises(UserError) as caught:
            save()
        assert_one_line(caught.value)


def first_number(weight: torch.Tensor) -> torch.Tensor:
    """The first number of a weight, to be changed in place however the weight lies in memory."""
    return weight[(0,) * weight.dim()]


@pytest.mark.parametrize("value", [NAN, float("inf"), 1e6], ids=str)
def test_weights_that_are_not_finite_replace_nothing(
    value: float, tmp_path: Path, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = fb.make_student("foundry[supertokens=4]", tiny_teacher, clouds)
    fb.save_student(student, tmp_path / "student")
    fb.save_teacher(tiny_teacher, tmp_path / "teacher", {})
    before = content(tmp_path)
    with torch.no_grad():
        first_number(next(p for p in student.parameters() if p.requires_grad)).fill_(value)
        first_number(next(tiny_teacher.parameters())).fill_(value)
    with pytest.raises(UserError, match="training has diverged") as caught:
        fb.save_teacher(tiny_teacher, tmp_path / "teacher", {})  # in half precision, 1e6 is infinite
    assert_one_line(caught.value)
    if value != 1e6:
        with pytest.raises(UserError, match="training has diverged") as caught:
            fb.save_student(student, tmp_path / "student")
        assert_one_line(caught.value)
    assert content(tmp_path) == before
    fb.load_student(tmp_path / "student")
    fb.load_teacher(tmp_path / "teacher")


@pytest.mark.parametrize("selector", ["foundry[supertokens=1,2]", "", "foundry+zzz"])
def test_a_selector_of_no_or_several_students_makes_none(
    selector: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    with pytest.raises(UserError):
        fb.make_student(selector, tiny_teacher, clouds)


BROKEN = {
    "points": (5, None, np.zeros((48, 64, 2), np.float32), np.zeros((48, 64, 3), np.int64), "text"),
    "labels": (None, np.zeros(3), 5),
    "series": (None, np.array([])),
    "paths": (None, np.array(["a"])),
    "sha256": (None, 5),
    "name": (None,),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BROKEN.items() for value in values], ids=named
)
def test_a_data_set_that_is_not_whole_is_refused(
    field: str, value: Any, clouds: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    with pytest.raises(UserError, match=field) as caught:
        fb.profile(tiny_teacher, tiny_teacher, replace(clouds, **{field: value}))
    assert_one_line(caught.value)


def content(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def assert_one_line(error: UserError) -> None:
    assert len(str(error).splitlines()) == 1
    assert str(error).isprintable()
