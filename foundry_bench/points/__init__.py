"""Point clouds as tensors: sampling, grouping, normalisation and augmentation. z is up."""

from foundry_bench.points.farthest import farthest_point_sample
from foundry_bench.points.neighbors import nearest_neighbors
from foundry_bench.points.sampling import gather, group
from foundry_bench.points.transforms import augment, normalize, random_angles, rotate_about_up

__all__ = [
    "augment",
    "farthest_point_sample",
    "gather",
    "group",
    "nearest_neighbors",
    "normalize",
    "random_angles",
    "rotate_about_up",
]
