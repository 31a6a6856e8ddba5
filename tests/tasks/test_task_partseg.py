"""Part segmentation trains on the training side, scores by ShapeNetPart's rules, and is the same for every encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.encoder import Encoder, Tokens
from foundry_bench.errors import UserError
from foundry_bench.heads.probing import groups_of
from foundry_bench.heads.segmentation import PartObjects, instance_iou
from foundry_bench.points.patches import Patches
from foundry_bench.tasks import partseg
from foundry_bench.tasks.partseg import PartSegmentation
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_task
from foundry_bench.training.finetuning import train_head

TASK = PartSegmentation(splits=1, eval_points=256)
CLASSES = ("so", "qfn_dfn", "diode_axial")


@pytest.fixture(scope="module")
def data() -> PointCloudDataset:
    """Every third object of three KiCad categories, and a few objects without parts."""
    kicad = load_kicad()
    wanted = np.isin(kicad.labels, [kicad.classes.index(name) for name in (*CLASSES, "relay")])
    rows = np.flatnonzero(wanted & (kicad.splits["seed0"] != ""))[::3]
    assert kicad.parts is not None
    picked = {name: getattr(kicad, name)[rows] for name in ("points", "labels", "series", "paths", "parts")}
    splits = {name: side[rows] for name, side in kicad.splits.items()}
    return replace(kicad, **picked, splits=splits, sha256=f"some of {kicad.sha256}")


class Recorder:
    """Stands in for the trainer: notes the rows it was given, and trains only as far as it is told."""

    def __init__(self, train: bool = False) -> None:
        self.rows: list[np.ndarray] = []
        self.seeds: list[int] = []
        self.train = train

    def __call__(
        self, head: Any, encoder: Any, loss: Any, rows: np.ndarray, recipe: Any, ctx: Context, **kw: Any
    ) -> None:
        self.rows.append(rows)
        self.seeds.append(ctx.seed)
        if self.train:
            train_head(head, encoder, loss, rows, recipe, ctx, **kw)
        head.eval()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """No training at all: scores are meaningless, and quick."""
    recorder = Recorder()
    monkeypatch.setattr(partseg, "train_head", recorder)
    return recorder


def values(
    task: PartSegmentation, encoder: Encoder, data: PointCloudDataset, ctx: Context | None = None
) -> list[float]:
    return [score.value for score in task.evaluate(encoder, data, ctx or Context()).values]


def test_it_keeps_the_task_contract(tiny_teacher: PointTransformer, data: PointCloudDataset) -> None:
    check_task(TASK, tiny_teacher, data, Context())


def test_the_seed_of_the_context_changes_nothing(
    tiny_teacher: PointTransformer, data: PointCloudDataset
) -> None:
    assert values(TASK, tiny_teacher, data) == values(TASK, tiny_teacher, data, Context(seed=7))


def majority(data: PointCloudDataset) -> float:
    """Category mIoU of the part that most training points of a category have."""
    objects = PartObjects.of(data, rotate=False)
    train, test = objects.sides("seed0")
    means = []
    for category in np.unique(objects.category[test]):
        own = [rows[objects.category[rows] == category] for rows in (train, test)]
        labels, tested = (objects.batch(rows)[1].numpy() for rows in own)
        constant = np.bincount(labels[labels >= 0]).argmax()
        guess = np.full_like(tested, constant)
        parts = objects.parts_of(int(category))
        means.append(np.mean([instance_iou(p, t, parts) for p, t in zip(guess, tested, strict=True)]))
    return float(np.mean(means))


def test_a_trained_head_beats_the_majority_part(
    tiny_teacher: PointTransformer, data: PointCloudDataset
) -> None:
    _, by_category = values(TASK, tiny_teacher, data)
    assert by_category > majority(data) + 0.1


def test_training_and_test_side_share_no_object_and_no_series(
    tiny_teacher: PointTransformer, data: PointCloudDataset, recorder: Recorder
) -> None:
    task = replace(TASK, splits=3)
    task.evaluate(tiny_teacher, data, Context())
    objects = PartObjects.of(data, rotate=True)
    assert len(recorder.rows) == 3
    for name, rows in zip(data.splits, recorder.rows, strict=True):
        test = objects.sides(name)[1]
        assert not set(rows) & set(test)
        assert not set(groups_of(objects.data)[rows]) & set(groups_of(objects.data)[test])
    scored = np.unique(np.concatenate([objects.sides(name)[1] for name in data.splits]))
    assert (task.scored(data) == scored).all()
    assert set(TASK.scored(data)) < set(scored)


def test_experts_learn_from_objects_that_are_never_scored(data: PointCloudDataset) -> None:
    supervision = TASK.supervision(data)
    assert supervision is not None
    assert len(supervision.rows)
    assert not set(supervision.rows) & set(replace(TASK, splits=3).scored(data))
    assert supervision.labels.shape == data.points[supervision.rows].shape[:2]


def test_every_encoder_gets_the_same_batches(
    tiny_teacher: PointTransformer, data: PointCloudDataset, recorder: Recorder
) -> None:
    TASK.evaluate(tiny_teacher, data, Context(seed=1))
    TASK.evaluate(PointTransformer(tiny_teacher.config), data, Context(seed=2))
    assert recorder.seeds[0] == recorder.seeds[1]


def test_objects_of_one_series_are_one_outcome(
    tiny_teacher: PointTransformer, data: PointCloudDataset, recorder: Recorder
) -> None:
    scores = replace(TASK, splits=3).evaluate(tiny_teacher, data, Context())
    objects = PartObjects.of(data, rotate=True)
    tested = np.concatenate([objects.sides(name)[1] for name in data.splits])
    clusters = len(set(groups_of(objects.data)[tested]))
    assert clusters < len(set(tested)) < len(tested)
    for score in scores.values:
        assert len(scores.outcomes[score.metric]) == score.n == clusters
        assert scores.outcomes[score.metric].mean() == pytest.approx(score.value)
        assert score.ci_low is not None
        assert score.ci_high is not None
        assert score.ci_low < score.value < score.ci_high
        assert score.ci_method is not None
        assert "cluster" in score.ci_method


class OnDisk:
    """An array of clouds that gives a few at a time and cannot be taken as a whole."""

    def __init__(self, clouds: np.ndarray) -> None:
        self.clouds, self.shape = clouds, clouds.shape

    def __len__(self) -> int:
        return len(self.clouds)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise AssertionError("the whole array was asked for")

    def __getitem__(self, key: Any) -> np.ndarray:
        found = self.clouds[key]
        assert len(found) <= 64
        return found


def test_clouds_are_streamed_from_disk(tiny_teacher: PointTransformer, data: PointCloudDataset) -> None:
    streamed = replace(data, points=OnDisk(np.asarray(data.points)))
    assert values(TASK, tiny_teacher, streamed) == values(TASK, tiny_teacher, data)


def test_large_caches_lie_in_a_file_that_goes_away(
    tiny_teacher: PointTransformer, data: PointCloudDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = values(TASK, tiny_teacher, data)
    monkeypatch.setattr(partseg, "IN_MEMORY", 0)
    assert values(TASK, tiny_teacher, data, Context(scratch=tmp_path)) == expected
    assert not list(tmp_path.iterdir())


class Spy(Encoder):
    """The teacher behind a door that notes what comes in."""

    def __init__(self, inner: PointTransformer) -> None:
        super().__init__()
        self.inner, self.config, self.seen = inner, inner.config, 0

    def tokenize(self, points: Tensor) -> Patches:
        assert points.shape[1] == self.config.points
        return super().tokenize(points)

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        assert levels
        self.seen += len(patches)
        return self.inner(patches, levels=True)


def test_a_frozen_encoder_sees_each_object_once(
    tiny_teacher: PointTransformer, data: PointCloudDataset
) -> None:
    spy = Spy(tiny_teacher)
    replace(TASK, splits=3).evaluate(spy, data, Context())
    objects = PartObjects.of(data, rotate=False)
    assert spy.seen == len(
        np.unique(np.concatenate([rows for name in data.splits for rows in objects.sides(name)]))
    )


def test_fine_tuning_trains_a_copy(tiny_teacher: PointTransformer, data: PointCloudDataset) -> None:
    tuned = replace(TASK, mode="finetune")
    check_task(tuned, tiny_teacher, data, Context())
    assert values(tuned, tiny_teacher, data) != values(TASK, tiny_teacher, data)


def test_fine_tuning_reaches_the_encoder(
    tiny_teacher: PointTransformer, data: PointCloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[Encoder] = []

    def note(head: Any, encoder: Any, *args: Any, **kwargs: Any) -> None:
        copies.append(encoder)
        train_head(head, encoder, *args, **kwargs)

    monkeypatch.setattr(partseg, "train_head", note)
    replace(TASK, mode="finetune").evaluate(tiny_teacher, data, Context())
    before, after = tiny_teacher.state_dict(), copies[0].state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert {"tokenizer", "positional_encoding", "blocks"} <= changed


@pytest.mark.parametrize("wrong", [{"mode": "svm"}, {"splits": 0}, {"eval_points": -1}])
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PartSegmentation(**wrong)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_every_budget_has_a_training_and_others_do_not(mode: str) -> None:
    task = PartSegmentation(mode=mode)
    epochs = [task.training(budget).recipe.epochs for budget in ("quick", "standard", "paper")]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 300
    assert (task.training("paper").recipe.frozen_epochs == 0) == (mode == "finetune")
    with pytest.raises(UserError, match="unknown budget"):
        task.training("lavish")
