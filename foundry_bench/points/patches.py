"""Patches: what a cloud is cut into before anything is learned."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Patches:
    """Local groups of points, in the unit sphere (no unit).

    ``neighborhoods`` (B, T, K, 3) are relative to their centre, ``centers`` (B, T, 3) are absolute.
    """

    neighborhoods: Tensor
    centers: Tensor

    def __post_init__(self) -> None:
        if self.neighborhoods.dim() != 4 or self.neighborhoods.shape[-1] != 3:
            raise ValueError(f"neighborhoods must be (B, T, K, 3), got {tuple(self.neighborhoods.shape)}")
        if self.centers.shape != (*self.neighborhoods.shape[:2], 3):
            raise ValueError(f"centers must be (B, T, 3), got {tuple(self.centers.shape)}")

    def __len__(self) -> int:
        return self.centers.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Patches:
        return Patches(self.neighborhoods[index], self.centers[index])

    def to(self, *args: object, **kwargs: object) -> Patches:
        """Move or cast both tensors, as ``Tensor.to`` does."""
        return Patches(self.neighborhoods.to(*args, **kwargs), self.centers.to(*args, **kwargs))  # type: ignore[call-overload]
