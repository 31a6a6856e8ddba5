"""Farthest point sampling of one large cloud, exact, that looks only at the points near each new centre.

Points are dealt into boxes. A new centre lowers the distances of points that are nearer to it than to all centres before, so a
box that is as far from it as its own largest distance stays as it is: late centres touch a few boxes of thousands. The idea is
that of Han et al., QuickFPS, TCAD 2023; here the choice among ties is the plain loop's as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOX = 128
"""Most points of a box. Half or twice as many take about as long."""


@dataclass(frozen=True)
class Boxes:
    """A cloud of N points in M boxes of S rows.

    ``points`` (M, 3, S), and their numbers ``ids`` (M, S), which ascend in a box; rows too many have ``ids`` of N or more and
    repeat point 0. ``low`` and ``high`` (3, M) are the corners of the boxes.
    """

    points: np.ndarray
    ids: np.ndarray
    low: np.ndarray
    high: np.ndarray


def farthest_by_boxes(cloud: np.ndarray, count: int) -> np.ndarray:
    """Numbers (count,) of farthest point sampling on ``cloud`` (N, 3), from point 0, ties to the lowest number.

    The same as of the plain loop, to the last: distances are the same sums of the same squares in the cloud's own precision,
    and rounding does not bring a point nearer than its box.
    """
    boxes = in_boxes(cloud)
    distance = np.where(boxes.ids < len(cloud), np.inf, -np.inf).astype(cloud.dtype)
    largest = distance.max(axis=1)
    farthest = np.zeros(len(largest), dtype=np.int64)
    chosen = np.zeros(count, dtype=np.int64)
    for i in range(1, count):
        center = cloud[chosen[i - 1]]
        near = np.flatnonzero(_from_boxes(boxes, center) < largest)
        if len(near):
            lowered = np.minimum(distance[near], _squared(boxes.points[near] - center[:, None]))
            best = lowered.argmax(axis=1)
            distance[near] = lowered
            largest[near] = lowered[np.arange(len(near)), best]
            farthest[near] = boxes.ids[near, best]
        chosen[i] = farthest[largest == largest.max()].min()
    return chosen


def in_boxes(cloud: np.ndarray) -> Boxes:
    """``cloud`` (N, 3) halved at the median of each part's longest side until at most :data:`BOX` points are in a box."""
    halvings = max(0, int(np.ceil(np.log2(len(cloud) / BOX))))
    size = -(-len(cloud) // 2**halvings)
    ids = np.arange(size * 2**halvings)[None]
    for _ in range(halvings):
        inside = cloud[np.where(ids < len(cloud), ids, 0)]
        longest = np.ptp(inside, axis=1).argmax(axis=1)
        along = np.take_along_axis(inside, longest[:, None, None], axis=2)[..., 0]
        half = ids.shape[1] // 2
        ids = np.take_along_axis(ids, along.argpartition(half, axis=1), axis=1).reshape(-1, half)
    ids = np.sort(ids, axis=1)
    points = np.ascontiguousarray(cloud[np.where(ids < len(cloud), ids, 0)].transpose(0, 2, 1))
    return Boxes(points, ids, points.min(axis=2).T.copy(), points.max(axis=2).T.copy())


def _from_boxes(boxes: Boxes, center: np.ndarray) -> np.ndarray:
    """Squared distances (M,) of the boxes from ``center`` (3,)."""
    gap = np.maximum(boxes.low - center[:, None], center[:, None] - boxes.high)
    return _squared(np.maximum(gap, 0)[None])[0]


def _squared(gaps: np.ndarray) -> np.ndarray:
    """Gaps (M, 3, S), which are overwritten, -> squared lengths (M, S), summed in the order of the plain loop."""
    np.multiply(gaps, gaps, out=gaps)
    total: np.ndarray = gaps[:, 0]
    total += gaps[:, 1]
    total += gaps[:, 2]
    return total
