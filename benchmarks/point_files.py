"""Processor time to read point files, and to index and start on a folder of many, on files that this script makes.

``python benchmarks/point_files.py --clouds 10000 --points 2000`` prints a table; run it in two checkouts to compare them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from foundry_bench.datasets.cloud_files import READERS, read_cloud
from foundry_bench.datasets.folder import load_folder

REPEATS = 5


def write_files(folder: Path, cloud: np.ndarray) -> list[Path]:
    """One file of each format, without the libraries that read them."""
    count = len(cloud)
    names = {name: folder / name for name in ("a.npy", "a.npz", "a.xyz", "a.csv")}
    np.save(names["a.npy"], cloud)
    np.savez(names["a.npz"], points=cloud)
    np.savetxt(names["a.xyz"], cloud, "%.6f")
    np.savetxt(names["a.csv"], cloud, "%.6f", delimiter=",", header="x,y,z", comments="")
    text, binary = names["a.xyz"].read_bytes(), cloud.astype("<f4").tobytes()
    axes = "property float x\nproperty float y\nproperty float z\n"
    fields = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n"
    for style, body in (("ascii", text), ("binary_little_endian", binary)):
        path = folder / f"{style}.ply"
        path.write_bytes(
            f"ply\nformat {style} 1.0\nelement vertex {count}\n{axes}end_header\n".encode() + body
        )
    for style, body in (("ascii", text), ("binary", binary)):
        path = folder / f"{style}.pcd"
        path.write_bytes(f"{fields}WIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA {style}\n".encode() + body)
    return sorted(folder.iterdir())


def processor_time(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of processor time of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--clouds", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=200_000, help="points of the file of each format")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FOUNDRY_BENCH_CACHE"] = str(folder / "cache")
        for points in (options.points, options.large):
            files = folder / f"{points}"
            files.mkdir()
            for path in write_files(files, rng.normal(size=(points, 3)).astype(np.float32)):
                if path.suffix in READERS:
                    seconds = processor_time(lambda path=path: np.array(read_cloud(path)))
                    print(f"read {path.name:<26} {points:>7} points {1000 * seconds:9.3f} ms")
        (folder / "many").mkdir()
        old = time.time() - 3600
        for number in range(options.clouds):
            path = folder / "many" / f"{number:06}.npy"
            np.save(path, rng.normal(size=(options.points, 3)).astype(np.float32))
            os.utime(path, (old, old))
        time.sleep(3)  # files that were just written are read again
        for start in ("first start", "second start"):
            seconds = processor_time(lambda: load_folder(folder / "many"), 1)
            print(f"{start} on {options.clouds} clouds {seconds:9.2f} s")


if __name__ == "__main__":
    main()
