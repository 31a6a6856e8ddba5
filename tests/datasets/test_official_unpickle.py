"""Pickles of arrays are read; anything else in one is refused before it runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from official_layouts import write_fewshot

from foundry_bench.datasets.official.modelnet_fewshot import ModelNetFewshot
from foundry_bench.datasets.unpickle import load_arrays
from foundry_bench.errors import UserError


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_numbers_of_every_protocol_come_back(protocol: int, tmp_path: Path) -> None:
    cloud = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    content = {
        "train": [(cloud, 3, np.int32(17)), (np.asfortranarray(cloud), 0, np.int64(2))],
        "test": [],
        "note": "é",
    }
    read = load_arrays(written(tmp_path / "a.pkl", pickle.dumps(content, protocol)))
    assert list(read) == ["train", "test", "note"]
    assert read["note"] == "é"
    for (points, label, key), (mine, my_label, my_key) in zip(read["train"], content["train"], strict=True):
        np.testing.assert_array_equal(points, mine)
        assert points.dtype == np.float32
        assert (label, int(key)) == (my_label, int(my_key))


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "i1", "<i8", "u2", "?"])
def test_every_type_of_number_keeps_its_values(dtype: str, tmp_path: Path) -> None:
    values = np.array([0, 1, 1], dtype)
    read = load_arrays(written(tmp_path / "a.pkl", pickle.dumps(values)))
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_the_names_of_old_and_new_numpy_are_both_known(tmp_path: Path) -> None:
    new = pickle.dumps(np.arange(3.0), 2)
    for content in (new.replace(b"numpy._core", b"numpy.core"), new.replace(b"numpy.core", b"numpy._core")):
        assert load_arrays(written(tmp_path / "a.pkl", content)).tolist() == [0, 1, 2]


class Trap:
    """Runs a command when it is unpickled in the ordinary way."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    trap = pickle.dumps({"train": [(Trap(os.mkdir, str(mark)), 0, 0)]}, protocol)
    path = written(tmp_path / "a.pkl", trap)
    with pytest.raises(UserError) as error:
        load_arrays(path)
    assert not mark.exists()
    assert str(path) in str(error.value)
    assert ".mkdir" in str(error.value)
    assert "\n" not in str(error.value)
    pickle.loads(trap)
    assert mark.exists(), "the trap works where it is not refused"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (eval, ("1",)),
        (getattr, ("", "join")),
        (__import__, ("os",)),
        (np.load, ("file.npy",)),
        (np.fromfile, ("/dev/zero", "u1", 1)),
        (bytearray, (10,)),
    ],
)
def test_other_functions_are_refused_by_name(function, arguments, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pkl", pickle.dumps(Trap(function, *arguments)))
    with pytest.raises(UserError, match=rf"asks for [\w.]+\.{function.__name__}"):
        load_arrays(path)


def test_a_class_of_the_package_is_refused_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pkl", pickle.dumps(UserError("x")))
    with pytest.raises(UserError, match=r"asks for foundry_bench.errors.UserError"):
        load_arrays(path)


def test_object_arrays_and_structured_types_are_refused(tmp_path: Path) -> None:
    for array in (
        np.array([{}, 1], object),
        np.zeros(2, [("a", "f4")]),
        np.array(["text"]),
        np.zeros(1, "M8[s]"),
    ):
        with pytest.raises(UserError, match=r"is no type of numbers|structured type"):
            load_arrays(written(tmp_path / "a.pkl", pickle.dumps(array)))


def test_an_array_that_claims_more_than_its_bytes_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(np.arange(12, dtype=np.int16).reshape(3, 4), 2)
    forged = content.replace(b"K\x03K\x04\x86", b"K\x7fK\x04\x86")
    assert forged != content
    with pytest.raises(UserError, match=r"an array \(127, 4\) has 12 numbers"):
        load_arrays(written(tmp_path / "a.pkl", forged))


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    whole = pickle.dumps({"train": [(np.zeros((9, 6)), 0, 0)]})
    damaged = [b"", b"no pickle", whole[: len(whole) // 2], whole[:-1], pickle.dumps([[[[[[[[1]]]]]]]])]
    for number, content in enumerate(damaged):
        with pytest.raises(UserError, match="is no whole pickle") as error:
            load_arrays(written(tmp_path / f"{number}.pkl", content))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        load_arrays(tmp_path / "nowhere.pkl")


def test_bytes_are_only_decoded_as_pickle_writes_them(tmp_path: Path) -> None:
    stream = io.BytesIO()
    stream.write(
        pickle.PROTO
        + struct.pack("<B", 2)
        + b"c_codecs\nencode\n"
        + b"X\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R."
    )
    with pytest.raises(UserError, match="latin1, not 'zip'"):
        load_arrays(written(tmp_path / "a.pkl", stream.getvalue()))


def test_a_malicious_fold_is_refused_through_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "cache"))
    folder = write_fewshot(tmp_path, [(5, 10)])
    mark = tmp_path / "ran"
    (folder / "5way_10shot" / "6.pkl").write_bytes(
        pickle.dumps({"train": Trap(os.mkdir, str(mark)), "test": []})
    )
    with pytest.raises(UserError, match=r"6.pkl asks for \w+.mkdir"):
        ModelNetFewshot().load(tmp_path)
    assert not mark.exists()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
