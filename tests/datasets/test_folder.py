"""A folder of anybody's clouds: every file format gives the same points, and a bad file is named before any work."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_layouts import box_cloud

from foundry_bench.datasets.cloud_files import EXTRAS, READERS, read_cloud
from foundry_bench.datasets.folder import MIN_POINTS, POINTS, load_folder
from foundry_bench.errors import UserError

CLOUD = np.round(box_cloud(1, 200), 3)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(folder))
    return folder


def columns(points: np.ndarray, separator: str = " ", extra: str = "") -> str:
    return "".join(
        separator.join(f"{value:.3f}" for value in point) + extra + "\n" for point in points.tolist()
    )


def ply(style: str, points: np.ndarray, before: str = "", after: str = "") -> bytes:
    """A PLY file whose vertices have a colour before and a double after their coordinates."""
    header = (
        f"ply\nformat {style} 1.0\ncomment made for a test\n{before}element vertex {len(points)}\n"
        "property uchar red\nproperty float x\nproperty float y\nproperty float z\nproperty double quality\n"
        f"{after}end_header\n"
    ).encode()
    if style == "ascii":
        return header + "".join(f"9 {x:.3f} {y:.3f} {z:.3f} 0.5\n" for x, y, z in points.tolist()).encode()
    order = "<" if "little" in style else ">"
    return header + b"".join(struct.pack(f"{order}B3fd", 9, *point, 0.5) for point in points.tolist())


def pcd(style: str, points: np.ndarray) -> bytes:
    """A PCD file with two fields of padding and a descriptor of three numbers before its coordinates."""
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS _ fpfh x y z _\nSIZE 1 4 4 4 4 2\n"
        f"TYPE U F F F F I\nCOUNT 1 3 1 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {len(points)}\nDATA {style}\n"
    ).encode()
    if style == "ascii":
        return (
            header + "".join(f"0 7 8 9 {x:.3f} {y:.3f} {z:.3f} 4\n" for x, y, z in points.tolist()).encode()
        )
    return header + b"".join(struct.pack("<B6fh", 0, 7, 8, 9, *point, 4) for point in points.tolist())


FACES = "element face 1\nproperty list uchar int vertex_indices\n"
FILES: dict[str, bytes | Callable[[Path], None]] = {
    "floats.npy": lambda path: np.save(path, CLOUD),
    "six-columns.npy": lambda path: np.save(path, np.hstack([CLOUD, CLOUD]).astype(np.float64)),
    "named.npz": lambda path: np.savez(path, other=np.zeros(3), points=CLOUD),
    "only.npz": lambda path: np.savez_compressed(path, cloud=CLOUD),
    "text.ply": ply("ascii", CLOUD),
    "little.ply": ply("binary_little_endian", CLOUD, after=FACES) + struct.pack("<B3i", 3, 0, 1, 2),
    "big.ply": ply("binary_big_endian", CLOUD),
    "second.PLY": ply("ascii", CLOUD, before="element sensor 1\nproperty float angle\n").replace(
        b"end_header\n", b"end_header\n1.5\n"
    ),
    "faces-first.ply": ply("ascii", CLOUD, before=FACES).replace(b"end_header\n", b"end_header\n3 0 1 2\n"),
    "dos.ply": ply("ascii", CLOUD).replace(b"\n", b"\r\n"),
    "text.pcd": pcd("ascii", CLOUD),
    "binary.pcd": pcd("binary", CLOUD),
    "plain.xyz": columns(CLOUD).encode(),
    "tabs.txt": columns(CLOUD, "\t", "\t255\t0").encode(),
    "comments.txt": b"# a scan\n// x y z\n" + columns(CLOUD).encode(),
    "commas.csv": columns(CLOUD, ",").encode(),
    "header.csv": b'"Time","X","Y","Z"\n'
    + b"".join(b"07:30," + line + b"\n" for line in columns(CLOUD, ",").encode().split()),
    "swapped.csv": b"z;y;x\n" + columns(CLOUD[:, ::-1], ";").encode(),
    "counted.pts": f"{len(CLOUD)}\n".encode() + columns(CLOUD, " ", " 17 0 0 0").encode(),
}


def write(path: Path, content: bytes | Callable[[Path], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_points(name: str, tmp_path: Path) -> None:
    points = read_cloud(write(tmp_path / name, FILES[name]))
    np.testing.assert_allclose(points, CLOUD, atol=1e-5)


def test_the_formats_cover_every_reader() -> None:
    # Those that need an extra are compared with its library, see test_real_files.py.
    assert {Path(name).suffix.lower() for name in FILES} == set(READERS) - set(EXTRAS)


def test_arrays_are_memory_mapped(tmp_path: Path) -> None:
    assert isinstance(read_cloud(write(tmp_path / "a.npy", FILES["floats.npy"])), np.memmap)


BAD: dict[str, tuple[bytes | Callable[[Path], None], str]] = {
    "empty.npy": (b"", "cannot be read"),
    "objects.npy": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "no array of numbers"),
    "flat.npy": (lambda path: np.save(path, np.zeros(9)), r"an array \(9,\)"),
    "plane.npy": (lambda path: np.save(path, np.zeros((9, 2))), r"an array \(9, 2\)"),
    "text.npy": (lambda path: np.save(path, np.array([["a"] * 3])), "not numbers"),
    "two.npz": (lambda path: np.savez(path, a=CLOUD, b=CLOUD), "none called 'points'"),
    "cut.npz": (b"PK\x03\x04 no archive", "cannot be read"),
    "cut.ply": (ply("binary_little_endian", CLOUD)[:-900], "cut off"),
    "cut-text.ply": (ply("ascii", CLOUD)[:-900], r"ends after \d+ of 200 points|cannot be read"),
    "headless.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\n", "no 'end_header'"),
    "other.ply": (b"solid cube\n", "does not begin with 'ply'"),
    "faces.ply": (ply("ascii", CLOUD, before=FACES), "vertex_indices"),
    "flat.ply": (ply("ascii", CLOUD).replace(b"float z", b"float depth"), "and not x, y and z"),
    "cut.pcd": (pcd("binary", CLOUD)[:-900], "cut off"),
    "packed.pcd": (pcd("binary_compressed", CLOUD), "compressed points and holds"),
    "headless.pcd": (b"FIELDS x y z\nDATA ascii\n1 2 3\n", "no whole PCD header"),
    "words.txt": (b"nothing to see\n" * 5, "does not say where x, y and z are"),
    "blank.txt": (b"\n" * 5, "no line of three numbers"),
    "broken.csv": (columns(CLOUD, ",").encode() + b"1,2,three\n", "three"),
    "nan.xyz": (
        columns(CLOUD).encode() + b"nan nan nan\n" * 201,
        "NaN or infinite coordinates in 201 of 401 rows",
    ),
    "same.xyz": (b"1 2 3\n" * 100, "no extent"),
    "few.xyz": (
        columns(CLOUD[: MIN_POINTS - 1]).encode(),
        f"has {MIN_POINTS - 1} points, at least {MIN_POINTS}",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_in_one_line_with_the_number_of_bad_ones(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    write(tmp_path / "a.npy", FILES["floats.npy"])
    path = write(tmp_path / "clouds" / name, content)
    write(tmp_path / "z.xyz", b"")
    with pytest.raises(UserError, match=message) as error:
        load_folder(tmp_path)
    assert str(error.value).startswith(str(path))
    assert "2 of 3 files" in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_are_classes_and_clouds_fill_the_unit_sphere(tmp_path: Path) -> None:
    for number, name in enumerate(["bolt/a.npy", "bolt/deep/b.npy", "nut/c.npy", "loose.npy"]):
        write(tmp_path / name, lambda path, seed=number: np.save(path, box_cloud(seed, 5000)))
    data = load_folder(tmp_path)
    assert data.classes == ("bolt", "nut")
    assert dict(zip(data.paths.tolist(), data.labels.tolist(), strict=True)) == {
        "bolt/a.npy": 0,
        "bolt/deep/b.npy": 0,
        "nut/c.npy": 1,
        "loose.npy": -1,
    }
    points = data.points[:]
    assert points.shape == (4, POINTS, 3)
    assert len(np.unique(points[0], axis=0)) == POINTS
    np.testing.assert_allclose(points.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(points, axis=2).max(axis=1), 1, atol=1e-5)
    # Axes stay as they are: the box is tall along y.
    assert (np.ptp(points, axis=1).argmax(axis=1) == 1).all()


def test_far_away_coordinates_keep_their_millimetres(tmp_path: Path) -> None:
    near = box_cloud(3, 500).astype(np.float64)
    write(tmp_path / "near" / "a.npy", lambda path: np.save(path, near))
    write(tmp_path / "far" / "a.npy", lambda path: np.save(path, near / 100 + 5e6))
    points = [load_folder(tmp_path / name).points[0] for name in ("near", "far")]
    np.testing.assert_allclose(points[0], points[1], atol=1e-5)


@pytest.mark.parametrize("names", [["a.npy", "b.npy"], ["scans/a.npy", "scans/b.npy"]])
def test_fewer_than_two_folders_leave_objects_unlabelled(names: list[str], tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, FILES["floats.npy"])
    data = load_folder(tmp_path)
    assert data.classes == ()
    assert data.labels.tolist() == [-1, -1]
    assert data.splits == {}


def test_folders_called_train_and_test_without_classes_leave_objects_unlabelled(tmp_path: Path) -> None:
    for name in ("Train/a.npy", "test/b.npy"):
        write(tmp_path / name, FILES["floats.npy"])
    data = load_folder(tmp_path)
    assert (data.classes, data.labels.tolist(), data.splits) == ((), [-1, -1], {})


def test_a_small_cloud_repeats_its_points(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", FILES["floats.npy"])
    distinct, counts = np.unique(load_folder(tmp_path).points[0], axis=0, return_counts=True)
    assert len(distinct) == len(CLOUD)
    assert set(counts.tolist()) == {10, 11}
    assert load_folder(tmp_path, points=64).points.shape == (1, 64, 3)


def test_files_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.npy", FILES["floats.npy"])
    data = load_folder(tmp_path)
    (tmp_path / "b.npy").write_bytes(b"")
    assert data.points[[2, 0]].shape == (2, POINTS, 3)
    with pytest.raises(UserError, match=r"b.npy cannot be read"):
        data.points[1]


def test_files_are_checked_once_until_one_changes(tmp_path: Path, cache: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.npy", FILES["floats.npy"])
    seen: list[tuple[str, int, int]] = []
    first = load_folder(tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [(what, done, 2) for what in ("reading files", "checking clouds") for done in (1, 2)]
    seen.clear()
    assert load_folder(tmp_path, progress=lambda *step: seen.append(step)).sha256 == first.sha256
    assert "checking clouds" not in {what for what, _, _ in seen}
    seen.clear()
    write(tmp_path / "b.npy", lambda path: np.save(path, CLOUD[::-1]))
    assert load_folder(tmp_path, progress=lambda *step: seen.append(step)).sha256 != first.sha256
    assert sum(what == "checking clouds" for what, _, _ in seen) == 2


def test_points_do_not_depend_on_the_other_files(tmp_path: Path) -> None:
    write(tmp_path / "b.npy", FILES["floats.npy"])
    alone = load_folder(tmp_path).points[0]
    write(tmp_path / "a.npy", lambda path: np.save(path, box_cloud(9, 64)))
    np.testing.assert_array_equal(load_folder(tmp_path).points[1], alone)


def test_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    for name in ("a.npy", ".b.npy", ".cache/c.npy"):
        write(tmp_path / name, FILES["floats.npy"])
    write(tmp_path / "README.md", b"about")
    assert load_folder(tmp_path).paths.tolist() == ["a.npy"]


def test_a_folder_without_clouds_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no point clouds"):
        load_folder(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        load_folder(tmp_path / "nowhere")
