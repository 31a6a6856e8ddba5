"""Ridge from sums is ridge from rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from foundry_bench.heads.ridge import Moments, ridge


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)
    rows = torch.randn(200, 6, generator=generator) * torch.logspace(-3, 3, 6) + 5
    rows[:, 1] += labels * 0.02
    return rows, labels


def test_it_is_the_ridge_regression_of_standardised_features(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = rows
    found = ridge(Moments.of(x, y, 3), strength=0.3)
    wide = StandardScaler().fit_transform(x.double().numpy())
    reference = Ridge(alpha=0.3 * len(x)).fit(wide, np.eye(3)[y.numpy()])
    ours = x.double() @ found.weight.double() + found.bias.double()
    assert ours.numpy() == pytest.approx(reference.predict(wide), abs=1e-3)
    assert np.mean(found(x).numpy() == y.numpy()) > 0.5


def test_sums_of_pieces_are_the_sums_of_the_whole(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = rows
    whole = ridge(Moments.of(x, y, 3), 0.1)
    pieces = ridge(Moments.zero(6, 3) + Moments.of(x[:50], y[:50], 3) + Moments.of(x[50:], y[50:], 3), 0.1)
    assert torch.allclose(whole.weight, pieces.weight, rtol=1e-4)


def test_the_scale_of_features_does_not_matter_and_constant_ones_do_not_count(
    rows: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, y = rows
    plain = ridge(Moments.of(x, y, 3), 0.1)
    scaled = ridge(Moments.of(torch.cat([100 * x, torch.full((200, 2), 7.3)], dim=1), y, 3), 0.1)
    assert torch.allclose(plain.weight, 100 * scaled.weight[:6], rtol=1e-3, atol=1e-6)
    assert not scaled.weight[6:].any()


def test_a_class_that_was_never_seen_is_never_answered(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = rows
    answers = ridge(Moments.of(x, y, 5), 0.1)(
        10 * torch.randn(500, 6, generator=torch.Generator().manual_seed(1))
    )
    assert set(answers.tolist()) <= {0, 1, 2}
