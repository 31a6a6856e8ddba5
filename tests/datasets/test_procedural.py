"""Random shapes: the same everywhere, on the outside of what they are made of, and asked for by a name with parameters."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from foundry_bench.datasets import catalog, load_furniture
from foundry_bench.datasets.few import spread, take
from foundry_bench.datasets.joined import joined
from foundry_bench.datasets.procedural import dataset as procedural
from foundry_bench.datasets.procedural.arithmetic import Stream, power
from foundry_bench.datasets.procedural.families import FAMILIES, MOST
from foundry_bench.datasets.procedural.sampling import Part, sample
from foundry_bench.datasets.procedural.solids import (
    Lathe,
    Polygon,
    Ring,
    Solid,
    Superellipse,
    Tube,
    straight,
    superellipse_profile,
    turned_profile,
)
from foundry_bench.errors import UserError
from foundry_bench.task import check_needs
from foundry_bench.training.pretrain import mixed_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "procedural.json"
SPHERE = Lathe(Superellipse(8), superellipse_profile(8))
BOX = Lathe(Polygon(4), straight())
SMALL = procedural.Procedural(clouds=100).load()


def test_clouds_are_those_that_were_committed() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["version"] == procedural.VERSION, "write the golden file anew for a new version"
    for cloud in golden["clouds"]:
        points, parts = procedural.made(0, cloud["number"], 2048)
        np.testing.assert_allclose(points[[0, 1, 1023, 2047]], cloud["points"], atol=2e-5)
        assert np.bincount(parts).tolist() == cloud["parts"]


def test_clouds_are_the_same_bit_for_bit_whatever_instructions_the_processor_has() -> None:
    code = (
        "import hashlib; from foundry_bench.datasets.procedural.dataset import made; "
        "print(hashlib.sha256(b''.join(a.tobytes() for n in range(12) for a in made(3, n, 1024))).hexdigest())"
    )
    core = np._core if hasattr(np, "_core") else np.core  # the name before NumPy 2
    features = core._multiarray_umath  # type: ignore[attr-defined]
    usable = [name for name in features.__cpu_dispatch__ if features.__cpu_features__[name]]
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(usable)}
    hashes = {
        subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True).stdout
        for env in (plain, dict(os.environ))
    }
    assert len(hashes) == 1


def test_a_cloud_does_not_depend_on_what_is_asked_for_beside_it() -> None:
    whole = SMALL.points[:6]
    for rows in (np.array([5, 0, 5, 3]), slice(4, 1, -1), 2):
        procedural.made.cache_clear()
        assert np.array_equal(SMALL.points[rows, 100:1000], whole[rows][..., 100:1000, :])
    assert SMALL.parts is not None
    assert np.array_equal(SMALL.parts[np.array([5, 3])][:, :9], SMALL.parts[:6][[5, 3], :9])
    assert SMALL.parts[[]].shape == (0, 2048)


def test_a_larger_set_begins_with_the_smaller_one_and_another_seed_is_another_set() -> None:
    larger, other = (procedural.Procedural(clouds=200, seed=seed).load() for seed in (0, 1))
    assert np.array_equal(larger.points[:3], SMALL.points[:3])
    assert not np.array_equal(other.points[0], SMALL.points[0])


def test_a_cloud_of_half_the_points_is_the_first_half() -> None:
    for number in range(4):
        half, parts = procedural.made(0, number, 1024)
        assert np.array_equal(half, procedural.made(0, number, 2048)[0][:1024])
        assert np.array_equal(parts, procedural.made(0, number, 2048)[1][:1024])


def test_clouds_are_normalised_and_their_parts_numbered() -> None:
    points, parts = SMALL.points[:60], np.asarray(SMALL.parts[:60])  # type: ignore[index]
    assert points.dtype == np.float32
    assert parts.dtype == np.int8
    assert points.shape == (60, 2048, 3)
    assert parts.shape == (60, 2048)
    assert np.abs(points.mean(axis=1)).max() < 1e-5
    np.testing.assert_allclose(np.linalg.norm(points, axis=2).max(axis=1), 1, atol=1e-6)
    assert parts.min() >= 0
    assert parts.max() < MOST
    assert (parts.max(axis=1) > 0).mean() > 0.5
    assert min(len(np.unique(cloud, axis=0)) for cloud in points) > 2000


@pytest.mark.parametrize("family", [family for _, family in FAMILIES], ids=lambda family: family.__name__)
def test_every_family_makes_many_different_shapes_of_few_parts(family) -> None:
    shapes = [family(Stream((9, number))) for number in range(12)]
    clouds = [sample(parts[:MOST], 256, Stream((8, 0)))[0] for parts in shapes]
    assert all(1 <= len(parts) <= MOST + 3 for parts in shapes)
    assert all(np.isfinite(cloud).all() and np.ptp(cloud, axis=0).min() > 0 for cloud in clouds)
    extents = [np.ptp(cloud, axis=0) / np.ptp(cloud) for cloud in clouds]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in pairwise(extents))


def test_points_inside_another_part_are_dropped_and_the_others_are_uniform() -> None:
    spheres = [Part(SPHERE, (1, 1, 1)), Part(SPHERE, (0.5, 0.5, 0.5), (1.0, 0.0, 0.0))]
    points, parts = sample(spheres, 4000, Stream((0, 0)))
    far = [np.linalg.norm(points - part.at, axis=1) for part in spheres]
    assert far[1][parts == 0].min() > 0.49
    assert far[0][parts == 1].min() > 0.99
    # They meet at x = 7/8, and a cap's area goes by its height (Archimedes): 1/8 of one is hidden, 3/8 of the other.
    shown = 4 * np.pi - 2 * np.pi / 8, np.pi - np.pi * 3 / 8
    expected = shown[0] / sum(shown)
    assert abs((parts == 0).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000) + 0.01
    upper = (points[parts == 0][:, 2] > 0.5).mean()
    assert abs(upper - 0.25 * 4 * np.pi / shown[0]) < 0.03


def test_what_is_cut_out_leaves_the_wall_of_a_hole() -> None:
    bored = [Part(BOX, (1, 1, 1)), Part(Lathe(Superellipse(8), straight()), (0.5, 0.5, 2), cut=True)]
    points, parts = sample(bored, 2000, Stream((0, 0)))
    radius = np.hypot(points[:, 0], points[:, 1])
    assert radius.min() > 0.48
    assert np.abs(points).max() <= 1 + 1e-12
    assert (np.abs(radius[parts == 1] - 0.5) < 0.01).all()
    assert abs((parts == 1).mean() - 2 * np.pi / (24 - np.pi / 2 + 2 * np.pi)) < 0.05


def test_copies_share_the_points_and_stand_apart() -> None:
    row = Part(BOX, (0.1, 0.2, 0.3), (1, 2, 3), copies=(4, 1, 1), pitch=(0.5, 1, 1))
    points, parts = sample([row], 2000, Stream((0, 0)))
    place = np.rint((points[:, 0] - 1) / 0.5 + 1.5)
    assert not parts.any()
    assert np.bincount(place.astype(int), minlength=4).min() > 400
    assert np.abs(points[:, 0] - (1 + 0.5 * (place - 1.5))).max() < 0.1 + 1e-9


@pytest.mark.parametrize(
    "solid",
    [
        *(
            Lathe(section, superellipse_profile(q))
            for section in (Superellipse(4), Superellipse(8), Superellipse(10), Polygon(3), Polygon(5))
            for q in (4, 8, 64)
        ),
        BOX,
        Lathe(Superellipse(16), turned_profile([0.5, 1, 0.3, 0.8])),
        Ring(Superellipse(8), 0.5, 8),
        Ring(Polygon(6), 0.7, 64),
        Tube(np.array([[-0.7, 0, -0.5], [-0.7, 0, 0.7], [0.7, 0.3, 0.7], [0.6, 0, 0.0]]), 0.1),
    ],
)
def test_the_inside_of_a_solid_begins_at_its_surface(solid: Solid) -> None:
    part = Part(solid, (1, 1, 1))
    points, _ = sample([part], 1500, Stream((0, 0)))
    assert np.abs(points).max() <= 1 + 1e-9
    triangles = part.faces.triangles
    normals = np.cross(triangles[:, 3:6], triangles[:, 6:])
    corners = triangles[:, :3] + (triangles[:, 3:6] + triangles[:, 6:]) / 3
    big = np.linalg.norm(normals, axis=1) > 1e-3
    step = 0.03 * normals[big] / np.linalg.norm(normals[big], axis=1, keepdims=True)
    sides = [part.contains(*(corners[big] + sign * step).T) for sign in (1, -1)]
    # One side of nearly every face is inside and the other is not; edges and thin ends may differ.
    assert (sides[0] != sides[1]).mean() > 0.9


def test_powers_need_no_library() -> None:
    base = np.linspace(0, 3, 50)
    for quarters in (4, 5, 6, 7, 8, 10, 12, 16, 24, 64):
        np.testing.assert_allclose(power(base, quarters), base ** (quarters / 4), rtol=1e-12)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_every_kind_make_the_same_clouds(method: str) -> None:
    expected = SMALL.points[:8]
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        made = list(pool.map(SMALL.points.__getitem__, range(8), timeout=120))
    assert np.array_equal(np.stack(made), expected)


def test_data_loaders_and_threads_read_side_by_side() -> None:
    class Both:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray]:
            assert SMALL.parts is not None
            return SMALL.points[row], SMALL.parts[row]

    loader = DataLoader(Both(), batch_size=4, num_workers=2, timeout=120)  # type: ignore[arg-type]
    batches = [points.numpy() for points, _ in loader]
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(SMALL.points.__getitem__, range(12)))
    assert np.array_equal(np.concatenate(batches), SMALL.points[:12])
    assert np.array_equal(np.stack(threads), SMALL.points[:12])
    assert len(pickle.dumps(procedural.Rule(150_000, 2048, 0))) < 300


def test_the_hash_comes_from_the_parameters_and_no_cloud_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedural, "made", lambda *_: pytest.fail("a cloud was made"))
    names = ("procedural", "procedural[seed=1]", "procedural[clouds=1000]", "procedural[points=1024]")
    assert len({catalog.dataset_sha256(name) for name in names}) == 4
    assert catalog.dataset_sha256("procedural") == catalog.dataset_sha256("procedural[seed=0,clouds=150000]")
    data = catalog.load_dataset("procedural[clouds=1000]")
    assert (
        data.name
        == catalog.resolved("procedural[clouds=1000]")
        == "procedural[clouds=1000,seed=0,points=2048]"
    )
    assert data.sha256 == catalog.dataset_sha256("procedural[clouds=1e3]".replace("1e3", "1000"))
    assert catalog.resolved("furniture") == "furniture"
    assert catalog.resolved("nowhere") == "nowhere"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("procedural[clouds=10]", r"clouds must be in \[100, 1000000\]"),
        ("procedural[clouds=many]", "clouds takes a whole number"),
        ("procedural[cloud=1000]", "did you mean 'clouds'"),
        ("procedural[clouds=100,200]", "several values for clouds"),
        ("procedural[points=512]", "one of 2048, 1024"),
        ("procedural[clouds=1000", "cannot read selector"),
        ("procedurl[clouds=1000]", "did you mean 'procedural'"),
        ("furniture[clouds=1000]", "takes no parameters; write furniture"),
    ],
)
def test_wrong_parameters_are_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        catalog.load_dataset(name)
    assert "\n" not in str(raised.value)


def test_a_task_that_needs_labels_says_that_there_are_none() -> None:
    with pytest.raises(UserError, match=r"'procedural' has no labels, which task 'fewshot' needs"):
        check_needs("fewshot", ("labels",), "procedural", SMALL)


def test_pieces_have_their_parts() -> None:
    assert SMALL.parts is not None
    piece = take(SMALL, np.array([7, 2]))
    assert np.array_equal(np.asarray(piece.parts), SMALL.parts[np.array([7, 2])])
    assert len(spread(SMALL, 10).points) == 10


def test_joined_sets_keep_their_order_and_their_shares() -> None:
    furniture, small = load_furniture(), procedural.Procedural(clouds=100, points=1024).load()
    both = joined([furniture, small])
    count = len(furniture.points)
    assert both.points.shape == (count + 100, 1024, 3)
    rows = np.array([count + 3, 0, count - 1, count])
    expected = [small.points[3], *furniture.points[[0, count - 1], :1024], small.points[0]]
    assert np.array_equal(both.points[rows], np.stack(expected))
    assert both.paths[count] == f"{small.name}:procedural/0/0"
    assert joined([small]) is small
    assert joined([small, furniture]).sha256 != both.sha256
    weights = mixed_weights([furniture, small], [3, 1])
    assert float(weights[:count].sum()) == pytest.approx(3)
    assert float(weights.sum()) == pytest.approx(4)
