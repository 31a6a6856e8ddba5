#!/usr/bin/env python3
"""Run an exported encoder on a cloud: needs NumPy and ONNX Runtime only (pip install numpy onnxruntime).

  python run.py cloud.npy                 one cloud (N, 3): tokens and descriptor; -o out.npz keeps them
  python run.py cloud.npy --as-is         the cloud lies in the unit sphere already and has as many points as wanted
  python run.py --check                   the golden clouds of this folder against what PyTorch made of them

export.json beside this file says how a cloud is prepared; the functions below do it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def thin(cloud: np.ndarray, count: int) -> np.ndarray:
    """``count`` points of a cloud (N, 3), drawn evenly and the same ones every time; all of a smaller one."""
    if len(cloud) <= count:
        return cloud
    rows = np.random.default_rng(0).choice(len(cloud), count, replace=False)
    return cloud[np.sort(rows)]


def normalize(cloud: np.ndarray) -> np.ndarray:
    """The cloud (N, 3) with its centroid at 0 and its largest norm 1."""
    centered = cloud - cloud.mean(axis=0, dtype=np.float32)
    return centered / max(float(np.sqrt(np.square(centered).sum(axis=1)).max()), 1.2e-7)


def farthest_points(cloud: np.ndarray, count: int) -> np.ndarray:
    """Indices (count,) of farthest point sampling on (N, 3), from point 0; ties go to the lowest index."""
    x, y, z = (np.ascontiguousarray(axis) for axis in cloud.T)
    chosen = np.zeros(count, np.int64)
    distance = np.full(len(cloud), np.inf, np.float32)
    last = 0
    for i in range(1, count):
        dx, dy, dz = x - x[last], y - y[last], z - z[last]
        distance = np.minimum(distance, dx * dx + dy * dy + dz * dz)
        last = int(distance.argmax())
        chosen[i] = last
    return chosen


def group(cloud: np.ndarray, groups: int, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (1, T, 3) and, relative to them, their nearest points (1, T, K, 3) of a cloud (N, 3)."""
    centers = cloud[farthest_points(cloud, groups)]
    closeness = np.square(cloud).sum(axis=1) - 2 * centers @ cloud.T
    nearest = np.argpartition(closeness, group_size - 1, axis=1)[:, :group_size]
    return centers[None], (cloud[nearest] - centers[:, None])[None]


def session_of(path: Path, threads: int) -> Any:
    """ONNX Runtime's session of a graph, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def encode(session: Any, **arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (T, D) and descriptor (2D,) of one cloud: ``centers`` and ``neighborhoods``, or ``points``."""
    feeds = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    tokens, descriptor = session.run(["tokens", "descriptor"], feeds)
    return tokens[0], descriptor[0]


def read(path: Path) -> np.ndarray:
    """The points (N, 3) of a .npy file, or of a text file with x, y, z in front in every line."""
    try:
        cloud = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        sys.exit(f"{path} cannot be read ({error}); give an (N, 3) array as .npy or as text")
    if cloud.ndim != 2 or cloud.shape[1] < 3:
        sys.exit(f"{path} has the shape {cloud.shape}; give one cloud (N, 3)")
    cloud = cloud[:, :3].astype(np.float32)
    if not np.isfinite(cloud).all():
        sys.exit(f"{path} has NaN or infinite coordinates; remove those points first")
    return cloud


def check(card: dict[str, Any], threads: int) -> int:
    """Run the golden clouds through the graphs and this file's own grouping; 0 where all agree."""
    with np.load(HERE / "golden.npz", allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    sizes, clouds = card["sizes"], len(golden["points"])
    model = session_of(HERE / card["model"], threads)
    ways: dict[str, list[np.ndarray]] = {"patches": [], "points": []}
    for i in range(clouds):
        given = {name: golden[name][i : i + 1] for name in ("centers", "neighborhoods")}
        ways["patches"].append(encode(model, **given)[0])
        centers, neighborhoods = group(golden["points"][i], sizes["groups"], sizes["group_size"])
        ways["points"].append(encode(model, centers=centers, neighborhoods=neighborhoods)[0])
    if (HERE / "points.onnx").exists():
        whole = session_of(HERE / "points.onnx", threads)
        rows = [encode(whole, points=golden["points"][i : i + 1])[0] for i in range(clouds)]
        ways["points.onnx"] = rows
    right, failed = golden["tokens"], 0
    variance = np.square(right - right.mean(axis=(0, 1))).mean()
    for name, rows in ways.items():
        off = np.stack(rows) - right
        share = float(np.abs(off).max() / np.sqrt(np.square(right).mean()))
        r2 = float(1 - np.square(off).mean() / variance)
        good = r2 >= card["parity"]["least_r2"] if card["int8"] else share <= card["parity"]["tolerance"]
        failed += not good
        print(
            f"{'ok' if good else 'WRONG':5} {name}: {clouds} clouds, largest difference {share:.1e}, R2 {r2:.5f}"
        )
    return int(failed > 0)


def main() -> int:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cloud", nargs="?", type=Path, help=".npy, or text with x, y, z in every line")
    parser.add_argument("-o", "--out", type=Path, help=".npz for tokens and descriptor")
    parser.add_argument(
        "--as-is", action="store_true", help="neither thin nor normalise the cloud; z is up either way"
    )
    parser.add_argument("--points", type=int, help="points to thin the cloud to [as in training]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="run the golden clouds")
    given = parser.parse_args()
    card = json.loads((HERE / "export.json").read_text())
    if given.check:
        return check(card, given.threads)
    if given.cloud is None:
        parser.error("give a cloud, or --check")
    sizes, cloud = card["sizes"], read(given.cloud)
    if not given.as_is:
        cloud = normalize(thin(cloud, given.points or sizes["points"]))
    if len(cloud) < max(sizes["groups"], sizes["group_size"]):
        sys.exit(f"{given.cloud} has {len(cloud)} points, too few for {sizes['groups']} patches")
    centers, neighborhoods = group(cloud, sizes["groups"], sizes["group_size"])
    model = session_of(HERE / card["model"], given.threads)
    tokens, descriptor = encode(model, centers=centers, neighborhoods=neighborhoods)
    if given.out is not None:
        np.savez(given.out, tokens=tokens, descriptor=descriptor)
    numbers = " ".join(f"{value:.4f}" for value in descriptor[:8])
    print(f"tokens {tokens.shape}, descriptor {descriptor.shape}: {numbers} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
