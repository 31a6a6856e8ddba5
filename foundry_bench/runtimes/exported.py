"""An exported folder in ONNX Runtime: its graph, its golden clouds, and grouping in numpy.

numpy and onnxruntime are all that is imported here, as on the machine that the folder was exported for.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

EXPORTED, RUNTIME = "foundry-bench export 1", "onnxruntime"
MODEL, POINTS, GOLDEN = "model.onnx", "points.onnx", "golden.npz"
LARGEST = 2**20
"""Bytes of an ``export.json``."""
ALIKE = 0.9
"""R2 of the tokens here, of those in ``golden.npz``, below which it is not the exported student that runs."""


class FolderError(ValueError):
    """A folder that cannot be timed; one line that names the fix."""


class Exported:
    """The graph of an exported folder in a session with ``threads`` threads, and its golden clouds. Raises FolderError."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self.card = _card(folder)
        self.session = self._load(MODEL)
        self.points = self._load(POINTS) if (folder / POINTS).exists() else None
        try:
            with np.load(folder / GOLDEN, allow_pickle=False) as arrays:
                self.golden = {name: np.asarray(arrays[name], np.float32) for name in arrays.files}
            shapes = [self.golden[name].shape for name in ("points", "centers", "neighborhoods", "tokens")]
            _, self.groups, self.size, _ = shapes[2]
            if min(map(min, shapes)) < 1 or len({shape[0] for shape in shapes}) > 1:
                raise ValueError("clouds and tokens do not belong together")
        except Exception as error:  # a damaged zip file raises whatever its parts raise
            raise FolderError(f"{folder}/{GOLDEN} cannot be read ({error}); export it again") from error

    def _load(self, name: str) -> Any:
        """A session of one of the folder's graphs, which is the one that its card tells of."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise FolderError(
                f"{self.folder}/{name} cannot be read ({error.strerror}); export it again"
            ) from error
        if hashlib.sha256(content).hexdigest() != self.sha256(name):
            raise FolderError(
                f"{self.folder}/{name} is not the one that its export.json tells of; export it again"
            )
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has no common base of its errors
            raise FolderError(f"{self.folder}/{name} cannot be loaded ({str(error)[:200]})") from error

    def sha256(self, name: str = MODEL) -> str | None:
        """The hash of one of its files, by its card."""
        about = self.card["files"].get(name)
        return about.get("sha256") if isinstance(about, dict) else None

    def cloud(self, number: int) -> int:
        """The golden cloud of a turn."""
        return int(number % len(self.golden["points"]))

    def encode(self, number: int) -> Any:
        """Tokens (1, T, D) of a golden cloud's patches."""
        one = slice(self.cloud(number), self.cloud(number) + 1)
        return self._tokens(self.golden["centers"][one], self.golden["neighborhoods"][one])

    def total(self, number: int) -> Any:
        """The same, with the grouping of the cloud: within the graph where there is one for that, else in numpy."""
        cloud = self.golden["points"][self.cloud(number)]
        if self.points is not None:
            return self.points.run(["tokens"], {"points": cloud[None]})[0]
        return self._tokens(*group(cloud, self.groups, self.size))

    def _tokens(self, centers: np.ndarray, neighborhoods: np.ndarray) -> Any:
        return self.session.run(["tokens"], {"centers": centers, "neighborhoods": neighborhoods})[0]

    def agreement(self) -> tuple[float, float]:
        """R2 of its tokens here, of those that were exported with it, and their largest difference. Raises FolderError
        where they are not alike."""
        wanted = self.golden["tokens"]
        found = np.stack([self.encode(number)[0] for number in range(len(wanted))])
        rest, spread = np.square(found - wanted).sum(), np.square(wanted - wanted.mean((0, 1))).sum()
        r2 = float(1 - rest / spread)
        if not r2 >= ALIKE:
            raise FolderError(
                f"{self.folder} gives other tokens on this machine than it was exported with (R2 {r2:.3f}); export it again"
            )
        return r2, float(np.abs(found - wanted).max())

    def about(self) -> dict[str, Any]:
        """What it is, for the record."""
        r2, difference = self.agreement()
        return {
            "student": self.card["student"],
            "teacher": self.card["teacher"],
            "int8": bool(self.card.get("int8")),
            "model_sha256": self.sha256(),
            "grouping": POINTS if self.points is not None else "numpy",
            "r2": r2,
            "difference": difference,
        }


def _card(folder: Path) -> dict[str, Any]:
    try:
        with open(folder / "export.json", "rb") as file:
            card = json.loads(file.read(LARGEST))
    except OSError as error:
        raise FolderError(
            f"{folder} is no exported folder ({error.strerror}: export.json); make one with foundry-bench export"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{folder}/export.json is damaged ({str(error)[:80]}); export it again") from error
    blocks = ("teacher", "files")
    if not isinstance(card, dict) or card.get("format") != EXPORTED:
        raise FolderError(f"{folder}/export.json is of another format than {EXPORTED!r}; export it again")
    if card.get("runtime") != RUNTIME:
        raise FolderError(f"{folder} was exported for {card.get('runtime')!r}, and only {RUNTIME} is timed")
    if not all(isinstance(card.get(name), dict) for name in blocks) or "student" not in card:
        raise FolderError(f"{folder}/export.json lacks one of student, {', '.join(blocks)}; export it again")
    return card


def group(points: np.ndarray, groups: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (1, T, 3) and patches (1, T, K, 3) of a cloud (N, 3): farthest points from point 0, ties to the lowest index, and
    the nearest points less their centre."""
    x, y, z = (np.ascontiguousarray(axis) for axis in points.T)
    chosen = np.zeros(groups, int)
    distance = np.full(len(points), np.inf, points.dtype)
    for i in range(1, groups):
        dx, dy, dz = (axis - axis[chosen[i - 1]] for axis in (x, y, z))
        np.minimum(distance, dx * dx + dy * dy + dz * dz, out=distance)
        chosen[i] = distance.argmax()
    centers = points[chosen]
    squared = np.square(points).sum(1) - 2 * centers @ points.T
    nearest = np.argpartition(squared, size - 1, axis=1)[:, :size]
    return centers[None], (points[nearest] - centers[:, None])[None]
