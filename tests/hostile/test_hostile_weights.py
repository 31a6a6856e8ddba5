"""Hostile folders of teachers and students, and hostile checkpoints: one line, no memory, nothing executed."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from door import Executes, assert_refused, tried, tried_call
from safetensors.torch import load_file, save_file
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.encoder import EncoderConfig
from foundry_bench.selectors import expand, parse_selector
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.teachers import PointTransformer, load_teacher, save_teacher

SIZES = {"dim": 16, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "points": 128}
State = dict[str, Tensor]
NAN = float("nan")
HUGE = 10**30


@pytest.fixture(scope="module")
def model() -> PointTransformer:
    torch.manual_seed(0)
    encoder = PointTransformer(EncoderConfig(**SIZES, tokenizer_widths=(8, 8, 16)))  # type: ignore[arg-type]
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def originals(model: PointTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``teacher`` and ``student``, folders with which nothing is wrong."""
    root = tmp_path_factory.mktemp("originals")
    save_teacher(model, root / "teacher", {})
    ((method, variant),) = expand(parse_selector("foundry[supertokens=2]+fmd"), grid=None)
    save_student(make_student(method, model, None, Context(variant=variant)), root / "student")
    return root


READERS: dict[str, Callable[..., Any]] = {"teacher": load_teacher, "student": load_student}
KINDS = tuple(READERS)


def copied(originals: Path, kind: str, folder: Path) -> Path:
    """A copy of one of the folders below ``folder``, in which a case does its damage."""
    target = folder / kind
    target.mkdir()
    for file in (originals / kind).iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def refused(folder: Path, kind: str, *says: str) -> None:
    seen = tried_call(READERS[kind], folder / kind, cwd=folder)
    assert_refused(seen, says=[f"{kind}/", *says])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_well_is_read(kind: str, originals: Path, tmp_path: Path) -> None:
    copied(originals, kind, tmp_path)
    seen = tried_call(READERS[kind], tmp_path / kind, cwd=tmp_path)
    assert seen.code == 0, seen.err


# What is written in config.json.

CONTENTS = {
    "empty": (b"", "empty"),
    "a list": (b"[]", "no JSON object"),
    "a number": (b"5", "no JSON object"),
    "null": (b"null", "no JSON object"),
    "cut off": (b'{"format": "foundry', "cannot be read"),
    "no UTF-8": (b'{"format": "\xff\xfe\xfa"}', "cannot be read"),
    "nested deep": (b'{"a":' * 100_000, "nested too deep"),
    "a number of 9,000 digits": (b'{"format": ' + b"9" * 9000 + b"}", "cannot be read"),
    "a key twice": (b'{"format": "x", "encoder": {"heads": 2, "heads": 0}}', "heads stands twice"),
    "a key with control characters twice": (b'{"\\u001b[2J\\n": 1, "\\u001b[2J\\n": 2}', "stands twice"),
    "another format": (b'{"format": "foundry-bench sweep 1"}', "of this version"),
    "a format of many lines": (b'{"format": "\\n\\n\\u001b[31mok"}', "of this version"),
    "no format": (b"{}", "format None"),
    "large": (b" " * (1 << 24) + b"{}", "more than"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_card(content: str, kind: str, originals: Path, tmp_path: Path) -> None:
    raw, says = CONTENTS[content]
    (copied(originals, kind, tmp_path) / "config.json").write_bytes(raw)
    refused(tmp_path, kind, "config.json", says)


@pytest.mark.parametrize("command", ["info", "profile", "distill"])
def test_commands_refuse_it_too(command: str, originals: Path, tmp_path: Path) -> None:
    (copied(originals, "teacher", tmp_path) / "config.json").write_bytes(b'{"a":' * 100_000)
    arguments = {
        "info": ("./teacher",),
        "profile": ("tome", "--teacher", "./teacher"),
        "distill": ("--method", "kd", "--teacher", "./teacher", "-o", "out"),
    }
    assert_refused(tried(command, *arguments[command], cwd=tmp_path), says="nested too deep")


def edited(card: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The card with other values; ``encoder.heads`` is a size, and ``...`` takes a key away."""
    for path, value in change.items():
        *above, name = path.split(".")
        place = card[above[0]] if above else card
        place[name] = value
        if value is ...:
            del place[name]
    return card


SIZE_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    **{f"heads {v}": ({"encoder.heads": v}, "heads") for v in (0, -1, 3, 1.5, "2", True, None, [2], HUGE)},
    **{f"dim {v}": ({"encoder.dim": v}, "dim") for v in (0, -16, 1e9, NAN, "16", 2**40)},
    "dim of a wide file": ({"encoder.dim": 65536}, "does not fit"),
    **{f"depth {v}": ({"encoder.depth": v}, "depth") for v in (0, -2, 10**6, 2.5, None, {"x": 1})},
    **{f"mlp_ratio {v}": ({"encoder.mlp_ratio": v}, "mlp_ratio") for v in (0, -4, NAN, 1e300, 1e-9, "4", 10**400)},
    **{f"groups {v}": ({"encoder.groups": v}, "groups") for v in (0, -8, 10**9, 8.5, "8")},
    **{f"group_size {v}": ({"encoder.group_size": v}, "group_size") for v in (0, 10**9, None)},
    "patches of more points than a cloud": ({"encoder.groups": 4096, "encoder.group_size": 4096}, "groups of"),
    **{f"points {v}": ({"encoder.points": v}, "points") for v in (0, 10**12, "128")},
    **{
        f"widths {v}": ({"encoder.tokenizer_widths": v}, "widths")
        for v in ([], [8, 8], [8, 0, 16], [8] * 5, "888", None, [8, [8], 16], [2**40] * 3, [NAN] * 3)
    },
    "widths of a wide file": ({"encoder.tokenizer_widths": [65536] * 3}, "does not fit"),
    **{f"prefix {v}": ({"encoder.prefix": v}, "prefix") for v in (-1, 10**9, "1")},
    **{f"qkv_bias {v}": ({"encoder.qkv_bias": v}, "qkv_bias") for v in (3, "maybe", None)},
    **{f"encoder {v}": ({"encoder": v}, "encoder must be") for v in (None, [], 5, "small", ...)},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", SIZE_FAULTS)
def test_sizes_that_no_encoder_has(fault: str, kind: str, originals: Path, tmp_path: Path) -> None:
    change, says = SIZE_FAULTS[fault]
    path = copied(originals, kind, tmp_path) / "config.json"
    path.write_text(json.dumps(edited(json.loads(path.read_text()), change)))
    refused(tmp_path, kind, says)


STUDENT_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    **{f"method {v}": ({"method": v}, "method") for v in (None, 5, ["foundry"], "fundry", "foundry+", "", ...)},
    **{f"params {v}": ({"params": v}, "params must be") for v in (None, [], "supertokens=2", ...)},
    **{
        f"supertokens {v}": ({"params.supertokens": v}, "supertokens")
        for v in (-1, NAN, 2**31, 10**9, "two", None, HUGE)
    },
    "as many SuperTokens as can be": ({"params.supertokens": 1024}, "does not fit"),
    "a wide reconstruction": ({"params.hidden_ratio": 64.0}, "does not fit"),
    "an unknown parameter": ({"params.\u001b[31msupertoken": 2}, "parameter"),
    **{f"variant {v}": ({"variant": v}, "variant") for v in (None, 5, "expert", "fmd\n", "off-the-shelf", ...)},
    **{f"teacher {v}": ({"teacher": v}, "teacher must be") for v in (5, ["small"], {})},
    "hash of a teacher": ({"teacher_sha256": 7}, "teacher_sha256"),
    "another method": ({"method": "tome", "params": {"r": 8}}, "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("fault", STUDENT_FAULTS)
def test_what_made_a_student(fault: str, originals: Path, tmp_path: Path) -> None:
    change, says = STUDENT_FAULTS[fault]
    path = copied(originals, "student", tmp_path) / "config.json"
    path.write_text(json.dumps(edited(json.loads(path.read_text()), change)))
    refused(tmp_path, "student", says)


# What stands in the place of a file.

PLACES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("absent"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a file of a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "an empty file": Path.touch,
}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file(place: str, kind: str, name: str, originals: Path, tmp_path: Path) -> None:
    path = copied(originals, kind, tmp_path) / name
    path.unlink()
    PLACES[place](path)
    refused(tmp_path, kind, name)


# What is in the weights.


def _first(state: State) -> str:
    return next(name for name in state if name.endswith("norm1.weight"))


def _fill(value: float) -> Callable[[State], object]:
    return lambda state: state[_first(state)].view(-1)[-1:].fill_(value)


WEIGHTS: dict[str, tuple[Callable[[State], object], str]] = {
    "not a number": (_fill(NAN), "NaN or infinite"),
    "infinite": (_fill(float("inf")), "NaN or infinite"),
    "finite until they are singles": (
        lambda s: s.update({_first(s): torch.full_like(s[_first(s)], 1e300, dtype=torch.double)}),
        "NaN or infinite",
    ),
    "one is missing": (lambda s: s.pop(_first(s)), "missing"),
    "one too many": (lambda s: s.update({"more": torch.zeros(3)}), "unknown more"),
    "a name of two lines": (lambda s: s.update({"a\nb\u001b[31m": torch.zeros(3)}), "unknown"),
    "another shape": (lambda s: s.update({_first(s): torch.zeros(3, 4)}), "wrong shape"),
    "no numbers": (lambda s: s.update({_first(s): torch.zeros(0, 2**40)}), "wrong shape"),
    "whole numbers": (lambda s: s.update({_first(s): torch.ones(16, dtype=torch.int32)}), "wrong kind"),
    "complex numbers": (lambda s: s.update({_first(s): torch.ones(16, dtype=torch.cfloat)}), "wrong kind"),
    "nothing": (dict.clear, "missing"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", WEIGHTS)
def test_weights_that_are_none(fault: str, kind: str, originals: Path, tmp_path: Path) -> None:
    change, says = WEIGHTS[fault]
    folder = copied(originals, kind, tmp_path)
    path = folder / "model.safetensors"
    state = {name: value.clone() for name, value in load_file(path).items()}
    change(state)
    save_file(state, path)
    hashed_again(folder)
    refused(tmp_path, kind, "model.safetensors", says)


def hashed_again(folder: Path) -> None:
    """Whoever forges a teacher's weights can forge the hash beside them."""
    card = json.loads((folder / "config.json").read_text())
    if "sha256" in card:
        card["sha256"] = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        (folder / "config.json").write_text(json.dumps(card))


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda whole: whole[:-100],
    "a header of an exabyte": lambda whole: (1 << 60).to_bytes(8, "little") + whole[8:],
    "a header that is none": lambda whole: whole[:8] + b"\xff" * (len(whole) - 8),
    "text": lambda whole: b"<html>Sign in</html>",
    "a pickle that executes": lambda whole: pickle.dumps(Executes()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", BYTES)
def test_weights_that_are_damaged(damage: str, kind: str, originals: Path, tmp_path: Path) -> None:
    folder = copied(originals, kind, tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(BYTES[damage](path.read_bytes()))
    hashed_again(folder)
    refused(tmp_path, kind, "model.safetensors", "cannot be read")


# Checkpoints of others.


def mae(model: PointTransformer) -> State:
    """The weights as Point-MAE names them."""
    renamed = {"tokenizer.": "encoder.", "positional_encoding.": "pos_embed.", "blocks.": "blocks.blocks."}
    state = {}
    for name, value in model.state_dict().items():
        start = next((s for s in renamed if name.startswith(s)), "")
        state[f"MAE_encoder.{renamed.get(start, '')}{name.removeprefix(start)}"] = value.clone()
    return state


NORM = "MAE_encoder.norm.weight"
QKV = "MAE_encoder.blocks.blocks.0.attn.qkv.weight"
FIRST = "MAE_encoder.encoder.first_conv.0.weight"
CHECKPOINTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "not a number": (lambda s: {**s, NORM: torch.full((16,), NAN)}, "NaN"),
    "expanded a billion times": (lambda s: {**s, QKV: torch.zeros(1).expand(2**20, 2**20)}, "expanded"),
    "expanded in a part that is left out": (
        lambda s: {**s, "MAE_decoder.x": torch.zeros(1).expand(2**20, 2**20)},
        "expanded",
    ),
    "on no device": (lambda s: {**s, QKV: torch.empty(2**20, 2**20, device="meta")}, "no plain tensor"),
    "sparse": (lambda s: {**s, QKV: torch.eye(16).to_sparse()}, "no plain tensor"),
    "without channels": (lambda s: {**s, NORM: torch.zeros(0)}, "missing"),
    "without axes": (lambda s: {**s, NORM: torch.tensor(1.0)}, "heads"),
    "a scalar for the positions": (
        lambda s: {**s, "MAE_encoder.pos_embed.0.weight": torch.tensor(1.0)},
        "wrong shape",
    ),
    "wide here and narrow there": (lambda s: {**s, NORM: torch.zeros(2**16)}, "ask for more"),
    "wide in the tokenizer": (
        lambda s: {
            **s,
            FIRST: torch.zeros(2**16, 1),
            "MAE_encoder.encoder.first_conv.3.weight": torch.zeros(2**16, 1),
        },
        "make no encoder",
    ),
    "many blocks": (
        lambda s: {**s, **{f"MAE_encoder.blocks.blocks.{i}.x": torch.zeros(1) for i in range(2000)}},
        "depth",
    ),
    "a prefix without axes": (lambda s: {**s, "MAE_encoder.cls_token": torch.tensor(1.0)}, "wrong shape"),
    "a name of two lines": (lambda s: {**s, "MAE_encoder.a\nb\u001b[31m": torch.zeros(1)}, "not known"),
    "names that are none": (lambda s: {None: torch.zeros(1), 5: torch.zeros(1)}, "unknown layout"),
    "an object that executes": (lambda s: Executes(), "Python objects"),
    "one that executes beside the weights": (lambda s: {"model": s, "args": Executes()}, "Python objects"),
    "one that executes in a list": (lambda s: [s, Executes()], "Python objects"),
    "one that executes as a key": (lambda s: {**s, "hyper_parameters": {"x": Executes()}}, "Python objects"),
    "wrapped in itself": (lambda s: _in_itself(), "no weights"),
    "a whole network": (lambda s: torch.nn.Linear(2, 2), "Python objects"),
    **{
        f"hyper-parameter heads {v}": (
            lambda s, v=v: {"state_dict": s, "hyper_parameters": {"encoder_heads": v}},
            "heads",
        )
        for v in (0, -2, 5, HUGE, 10**18)
    },
}


def _in_itself() -> dict[str, Any]:
    circle: dict[str, Any] = {"epoch": 3}
    circle["model"] = circle
    return circle


@pytest.mark.parametrize("fault", CHECKPOINTS)
def test_checkpoints(fault: str, model: PointTransformer, tmp_path: Path) -> None:
    change, says = CHECKPOINTS[fault]
    torch.save(change(mae(model)), tmp_path / "file.pth")
    name = "file.pth" if "hyper-parameter" in fault else "file.pth?heads=2&groups=8&group_size=8&points=128"
    assert_refused(tried_call(load_teacher, name, cwd=tmp_path), says=["file.pth", says])


@pytest.mark.parametrize("heads", ["0", "-1", "9" * 5000, "\u00b2", "1e3", "2,2", ""])
def test_options_of_checkpoints(heads: str, model: PointTransformer, tmp_path: Path) -> None:
    torch.save(mae(model), tmp_path / "file.pth")
    assert_refused(tried("info", f"file.pth?heads={heads}", cwd=tmp_path), says="heads")


def test_a_checkpoint_that_is_compressed(model: PointTransformer, tmp_path: Path) -> None:
    """A quarter of a gigabyte of zeros takes a quarter of a megabyte of it."""
    torch.save(mae(model), tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
        with bomb.open("plain/data/9999", "w", force_zip64=True) as stream:
            for _ in range(16):
                stream.write(bytes(1 << 24))
    assert_refused(tried_call(load_teacher, "file.pth", cwd=tmp_path), says="compressed archive")


@pytest.mark.parametrize("place", [name for name in PLACES if "nothing" not in name and "folder" not in name])
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_checkpoints_that_are_no_files(place: str, name: str, tmp_path: Path) -> None:
    PLACES[place](tmp_path / name)
    assert_refused(tried_call(load_teacher, name, cwd=tmp_path), says=name)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "\u001b[31m/x", "no/such/folder"])
def test_names_of_teachers_that_are_none(name: str, tmp_path: Path) -> None:
    assert_refused(tried_call(load_teacher, name, cwd=tmp_path))
