"""Fixtures shared by all tests: a tiny teacher with random weights and a few real clouds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from foundry_bench.beforehand import plugin_files
from foundry_bench.datasets import PointCloudDataset, load_pretrain
from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers.transformer import PointTransformer

torch.set_num_threads(1)  # tensors are tiny here: on a busy machine threads only wait for each other

TINY = EncoderConfig(
    dim=32, depth=3, heads=4, groups=16, group_size=8, points=256, tokenizer_widths=(16, 32, 32)
)


def subset(data: PointCloudDataset, count: int) -> PointCloudDataset:
    """``count`` objects spread over the data set."""
    rows = slice(None, None, len(data.points) // count)
    fields = ("points", "labels", "series", "paths")
    return replace(
        data,
        **{f: getattr(data, f)[rows][:count] for f in fields},
        sha256=f"first {count} of {data.sha256}",
        splits={k: v[rows][:count] for k, v in data.splits.items()},
        parts=None,
    )


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What readers keep of data sets goes where the tests' other files are, not into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_plugin_files() -> Iterator[None]:
    """A plugin file that a test puts to use is forgotten at its end, as other tests count what is registered."""
    with plugin_files.used_for_a_while():
        yield


@pytest.fixture
def tiny_teacher() -> PointTransformer:
    torch.manual_seed(0)
    return PointTransformer(TINY).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def clouds() -> PointCloudDataset:
    return subset(load_pretrain(), 48)
