"""Tokens on the clouds: in the teacher's principal components, by group, and by their error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from foundry_bench.figures import clouds
from foundry_bench.figures.looked import Looked
from foundry_bench.figures.seen import Made, Seen, colour_bar, colour_map, objects_table, sheet


def pca(found: Seen) -> Made:
    """Tokens of teacher and student in the first three principal components of the teacher's, as red, green and blue."""
    looked = found.looked
    fitted = PCA(3, svd_solver="covariance_eigh").fit(looked.teacher.flatten(0, 1).numpy())
    low, high = np.percentile(fitted.transform(looked.teacher.flatten(0, 1).numpy()), [2, 98], axis=0)
    figure, axes = sheet(len(found.shown), 3)
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        panels = [np.full_like(points, 0.6)]
        for tokens in (looked.teacher[cloud], looked.student[cloud]):
            colours = (fitted.transform(tokens.numpy()) - low) / (high - low)
            panels.append(clouds.mixed(points, centers, np.clip(colours, 0, 1)))
        titles = (found.title(cloud), "teacher", "student")
        for column, (colours, title) in enumerate(zip(panels, titles, strict=True)):
            clouds.draw(axes[row, column], points, colours, title)
    shares = fitted.explained_variance_ratio_
    figure.suptitle(
        f"tokens in the teacher's first three components ({100 * shares.sum():.0f} % of its variance)"
    )
    return figure, objects_table(found)


def groups(found: Seen) -> Made | None:
    """Tokens by the SuperToken or the merged row that stands for them; None for a student that groups nothing."""
    index = groups_of(found.looked)
    if index is None:
        return None
    figure, axes = sheet(len(found.shown), 1, wide=True)
    rows = []
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        of_tokens = index[cloud].numpy()
        used, sizes = np.unique(of_tokens, return_counts=True)
        many = f"{len(used)} group{'s' * (len(used) > 1)} of {len(of_tokens)} tokens"
        title = f"{found.title(cloud)}\n{many}, {int((sizes == 1).sum())} alone"
        colours = clouds.of_nearest(points, centers, clouds.colours_of_groups(of_tokens))
        clouds.draw(axes[0, row], points, colours, title)
        rows += [(found.looked.names[cloud], int(g), int(n)) for g, n in zip(used, sizes, strict=True)]
    figure.suptitle("tokens by the SuperToken or merged row that stands for them; grey stands alone")
    return figure, pd.DataFrame(rows, columns=["object", "group", "tokens"])


def groups_of(looked: Looked) -> torch.Tensor | None:
    """The group (n, T) of every token, or None: the SuperToken that has most of it, or the row that it reads."""
    if "assignment" in looked.aux:
        return looked.aux["assignment"].argmax(dim=-1)
    source = looked.aux.get("source")
    return None if source is None or _each_for_itself(source) else source.long()


def _each_for_itself(source: torch.Tensor) -> bool:
    return all(len(row.unique()) == len(row) for row in source)


def errors(found: Seen) -> Made:
    """The squared error of every token as a share of the tokens' variance, one scale for all clouds."""
    every = found.looked.errors
    most = max(float(np.percentile(every.numpy(), 99)), 1e-9)
    map_ = colour_map("magma")
    figure, axes = sheet(len(found.shown), 1, wide=True)
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        colours = map_(np.clip(every[cloud].numpy() / most, 0, 1))[:, :3]
        clouds.draw(axes[0, row], points, clouds.mixed(points, centers, colours), found.title(cloud))
    colour_bar(figure, axes, map_, most)
    figure.suptitle("squared error of a token / variance of the teacher's tokens")
    return figure, objects_table(found)
