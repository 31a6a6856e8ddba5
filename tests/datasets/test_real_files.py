"""Each reader gives what the library that wrote the file holds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import laspy
import numpy as np
import pandas as pd
import pytest
import trimesh
from plyfile import PlyData, PlyElement
from pypcd4 import Encoding, PointCloud

from foundry_bench.datasets.cloud_files import EXTRAS, READERS, finite_rows, read_cloud
from foundry_bench.datasets.readers.hdf5 import open_hdf5, own_array

CLOUD = np.random.default_rng(5).normal(size=(300, 3)) * [1, 20, 300] + [5e5, 4e6, 100]
GAPS = CLOUD.copy()
GAPS[::4] = np.nan


def write_ply(path: Path, text: bool, order: str, faces: bool, kind: str = "f8") -> None:
    vertex = np.zeros(len(CLOUD), [("red", "u1"), *((axis, kind) for axis in "xyz"), ("nx", "f4")])
    for number, axis in enumerate("xyz"):
        vertex[axis] = CLOUD[:, number]
    face = np.empty(2, [("vertex_indices", "O"), ("flag", "u1")])
    face["vertex_indices"] = [np.array([0, 1, 2], "i4"), np.array([3, 4, 5, 6], "i4")]
    elements = [PlyElement.describe(vertex, "vertex", comments=["café".encode().decode("ascii", "ignore")])]
    if faces:
        elements.append(PlyElement.describe(face, "face"))
    PlyData(elements, text=text, byte_order=order).write(path)


def write_pcd(path: Path, encoding: Encoding, cloud: np.ndarray = CLOUD) -> None:
    fields, kinds = ("x", "intensity", "y", "z"), (np.float64, np.uint8, np.float64, np.float64)
    columns = [cloud[:, 0], np.arange(len(cloud), dtype=np.uint8), cloud[:, 1], cloud[:, 2]]
    PointCloud.from_points(columns, fields, kinds).save(path, encoding)


def write_las(path: Path, version: str, point_format: int) -> None:
    header = laspy.LasHeader(version=version, point_format=point_format)
    header.offsets, header.scales = CLOUD.min(axis=0), np.full(3, 1e-6)
    las = laspy.LasData(header)
    las.x, las.y, las.z = CLOUD.T
    las.write(path)


def write_frame(path: Path, names: list[str], cloud: np.ndarray = CLOUD, **options: object) -> None:
    """A table of a time, the coordinates and an intensity under the last five ``names``."""
    extra = np.linspace(0, 1, len(cloud))
    pd.DataFrame(np.column_stack([extra, cloud, extra * 9]), columns=names).to_csv(path, **options)


NAMES = ["t", "x", "y", "z", "i"]
WRITERS: dict[str, Callable[[Path], object]] = {
    "double.npy": lambda path: np.save(path, CLOUD),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(CLOUD)),
    "big-endian.npy": lambda path: np.save(path, CLOUD.astype(">f8")),
    "stored.npz": lambda path: np.savez(path, points=CLOUD, labels=np.arange(300)),
    "packed.npz": lambda path: np.savez_compressed(path, np.asfortranarray(CLOUD)),
    "text.ply": lambda path: write_ply(path, True, "=", faces=False),
    "text-mesh.ply": lambda path: write_ply(path, True, "=", faces=True),
    "little.ply": lambda path: write_ply(path, False, "<", faces=False),
    "big-mesh.ply": lambda path: write_ply(path, False, ">", faces=True),
    "ascii.pcd": lambda path: write_pcd(path, Encoding.ASCII),
    "binary.pcd": lambda path: write_pcd(path, Encoding.BINARY),
    "compressed.pcd": lambda path: write_pcd(path, Encoding.BINARY_COMPRESSED),
    "old.las": lambda path: write_las(path, "1.2", 3),
    "new.las": lambda path: write_las(path, "1.4", 7),
    "old.laz": lambda path: write_las(path, "1.2", 3),
    "new.laz": lambda path: write_las(path, "1.4", 6),
    "index.csv": lambda path: write_frame(path, NAMES),
    "no-index.csv": lambda path: write_frame(path, NAMES, index=False),
    "named-index.csv": lambda path: write_frame(path, NAMES, index_label="x of the row"),
    "units.csv": lambda path: write_frame(path, ["time [s]", "x [m]", "y [m]", "z [m]", "i"], index=False),
    "units.txt": lambda path: write_frame(path, ["t(s)", "X (m)", "Y (m)", "Z (m)", "i"], index=False, sep="\t"),
    "survey.csv": lambda path: write_frame(path, ["id", "easting", "northing", "elevation", "i"], index=False),
    "semicolons.csv": lambda path: write_frame(path, NAMES, index=False, sep=";"),
    "decimal-commas.csv": lambda path: write_frame(path, NAMES, index=False, sep=";", decimal=","),
    "tabs.txt": lambda path: write_frame(path, NAMES, index=False, sep="\t"),
    "spaces.xyz": lambda path: write_frame(path, NAMES, index=False, sep=" "),
    "numbered.csv": lambda path: pd.DataFrame(CLOUD).to_csv(path),
    "numbered-columns.csv": lambda path: pd.DataFrame(CLOUD).to_csv(path, index=False),
    "savetxt.xyz": lambda path: np.savetxt(path, CLOUD),
    "savetxt-named.txt": lambda path: np.savetxt(path, CLOUD[:, ::-1], header="z y x"),
    "savetxt-commas.txt": lambda path: np.savetxt(path, CLOUD, delimiter=",", header="made by a test, in metres"),
    "counted.pts": lambda path: np.savetxt(path, CLOUD, header="300", comments=""),
    "paraview.csv": lambda path: write_frame(
        path, ["u", "Points:0", "Points:1", "Points:2", "i"], index=False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_reads_as_the_library_that_wrote_it_has_it(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    points = read_cloud(tmp_path / name)
    if name.endswith((".las", ".laz")):
        np.testing.assert_allclose(points, CLOUD, atol=1e-6)  # whole multiples of the scale
        np.testing.assert_array_equal(points, laspy.read(tmp_path / name).xyz)
    elif name == "ascii.pcd":  # the library rounds when it writes
        np.testing.assert_array_equal(points, PointCloud.from_path(tmp_path / name).numpy(("x", "y", "z")))
    else:
        np.testing.assert_array_equal(points, CLOUD)


def test_the_files_cover_every_reader() -> None:
    meshes = {ending for ending, (library, _) in EXTRAS.items() if library == "trimesh"}
    assert {Path(name).suffix for name in WRITERS} | meshes == set(READERS)


def test_texts_read_as_numpy_reads_them_to_the_last_bit(tmp_path: Path) -> None:
    hard = np.random.default_rng(0).integers(0, 2**63, (500, 3), dtype=np.uint64).view(np.float64)
    hard[0] = [5e-324, 1.7976931348623157e308, 0.1]
    np.savetxt(tmp_path / "hard.xyz", hard[np.isfinite(hard).all(axis=1)], "%.17g")
    np.testing.assert_array_equal(read_cloud(tmp_path / "hard.xyz"), np.loadtxt(tmp_path / "hard.xyz"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("organised.pcd", lambda path: write_pcd(path, Encoding.BINARY_COMPRESSED, GAPS)),
        ("organised-text.pcd", lambda path: write_pcd(path, Encoding.ASCII, GAPS)),
        ("gaps.npy", lambda path: np.save(path, GAPS)),
        ("gaps.xyz", lambda path: np.savetxt(path, GAPS)),
        ("gaps.csv", lambda path: write_frame(path, NAMES, GAPS)),
        ("gaps.txt", lambda path: write_frame(path, NAMES, GAPS, sep="\t", na_rep="NaN")),
    ],
)
def test_rows_without_coordinates_are_found_and_dropped(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    points = read_cloud(tmp_path / name)
    assert len(points) == 300
    # Texts of pypcd4 are rounded.
    np.testing.assert_allclose(finite_rows(points), CLOUD[np.arange(300) % 4 != 0], rtol=1e-9)


@pytest.mark.parametrize("ending", ["off", "obj", "stl", "glb"])
def test_a_mesh_becomes_points_on_its_surface(ending: str, tmp_path: Path) -> None:
    box = trimesh.creation.box((1, 2, 4))
    box.export(tmp_path / f"box.{ending}")
    points = read_cloud(tmp_path / f"box.{ending}")
    np.testing.assert_array_equal(points, read_cloud(tmp_path / f"box.{ending}"))
    # The largest coordinate in units of half an edge is 1 on the surface of a box, less inside and more outside.
    np.testing.assert_allclose(np.abs(points / [0.5, 1, 2]).max(axis=1), 1, atol=1e-6)
    # Of the surface of 28, the two faces of 2 by 4 across x have 16.
    across = np.isclose(np.abs(points[:, 0]), 0.5, atol=1e-6).mean()
    assert across == pytest.approx(16 / 28, abs=0.02)


def test_a_scene_that_places_a_mesh_twice_has_both(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    box = trimesh.creation.box((1, 1, 1))
    for number in (0, 1):
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([10.0 * number, 0, 0]))
    scene.export(tmp_path / "two.glb")
    points = read_cloud(tmp_path / "two.glb")
    assert (points[:, 0] > 5).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": (10, 3)}, {"dtype": ">f4"}])
def test_arrays_of_hdf5_files_are_those_that_h5py_wrote(options: dict[str, object], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=CLOUD, **options)
    with open_hdf5(tmp_path / "a.h5") as file:
        np.testing.assert_allclose(own_array(file, "data")[:], CLOUD, rtol=1e-6)


def test_headers_that_other_tools_write_are_read(tmp_path: Path) -> None:
    """An older version, no COUNT, tabs, comments in other alphabets, lines of DOS."""
    header = (
        "# café\nVERSION .5\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n"
    )
    (tmp_path / "old.pcd").write_text(header + "1\t2  3\n4 5 6\n", encoding="utf-8")
    assert read_cloud(tmp_path / "old.pcd").tolist() == [[1, 2, 3], [4, 5, 6]]
    out = io.BytesIO()
    PlyData([PlyElement.describe(np.array([(1, 2, 3)], [(axis, "f4") for axis in "xyz"]), "vertex")]).write(
        out
    )
    binary = out.getvalue().replace(b"1.0\n", "1.0\ncomment Größe\n".encode("latin-1"))
    (tmp_path / "comment.ply").write_bytes(binary)
    assert read_cloud(tmp_path / "comment.ply").tolist() == [[1, 2, 3]]
