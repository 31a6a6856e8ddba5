"""Point files that are damaged, lie about their sizes or ask for too much: one line with the file's name, in bounds."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import laspy
import numpy as np
import pytest
from door import assert_harmless, assert_refused, tried_call

from foundry_bench.datasets.folder import load_folder
from foundry_bench.datasets.official.hdf5 import hdf5_problem

CLOUD = np.random.default_rng(0).normal(size=(64, 3))
ROWS = "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in CLOUD.tolist())
COMMAS = ROWS.replace(" ", ",")
BINARY = CLOUD.astype("<f4").tobytes()
FACES = "element face 2\nproperty list uchar int vertex_indices\n"
TRIANGLE = struct.pack("<B3i", 3, 0, 1, 2)
FOUR = "".join(f"{number},{line}\n" for number, line in enumerate(COMMAS.splitlines()))
MEGABYTES = 400


def npy(shape: str, descr: str = "'<f8'", data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    length = struct.pack("<H", len(header) + 1) if version[0] == 1 else struct.pack("<I", len(header) + 1)
    return b"\x93NUMPY" + version + length + header + b"\n" + data


def npz(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def ply(
    count: object, style: str = "ascii", before: str = "", after: str = "", body: bytes = ROWS.encode()
) -> bytes:
    axes = "property float x\nproperty float y\nproperty float z\n"
    head = f"ply\nformat {style} 1.0\n{before}element vertex {count}\n{axes}{after}end_header\n"
    return head.encode("latin-1") + body


def pcd(body: bytes = ROWS.encode(), **changed: object) -> bytes:
    lines = {"VERSION": "0.7", "FIELDS": "x y z", "SIZE": "4 4 4", "TYPE": "F F F", "COUNT": "1 1 1"}
    lines |= {"WIDTH": "64", "HEIGHT": "1", "POINTS": "64", "DATA": "ascii"}
    lines |= {key: str(value) for key, value in changed.items()}
    return "".join(f"{key} {value}\n" for key, value in lines.items() if value != "None").encode() + body


def las(count: int, kind: int = 0, records: int = 0, scale: float = 0.01, version: int = 2) -> bytes:
    head = bytearray(375)
    head[:4], head[24:26] = b"LASF", bytes([1, version])
    struct.pack_into("<HII", head, 94, 375 if version == 4 else 227, 375, records)
    struct.pack_into("<BHI", head, 104, kind, 20, count)
    struct.pack_into("<6d", head, 131, scale, scale, scale, 0, 0, 0)
    return bytes(head) + bytes(20 * 40)


def glb(scene: object, data: bytes = bytes(36)) -> bytes:
    text = scene if isinstance(scene, bytes) else json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def scene(count: object = 3, nodes: int = 1, **accessor: object) -> dict[str, object]:
    view = {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"} | accessor
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": list(range(nodes))}],
        "nodes": [{"mesh": 0}] * nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{key: value for key, value in view.items() if value is not None}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36}],
    }


def encrypted() -> bytes:
    """An archive whose entry says that it needs a password."""
    content = bytearray(npz({"points.npy": npy("(64, 3)", data=CLOUD.tobytes())}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    return bytes(content)


def bomb() -> bytes:
    """Some megabytes that unpack to six gigabytes, all of which a header announces."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", npy("(268435456, 3)") + bytes(2**20))
    content = bytearray(out.getvalue())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 2**32 - 2)
    return bytes(content)


HUGE = 10**30


def laz(chunks: int | None = None, table: int | None = None) -> bytes:
    """Compressed points, with another number of chunks or place of their table than they have."""
    made = laspy.create(point_format=0, file_version="1.2")
    made.x, made.y, made.z = CLOUD.T
    out = io.BytesIO()
    made.write(out, do_compress=True)
    content = bytearray(out.getvalue())
    (start,) = struct.unpack_from("<I", content, 96)
    (place,) = struct.unpack_from("<q", content, start)
    if chunks is not None:
        struct.pack_into("<I", content, place + 4, chunks)
    if table is not None:
        struct.pack_into("<q", content, start, table)
    return bytes(content)


CASES: dict[str, bytes] = {
    "empty.npy": b"",
    "huge.npy": npy(f"({HUGE}, 3)"),
    "many.npy": npy("(2147483648, 3)"),
    "more-than-said.npy": npy("(64, 3)", data=bytes(8 * 3 * 65)),
    "negative.npy": npy("(-64, -3)", data=bytes(8 * 3 * 64)),
    "bool.npy": npy("(64, 3)", "'|b1'", bytes(192)),
    "complex.npy": npy("(64, 3)", "'<c16'", bytes(3072)),
    "pickle.npy": npy("(1,)", "'|O'", b"cos\nsystem\n(S'true'\ntR."),
    "deep.npy": npy("(" * 4000),
    "code.npy": npy("__import__('os').system('true')"),
    "structured.npy": npy("(64,)", "[('x', '<f8'), ('y', '<f8')]", bytes(1024)),
    "magic.npy": b"\x93NUMPY\x09\x00" + bytes(100),
    "archive.npy": npz({"points.npy": npy("(64, 3)", data=CLOUD.tobytes())}),
    "long-header.npy": npy(" " * 2**20 + "(64, 3)", version=b"\x02\x00"),
    "bomb.npz": bomb(),
    "encrypted.npz": encrypted(),
    "lzma.npz": npz({"points.npy": npy("(64, 3)", data=CLOUD.tobytes())}, zipfile.ZIP_LZMA),
    "bzip2.npz": npz({"points.npy": npy("(64, 3)", data=CLOUD.tobytes())}, zipfile.ZIP_BZIP2),
    "empty.npz": npz({}),
    "huge.npz": npz({"points.npy": npy(f"({HUGE}, 3)")}),
    "short.npz": npz({"points.npy": npy("(64, 3)", data=bytes(9))}),
    "odd-name.npz": npz({"../../a\x1b[31m.npy": b"", "b\n.npy": b""}),
    "no-array.npz": npz({"points.npy": b"words"}),
    "xz.npz": lzma.compress(b"points"),
    "huge.ply": ply(HUGE),
    "many.ply": ply(2**31, "binary_little_endian"),
    "negative.ply": ply(-5),
    "word.ply": ply("ten"),
    "superscript.ply": ply("²"),
    "camera.ply": ply(64, before=f"element camera {10**12}\nproperty float angle\n"),
    "bare-camera.ply": ply(64, before=f"element camera {10**12}\n"),
    "binary-camera.ply": ply(64, "binary_big_endian", f"element camera {10**12}\n"),
    "faces.ply": ply(64, after=f"element face {10**12}\nproperty list uchar int vertex_indices\n"),
    "long-list.ply": ply(
        1,
        "binary_little_endian",
        "element face 1\nproperty list uint double vertex_indices\n",
        body=struct.pack("<I", 2**32 - 1) + bytes(400),
    ),
    "more-than-said.ply": ply(40),
    "fewer-than-said.ply": ply(80),
    "format.ply": ply(64, "binary_middle_endian"),
    "twice.ply": ply(64, after="property float x\n"),
    "type.ply": ply(64, after="property float128 w\n"),
    "no-end.ply": ply(64).replace(b"end_header", b"comment"),
    "endless.ply": b"ply\nformat ascii 1.0\n" + b"comment x\n" * 20_000,
    "words.ply": ply(64, body=b"a b c\n" * 64),
    "fewer-than-held.ply": ply(63, "binary_little_endian", body=BINARY),
    "fewer-than-held-faces.ply": ply(63, "binary_little_endian", after=FACES, body=BINARY + TRIANGLE * 2),
    "more-than-held-faces.ply": ply(
        65, "binary_little_endian", after=FACES, body=BINARY + TRIANGLE * 2 + b"\n"
    ),
    "fewer-faces.ply": ply(64, after=FACES, body=ROWS.encode() + b"3 0 1 2\n"),
    "wide-rows.ply": ply(64, body=ROWS.replace("\n", " 5\n").encode()),
    "narrow-last-row.ply": ply(64, after="property float w\n", body=ROWS.replace("\n", " 5\n").encode()[:-3]),
    "before.ply": b"ply\nproperty float x\nend_header\n",
    "huge.pcd": pcd(POINTS=HUGE),
    "many.pcd": pcd(POINTS=2**31, DATA="binary"),
    "count.pcd": pcd(COUNT=f"{10**9} 1 1"),
    "zero-count.pcd": pcd(COUNT="0 1 1"),
    "negative-count.pcd": pcd(COUNT="-1 1 1"),
    "size.pcd": pcd(SIZE="3 4 4", DATA="binary", body=bytes(1000)),
    "type.pcd": pcd(TYPE="Q F F", DATA="binary", body=bytes(1000)),
    "uneven.pcd": pcd(TYPE="F F"),
    "no-points.pcd": pcd(POINTS=None, WIDTH=None),
    "style.pcd": pcd(DATA="binary\x1b[31m"),
    "cut.pcd": pcd(DATA="binary", body=bytes(500)),
    "unpacked.pcd": pcd(DATA="binary_compressed", body=struct.pack("<II", 8, 2**32 - 1) + bytes(8)),
    "packed.pcd": pcd(DATA="binary_compressed", body=struct.pack("<II", 2**32 - 1, 768) + bytes(8)),
    "noise.pcd": pcd(DATA="binary_compressed", body=struct.pack("<II", 300, 768) + bytes(range(100)) * 3),
    "short.pcd": pcd(DATA="binary_compressed", body=b"12"),
    "twice.pcd": pcd(FIELDS="x x z"),
    "fewer-than-said.pcd": pcd(POINTS=70),
    "more-than-said.pcd": pcd(POINTS=50),
    "wide-rows.pcd": pcd(ROWS.replace("\n", " 5\n").encode()),
    "narrow-rows.pcd": pcd(FIELDS="x y z i", SIZE="4 4 4 4", TYPE="F F F F", COUNT="1 1 1 1"),
    "fewer-than-held.pcd": pcd(BINARY, POINTS=63, DATA="binary"),
    "many.las": las(2**32 - 1),
    "records.las": las(40, records=2**32 - 1),
    "scale.las": las(40, scale=float("nan")),
    "still.las": las(40, scale=0.0),
    "format.las": las(40, kind=63),
    "short.las": b"LASF" + bytes(50),
    "words.las": b"no points\n" * 100,
    "many.laz": las(2**32 - 1, kind=128),
    "no-record.laz": las(40, kind=128),
    "many.off": b"OFF\n1000000000 1000000000 0\n" + ROWS.encode(),
    "huge.off": f"OFF\n{HUGE} 0 0\n".encode(),
    "corner.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n",
    "flat.off": b"OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n",
    "many.stl": bytes(80) + struct.pack("<I", 2**32 - 1) + bytes(50),
    "short.stl": bytes(9),
    "longer.stl": bytes(80) + struct.pack("<I", 1) + bytes(62),
    "text.stl": b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0\n",
    "words.obj": b"nothing\n" * 9,
    "corner.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
    "nan.obj": b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "many.glb": glb(scene(count=10**12)),
    "negative.glb": glb(scene(count=-1)),
    "no-view.glb": glb(scene(bufferView=None)),
    "deep.glb": glb(b"[" * 200_000),
    "list.glb": glb([]),
    "short.glb": b"glTF",
    "index.csv": ("t,a,b,c\n" + FOUR).encode(),
    "unnamed-index.csv": FOUR.encode(),
    "words.csv": ("time,range,azimuth\n" + COMMAS).encode(),
    "named-comment.txt": ("# t px range q\n" + FOUR.replace(",", " ")).encode(),
    "twice.csv": ("x,y,z,x\n" + FOUR).encode(),
    "later-index.csv": "".join(
        f"{number * 7},{line}\n" for number, line in enumerate(COMMAS.split())
    ).encode(),
    "classes-first.txt": "".join(f"{n % 3} {line}\n" for n, line in enumerate(ROWS.splitlines())).encode(),
    "size-first.xyz": ("640 480 1 1\n" + ROWS).encode(),
    "unit-row.csv": ("x,y,z\nm,m,mm\n" + COMMAS).encode(),
    "cut.csv": ("x,y,z,i\n" + COMMAS.replace("\n", ",5\n"))[:-3].encode(),
    "cut-number.csv": ("x,y,z\n" + COMMAS + "1.0,2.0,").encode(),
    "long-row.xyz": (ROWS + "1.0 2.0 3.04.0 5.0\n" + "1 2 3 4\n").encode(),
    "thousands.txt": ("1,234 5,678 9,012\n" * 40 + "999 5,678 9,012\n").encode(),
    "two-scans.pts": ("32\n" + ROWS + "32\n" + ROWS).encode(),
    "degrees.csv": ("id,latitude,longitude,height\n" + FOUR).encode(),
    "units.csv": ("x [m],y [m],z [mm]\n" + COMMAS).encode(),
    "two-columns.csv": b"1,2\n" * 50,
    "declared-negative.pts": ("-32\n" + ROWS).encode(),
    "declared.pts": ("1000\n" + ROWS).encode(),
    "declared-less.pts": ("10\n" + ROWS).encode(),
    "declared-huge.pts": ("9" * 5000 + "\n" + ROWS).encode(),
    "utf16.txt": ROWS.encode("utf-16"),
    "nul.xyz": ROWS.encode() + bytes(100),
    "ragged.csv": (COMMAS + "1.0,2.0\n").encode(),
    "ragged.xyz": (ROWS + "1.0 2.0\n").encode(),
    "word.xyz": (ROWS + "1.0 2.0 three\n").encode(),
    "quote.csv": ('x,y,z,"' + COMMAS).encode(),
    "one-line.xyz": b"1" * 2**21,
    "missing.csv": (COMMAS + ",,\n" * 65).encode(),
    "infinite.xyz": (ROWS + "inf 1e999 0\n" * 65).encode(),
    "escape.csv": ("\x1b[31mred,b,c,d\n" + FOUR).encode(),
    "binary.txt": bytes(range(256)) * 100,
}
CASES["chunks.laz"] = laz(chunks=2**31)
CASES["no-table.laz"] = laz(table=2**40)
CASES["laughs.glb"] = glb(scene(count=25_000, nodes=1000), bytes(300_000))


def _load(folder: Path) -> int:
    return len(load_folder(folder).points)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_one_line_with_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "clouds").mkdir()
    (tmp_path / "clouds" / name).write_bytes(CASES[name])
    seen = tried_call(_load, tmp_path / "clouds", cwd=tmp_path, megabytes=MEGABYTES)
    assert_refused(seen, says=[str(tmp_path / "clouds" / name), "1 of 1 files cannot be used"])


GOOD: dict[str, bytes] = {
    "plain.xyz": ROWS.encode(),
    "comment.csv": ("# format: t x y z\n" + FOUR).encode(),
    "format.txt": ("# format: x y z i\n" + ROWS.replace("\n", " 7\n")).encode(),
    "survey.csv": ("id, Easting, Northing, Elevation\n" + FOUR).encode(),
    "height.csv": ("x,y,height\n" + COMMAS).encode(),
    "gaps.xyz": (ROWS + "nan nan nan\n" * 30).encode(),
    "far.xyz": ROWS.replace("\n", "e200\n").encode(),
    "empty-lines.xyz": ROWS.replace("\n", "\n\n").encode(),
    "decimal-commas.txt": ROWS.replace(".", ",").encode(),
    "decimal-commas-tabs.txt": ("x\ty\tz\n" + ROWS.replace(".", ",").replace(" ", "\t")).encode(),
    "address.csv": ("from,x,y,z\n" + "".join(f"http://a#b,{line}\n" for line in COMMAS.split())).encode(),
    "quoted.csv": ("name,x,y,z\n" + "".join(f'"a, b",{line}\n' for line in COMMAS.split())).encode(),
    "remarks.xyz": ROWS.replace("\n", " # seen\n", 9).replace("\n", " // twice\n", 5).encode(),
    "mixed-faces.ply": ply(
        64, "binary_little_endian", after=FACES, body=BINARY + TRIANGLE + struct.pack("<B4i", 4, 0, 1, 2, 3)
    ),
    "faces-first.ply": ply(64, "binary_little_endian", before=FACES, body=TRIANGLE * 2 + BINARY),
    "columns.pcd": pcd(BINARY, DATA="binary").replace(b"FIELDS", b"COLUMNS"),
    "padded.pcd": pcd(BINARY + bytes(4096), DATA="binary"),
    "mac.xyz": ROWS.replace("\n", "\r").encode(),
    "mark.csv": ("\ufeffx,y,z\n" + COMMAS).encode(),
    "fortran.npy": npy("(64, 3)", data=CLOUD.tobytes()).replace(b"False", b"True "),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_file_that_is_whole_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "clouds").mkdir()
    (tmp_path / "clouds" / name).write_bytes(GOOD[name])
    seen = tried_call(_load, tmp_path / "clouds", cwd=tmp_path, megabytes=MEGABYTES)
    assert_harmless(seen)
    assert (seen.code, seen.value) == (0, 1), seen.err


FOREIGN = {
    "gzip.ply": (gzip.compress(ROWS.encode()), "unpack it first"),
    "xz.xyz": (lzma.compress(ROWS.encode()), "unpack it first"),
    "zip.csv": (npz({"a.csv": ROWS.encode()}), "unpack it first"),
    "page.txt": (b"\n<!DOCTYPE html>\n<p>404</p>", "download the file itself"),
    "pointer.laz": (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "git lfs pull"),
    "part.glb": (glb(scene() | {"buffers": [{"byteLength": 36, "uri": "part.bin"}]}), "in another file"),
    "packed.glb": (
        glb(scene() | {"extensionsRequired": ["KHR_draco_mesh_compression"]}),
        "without compression",
    ),
    "faces.off": (b"OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "it is cut off"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_something_else_is_named_as_what_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "clouds").mkdir()
    (tmp_path / "clouds" / name).write_bytes(FOREIGN[name][0])
    assert_refused(tried_call(_load, tmp_path / "clouds", cwd=tmp_path), says=[name, FOREIGN[name][1]])


TRIANGLES = {
    "joined.off": b"OFF3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
    "far.obj": b"v 0 0 0\nv 1e200 0 0\nv 0 1e200 0\nf 1 2 3\n",
    "near.obj": b"v 0 0 0\nv 1e-200 0 0\nv 0 1e-200 0\nf 1 2 3\n",
}


@pytest.mark.parametrize("name", TRIANGLES)
def test_an_odd_mesh_that_is_whole_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "clouds").mkdir()
    (tmp_path / "clouds" / name).write_bytes(TRIANGLES[name])
    seen = tried_call(_load, tmp_path / "clouds", cwd=tmp_path, megabytes=MEGABYTES)
    assert_harmless(seen)
    assert (seen.code, seen.value, seen.err) == (0, 1, "")


def _extent(folder: Path) -> float:
    return float(np.linalg.norm(load_folder(folder).points[0], axis=1).mean())


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e307])
def test_coordinates_of_any_size_keep_their_shape(scale: float, tmp_path: Path) -> None:
    for name, factor in (("usual", 1.0), ("odd", scale)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", CLOUD * factor)
    usual, odd = (tried_call(_extent, tmp_path / name, cwd=tmp_path).value for name in ("usual", "odd"))
    assert odd == pytest.approx(usual, rel=1e-5)


def _external(file: h5py.File) -> None:
    file.create_dataset("data", (4, 2048, 3), "f4", external=[(file.filename + ".raw", 0, 4 * 2048 * 12)])


def _link(file: h5py.File) -> None:
    file["data"] = h5py.ExternalLink(file.filename + ".other", "data")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 2048, 3), "f4")
    layout[:] = h5py.VirtualSource(file.filename + ".other", "data", (4, 2048, 3))
    file.create_virtual_dataset("data", layout)


def _empty_chunks(file: h5py.File) -> None:
    file.create_dataset("data", (10**9, 2048, 3), "f4", chunks=(1, 2048, 3))


HDF5: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external storage": (_external, "in another file"),
    "external link": (_link, "in another file"),
    "virtual": (_virtual, "in another file"),
    "chunks that are not there": (_empty_chunks, "cut off or damaged"),
    "a group": (lambda file: file.create_group("data"), "no array"),
    "texts": (lambda file: file.create_dataset("data", data=[b"a"]), "not numbers"),
    "nothing": (lambda file: None, "has no 'data'"),
}


@pytest.mark.parametrize("kind", HDF5)
def test_an_hdf5_file_that_is_not_its_own_is_one_line(kind: str, tmp_path: Path) -> None:
    write, message = HDF5[kind]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
        file["label"] = np.zeros(4, np.uint8)
    seen = tried_call(hdf5_problem, tmp_path / "a.h5", 40, cwd=tmp_path, megabytes=MEGABYTES)
    assert_harmless(seen)
    assert seen.value is not None
    assert str(tmp_path / "a.h5") in seen.value
    assert message in seen.value


@pytest.mark.parametrize("seed", range(8))
def test_an_hdf5_file_with_flipped_bits_is_read_or_one_line(seed: int, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=np.zeros((4, 2048, 3), "f4"), compression="gzip")
        file["label"] = np.zeros(4, np.uint8)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(content), 20):
        content[place] ^= 1 << rng.integers(8)
    (tmp_path / "a.h5").write_bytes(content)
    assert_harmless(tried_call(hdf5_problem, tmp_path / "a.h5", 40, cwd=tmp_path, megabytes=MEGABYTES))
