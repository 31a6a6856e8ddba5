"""Official data sets: what every reader does, and what each reads out of its own layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from official_layouts import WRITERS, box_cloud, write_fewshot, write_hdf5, write_modelnet40, write_shapenet55

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.datasets.lazy import hashed_order
from foundry_bench.datasets.official.base import OfficialDataset
from foundry_bench.datasets.official.modelnet40 import ModelNet40
from foundry_bench.datasets.official.modelnet_fewshot import CLASSES, ModelNetFewshot
from foundry_bench.datasets.official.scanobjectnn import ScanObjectNNBackground
from foundry_bench.datasets.official.shapenet55 import ShapeNet55
from foundry_bench.datasets.official.shapenetpart import PARTS, ShapeNetPart
from foundry_bench.errors import UserError

Official = type[OfficialDataset]
every_set = pytest.mark.parametrize("official", WRITERS, ids=lambda official: official.name)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[Official, Path]:
    """A data root with one whole set, for each set; not to be changed."""
    made = {}
    for official, write in WRITERS.items():
        made[official] = tmp_path_factory.mktemp(official.name)
        write(made[official])
    return made


@pytest.fixture
def copied(roots: dict[Official, Path], tmp_path: Path) -> Callable[[Official], Path]:
    """Copies the set of one class to where it may be changed, and gives the set's own folder."""
    return lambda official: official().place(Path(shutil.copytree(roots[official], tmp_path / "copy")))


@every_set
def test_a_whole_set_is_found_from_its_root_and_from_its_own_folder(
    official: Official, roots: dict[Official, Path]
) -> None:
    root, one = roots[official], official()
    assert one.problems(root) == []
    assert one.present(root)
    assert one.place(root) == one.place(one.place(root)) == root / next(root.iterdir()).name
    assert one.sha256(root) == one.sha256(one.place(root)) == one.load(root).sha256


@every_set
def test_clouds_are_upright_centred_and_in_the_unit_sphere(
    official: Official, roots: dict[Official, Path]
) -> None:
    data = official().load(roots[official])
    points = data.points[:]
    assert points.dtype == np.float32
    assert points.shape == data.points.shape == (len(data.labels), data.points.shape[1], 3)
    np.testing.assert_allclose(points.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(points, axis=2).max(axis=1), 1, atol=1e-5)
    extent = np.ptp(points, axis=1)
    # The boxes are 1 wide (x), 4 tall and 2 deep: height must be along z and depth along y.
    np.testing.assert_allclose(extent[:, 2] / extent[:, 0], 4, rtol=0.1)
    np.testing.assert_allclose(extent[:, 2] / extent[:, 1], 2, rtol=0.1)


@every_set
def test_every_field_has_one_entry_a_cloud_and_paths_are_unique(
    official: Official, roots: dict[Official, Path]
) -> None:
    data = official().load(roots[official])
    (split,) = data.splits.values()
    for column in (data.labels, data.series, data.paths, split):
        assert len(column) == len(data.points)
    assert len(set(data.paths.tolist())) == len(data.paths)
    assert list(data.splits) == ["official"]
    assert {"train", "test"} <= set(split.tolist()) <= {"train", "val", "test"}
    assert data.labels.dtype == np.int64
    assert 0 <= data.labels.min() <= data.labels.max() < len(data.classes)
    assert set(data.series.tolist()) == {""}
    assert data.name == official.name


@every_set
def test_loading_is_deterministic_and_does_not_depend_on_the_place(
    official: Official,
    roots: dict[Official, Path],
    copied,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = official().load(roots[official])
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "another"))
    second = official().load(copied(official))
    assert first.sha256 == second.sha256
    assert first.paths.tolist() == second.paths.tolist()
    np.testing.assert_array_equal(first.points[:], second.points[:])


@pytest.mark.parametrize("official", [o for o in WRITERS if o is not ShapeNet55], ids=lambda o: o.name)
def test_what_is_slow_to_read_is_read_once(
    official: Official, roots: dict[Official, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []
    first = official().load(roots[official], lambda *step: seen.append(step))
    what, done, total = seen[-1]
    assert what.endswith(official.name)
    assert done == total > 0
    seen.clear()
    monkeypatch.setattr(np, "loadtxt", None)
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("foundry_bench.datasets.lazy.Hdf5Files.read", None)
    again = official().load(roots[official], lambda *step: seen.append(step))
    assert not seen
    np.testing.assert_array_equal(first.points, again.points)
    again.points[0, 0] = 7
    assert official().load(roots[official]).points[0, 0, 0] != 7, "the kept file is never written to"


@every_set
def test_the_hash_follows_a_changed_byte_of_the_data(official: Official, copied) -> None:
    folder = copied(official)
    before = official().sha256(folder)
    path = next(
        p for p in sorted(folder.rglob("*")) if p.suffix in {".h5", ".npy", ".pkl"} or "0000" in p.name
    )
    if official.name == "scanobjectnn-only":
        path = folder / "main_split_nobg" / "test_objectdataset.h5"
    if official.name == "scanobjectnn-pb":
        path = folder / "main_split" / "test_objectdataset_augmentedrot_scale75.h5"
    if official.name == "scanobjectnn-bg":
        path = folder / "main_split" / "test_objectdataset.h5"
    path.write_bytes(path.read_bytes() + b"\n")
    assert official().sha256(folder) != before


@every_set
def test_a_folder_that_does_not_exist_is_one_line_with_the_way_on(official: Official, tmp_path: Path) -> None:
    (line,) = official().problems(tmp_path / "nowhere")
    assert "does not exist" in line
    for use in (official().load, official().sha256):
        with pytest.raises(UserError) as error:
            use(tmp_path / "nowhere")
        assert f"foundry-bench data verify {official.name}" in str(error.value)
        assert "\n" not in str(error.value)


@every_set
def test_an_empty_folder_lists_what_is_missing(official: Official, tmp_path: Path) -> None:
    (tmp_path / official.folder).mkdir()
    lines = official().problems(tmp_path)
    assert len(lines) >= 2
    assert all("missing" in line and "\n" not in line for line in lines)
    assert not official().present(tmp_path)
    with pytest.raises(UserError, match=r"not whole: .* is missing .*and \d+ more"):
        official().load(tmp_path)


@every_set
def test_every_official_set_says_where_it_is_terms_and_layout(official: Official) -> None:
    assert official.url.startswith("https://")
    assert official.terms
    assert official.folder in official.layout
    assert official.licence.startswith("LicenseRef-")


@pytest.mark.parametrize(
    ("official", "file"),
    [
        (ModelNet40, "ply_data_train3.h5"),
        (ModelNet40, "shape_names.txt"),
        (ScanObjectNNBackground, "main_split/test_objectdataset.h5"),
        (ShapeNetPart, "04225987/000000000000000000000000000000e.txt"),
        (ShapeNetPart, "train_test_split/shuffled_val_file_list.json"),
        (ShapeNet55, "shapenet_pc/04554684-0000000000000000000000000000000.npy"),
        (ShapeNet55, "ShapeNet-55/test.txt"),
        (ModelNetFewshot, "5way_20shot/7.pkl"),
    ],
)
def test_a_missing_or_empty_file_is_named(official: Official, file: str, copied) -> None:
    folder = copied(official)
    (folder / file).write_bytes(b"")
    assert [line for line in official().problems(folder) if file in line and "is empty" in line]
    (folder / file).unlink()
    assert [line for line in official().problems(folder) if file in line and "is missing" in line]


# ModelNet40 and ScanObjectNN: HDF5


def test_modelnet40_keeps_the_order_of_files_labels_sides_and_points(roots: dict[Official, Path]) -> None:
    data = ModelNet40().load(roots[ModelNet40])
    assert data.classes == CLASSES
    assert data.labels.tolist() == list(range(12))
    assert data.splits["official"].tolist() == ["train"] * 8 + ["test"] * 4
    assert data.paths[[0, 2, 3, 8, 11]].tolist() == [
        "ply_data_train0.h5/0",
        "ply_data_train0.h5/2",
        "ply_data_train1.h5/0",
        "ply_data_test0.h5/0",
        "ply_data_test1.h5/1",
    ]
    # The files are in the order of farthest point sampling, which must not be shuffled.
    x, y, z = box_cloud(4, 2048).T
    given = data.points[4].T
    for mine, theirs in zip(given, (x, -z, y), strict=True):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.9999


def test_modelnet40_reads_the_files_that_its_lists_name(tmp_path: Path) -> None:
    folder = write_modelnet40(tmp_path)
    (folder / "train_files.txt").write_text("data/modelnet40_ply_hdf5_2048/ply_data_train2.h5\n")
    data = ModelNet40().load(folder)
    assert set(data.paths[data.splits["official"] == "train"].tolist()) == {
        "ply_data_train2.h5/0",
        "ply_data_train2.h5/1",
    }


def test_scanobjectnn_has_its_15_classes_and_shuffles_its_points(roots: dict[Official, Path]) -> None:
    data = ScanObjectNNBackground().load(roots[ScanObjectNNBackground])
    assert len(data.classes) == 15
    assert (data.classes[0], data.classes[7], data.classes[14]) == ("bag", "door", "toilet")
    assert data.labels.tolist() == [0, 14, 7, 14, 2]
    assert data.splits["official"].tolist() == ["train"] * 3 + ["test"] * 2
    assert data.paths[3] == "main_split/test_objectdataset.h5/0"
    order = hashed_order("main_split/test_objectdataset.h5/0", 2048)
    assert np.corrcoef(data.points[3][:, 2], box_cloud(50, 2048)[order, 1])[0, 1] > 0.9999


def test_the_variants_of_scanobjectnn_read_different_files(roots: dict[Official, Path]) -> None:
    names = [o for o in WRITERS if o.name.startswith("scanobjectnn")]
    loaded = [official().load(roots[official]) for official in names]
    assert [len(data.points) for data in loaded] == [5, 5, 9]
    assert len({data.sha256 for data in loaded}) == 3
    assert not np.allclose(loaded[0].points[0], loaded[1].points[0])


def test_a_truncated_hdf5_file_is_damaged(copied) -> None:
    folder = copied(ModelNet40)
    path = folder / "ply_data_train0.h5"
    path.write_bytes(path.read_bytes()[:-500])
    (line,) = ModelNet40().problems(folder)
    assert str(path) in line
    assert "cannot be read" in line


def test_damage_inside_an_hdf5_file_is_one_line(copied) -> None:
    folder = copied(ModelNet40)
    path = folder / "ply_data_train0.h5"
    whole = path.read_bytes()
    # The last bytes are compressed labels; a tenth before the end are compressed clouds.
    for place in (-1, -len(whole) // 10):
        content = bytearray(whole)
        content[place] ^= 255
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"ply_data_train0.h5 cannot be read") as error:
            ModelNet40().load(folder)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.move("data", "points"), "has no 'data', only label, points"),
        (lambda file: file.move("label", "labels"), "has no 'label'"),
        (
            lambda file: file["label"].write_direct(np.full((3, 1), 40, np.uint8)),
            "labels 40 to 40, expected 0 to 39",
        ),
    ],
)
def test_a_wrong_key_or_label_is_named(change, message: str, copied) -> None:
    folder = copied(ModelNet40)
    with h5py.File(folder / "ply_data_train0.h5", "r+") as file:
        change(file)
    (line,) = ModelNet40().problems(folder)
    assert message in line


def test_clouds_of_another_size_are_refused(copied) -> None:
    folder = copied(ModelNet40)
    write_hdf5(folder / "ply_data_test1.h5", [1], 0, column=True, points=1024)
    (line,) = ModelNet40().problems(folder)
    assert "(1, 1024, 3)" in line


def test_a_cloud_with_nan_is_named_when_it_is_unpacked(copied) -> None:
    folder = copied(ModelNet40)
    with h5py.File(folder / "ply_data_train0.h5", "r+") as file:
        file["data"][1, 7, 2] = np.nan
    assert ModelNet40().problems(folder) == []
    with pytest.raises(UserError, match=r"ply_data_train0.h5 \(cloud 1\) has NaN"):
        ModelNet40().load(folder)


# ShapeNet55: one .npy file a cloud


def test_shapenet55_labels_follow_the_sorted_synsets(roots: dict[Official, Path]) -> None:
    data = ShapeNet55().load(roots[ShapeNet55])
    assert len(data.classes) == 55
    assert data.points.shape == (6, 8192, 3)
    assert data.paths.tolist() == sorted(data.paths.tolist())
    found = [data.classes[label] for label in data.labels]
    assert found == ["airplane", "airplane", "trash bin", "chair", "chair", "washer"]
    assert data.splits["official"].tolist() == ["train", "train", "test", "train", "test", "train"]


def test_shapenet55_is_also_read_with_its_lists_beside_the_clouds(tmp_path: Path, roots) -> None:
    write_shapenet55(tmp_path, beside=True)
    here, there = ShapeNet55().load(tmp_path), ShapeNet55().load(roots[ShapeNet55])
    assert here.paths.tolist() == there.paths.tolist()
    np.testing.assert_array_equal(here.points[:], there.points[:])


def test_shapenet55_names_a_line_that_is_no_cloud_and_a_cloud_listed_twice(copied) -> None:
    folder = copied(ShapeNet55)
    listed = folder / "ShapeNet-55" / "train.txt"
    whole = listed.read_text()
    listed.write_text(whole + "99999999-1.npy\n")
    assert "99999999-1.npy" in ShapeNet55().problems(folder)[0]
    listed.write_text(whole + (folder / "ShapeNet-55" / "test.txt").read_text())
    assert "2 clouds are listed twice" in ShapeNet55().problems(folder)[0]


# ShapeNetPart: text files, parsed once


def test_shapenetpart_has_categories_sides_and_parts_of_their_own(roots: dict[Official, Path]) -> None:
    data = ShapeNetPart().load(roots[ShapeNetPart])
    assert data.classes == tuple(name.lower() for name in PARTS)
    assert data.labels.tolist() == list(range(16))
    assert sum(len(names) for names in data.part_names.values()) == 50
    assert data.part_names["airplane"] == ("part 0", "part 1", "part 2", "part 3")
    sides = dict(zip(data.classes, data.splits["official"].tolist(), strict=True))
    assert (sides["bag"], sides["lamp"], sides["table"], sides["chair"]) == ("val", "test", "test", "train")
    assert data.parts is not None
    assert data.parts.shape == data.points.shape[:2] == (16, 2048)
    for label, name in enumerate(data.classes):
        assert set(np.unique(data.parts[label]).tolist()) == set(range(len(data.part_names[name])))
    # The parts slice the box by height, so a wrong pairing of points and parts would mix their heights.
    low, high = (data.points[0][data.parts[0] == part][:, 2] for part in (0, 3))
    assert low.max() < high.min()


def test_shapenetpart_draws_without_replacement_where_there_are_enough(roots: dict[Official, Path]) -> None:
    data = ShapeNetPart().load(roots[ShapeNetPart])
    distinct = [len(np.unique(cloud, axis=0)) for cloud in np.asarray(data.points[:2])]
    assert distinct == [2048, 300]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 0 1 0 0\n" * 5, "no extent"),
        ("1 2 3 0 1 0\n" * 5, "6 columns, expected 7"),
        ("1 2 x 0 1 0 0\n", "could not convert"),
        ("1 2 3 0 1 0 9\n2 2 2 0 1 0 9\n", "parts 9 to 9, expected 0 to 3"),
    ],
)
def test_a_shape_that_cannot_be_read_is_named_and_leaves_no_half_cache(
    text: str, message: str, copied
) -> None:
    folder = copied(ShapeNetPart)
    path = next((folder / "02691156").iterdir())
    whole = path.read_text()
    path.write_text(text)
    with pytest.raises(UserError) as error:
        ShapeNetPart().load(folder)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    path.write_text(whole)
    assert len(ShapeNetPart().load(folder).points) == 16


# ModelNetFewshot: pickles


def fold_labels(data: PointCloudDataset, name: str) -> list[list[int]]:
    return [np.unique(data.labels[episode.support]).tolist() for episode in data.episodes[name]]


def test_fewshot_episodes_are_the_folds(roots: dict[Official, Path]) -> None:
    data = ModelNetFewshot().load(roots[ModelNetFewshot])
    assert set(data.episodes) == {"5w10s", "5w20s", "10w10s", "10w20s"}
    for name, episodes in data.episodes.items():
        way, shot = (int(number) for number in name.rstrip("s").split("w"))
        assert [episode.index for episode in episodes] == list(range(10))
        for episode in episodes:
            assert np.bincount(episode.support_labels).tolist() == [shot] * way
            assert np.bincount(episode.query_labels).tolist() == [2] * way
            assert (data.splits["official"][episode.support] == "train").all()
            assert (data.splits["official"][episode.query] == "test").all()
            # One label of the fold is one class of ModelNet40.
            pairs = set(
                zip(episode.support_labels.tolist(), data.labels[episode.support].tolist(), strict=True)
            )
            queries = set(
                zip(episode.query_labels.tolist(), data.labels[episode.query].tolist(), strict=True)
            )
            assert pairs == queries
            assert len(pairs) == way
    assert len({tuple(labels) for labels in fold_labels(data, "5w10s")}) > 5


def test_a_cloud_that_several_folds_use_is_one_row(roots: dict[Official, Path]) -> None:
    data = ModelNetFewshot().load(roots[ModelNetFewshot])
    assert len(data.points) == 36
    assert data.points.shape[1] == 2048
    row = data.paths.tolist().index(next(path for path in data.paths if path.startswith("test/bathtub/")))
    assert np.corrcoef(data.points[row][:, 2], box_cloud(5, 8192)[:2048, 1])[0, 1] > 0.9999


def test_fewshot_gives_the_configurations_that_are_there_and_names_the_others(tmp_path: Path) -> None:
    folder = write_fewshot(tmp_path, [(5, 10)])
    lines = ModelNetFewshot().problems(tmp_path)
    assert [line.split()[0] for line in lines] == ["5way_20shot", "10way_10shot", "10way_20shot"]
    assert set(ModelNetFewshot().load(tmp_path).episodes) == {"5w10s"}
    folder.joinpath("5way_10shot").rename(folder / "5way10shot")
    assert set(ModelNetFewshot().load(tmp_path).episodes) == {"5w10s"}
    (folder / "5way10shot" / "4.pkl").unlink()
    with pytest.raises(UserError, match=r"5way10shot/4.pkl is missing"):
        ModelNetFewshot().load(tmp_path)


def test_a_fold_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = write_fewshot(tmp_path, [(5, 10), (5, 20)])
    shutil.copy(folder / "5way_20shot" / "3.pkl", folder / "5way_10shot" / "3.pkl")
    with pytest.raises(UserError, match=r"5way_10shot/3.pkl is no 5-way 10-shot fold \(train has \[20, "):
        ModelNetFewshot().load(tmp_path)
