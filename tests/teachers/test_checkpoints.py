"""Public checkpoints: read whole, read right, or refused in one line; and named by one text everywhere."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import os
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.teachers import load_teacher, save_teacher, teacher_sha256
from foundry_bench.teachers.checkpoints.building import ratio
from foundry_bench.teachers.checkpoints.names import Options
from foundry_bench.teachers.checkpoints.reading import FOREIGN, RECIPE, WRAPPERS
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.teachers.weights import teacher_folder

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = "?heads=4&groups=16&group_size=8&points=256&up=y"
"""What the reference checkpoints' weights do not tell, and the axes of the reference points."""
CONFIG = EncoderConfig(
    **{"dim": 48, "depth": 2, "heads": 4, "groups": 16, "group_size": 8, "points": 256},
    tokenizer_widths=(16, 24, 32),
    qkv_bias=False,
)

State = dict[str, Tensor]


def _module(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


official = _module(Path(__file__).parents[2] / "benchmarks" / "teacher_forward.py")


def close(ours: Tensor | np.ndarray, theirs: Tensor | np.ndarray) -> None:
    """Equal to 1e-5 of the largest value."""
    reference = np.asarray(theirs)
    np.testing.assert_allclose(np.asarray(ours), reference, rtol=0, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize("branch", ["student", "ema"])
def test_point_jepa_agrees_with_the_official_code(branch: str) -> None:
    golden = np.load(GOLDEN / "point_jepa.npz")
    teacher = load_teacher(f"{GOLDEN / 'point_jepa.ckpt'}{SIZES}&branch={branch}")
    with torch.inference_mode():
        patches = teacher.tokenize(torch.from_numpy(golden["points"]))
        embedding = teacher.embed(patches)
        tokens = teacher.encode(embedding, levels=True)
    np.testing.assert_array_equal(patches.centers, golden["centers"])
    close(embedding.tokens, golden["tokens"])
    close(tokens.features, golden[branch])
    assert len(tokens.levels) == len(golden[f"{branch}_hidden"]) == 3
    for ours, theirs in zip(tokens.levels, golden[f"{branch}_hidden"], strict=True):
        close(ours, theirs)
    assert teacher.config.qkv_bias
    assert teacher.source is not None
    assert (teacher.source.layout, teacher.source.branch) == ("Point-JEPA", branch)


@pytest.mark.parametrize("file", ["point_jepa.ckpt", "point_mae.pth"])
def test_with_z_up_it_sees_what_it_was_trained_on(file: str) -> None:
    """(x, y, z) with y up is (x, -z, y) with z up: the same object gives the same tokens."""
    points = torch.from_numpy(np.load(GOLDEN / "point_mae.npz")["points"])
    trained, turned = (load_teacher(f"{GOLDEN / file}{SIZES}", up=up) for up in ("y", "z"))
    x, y, z = points.unbind(-1)
    with torch.inference_mode():
        expected = trained(trained.tokenize(points)).features
        close(turned(turned.tokenize(torch.stack([x, -z, y], dim=-1))).features, expected)
        assert not torch.allclose(turned(turned.tokenize(points)).features, expected, atol=1e-2)
    assert turned.source is not None
    assert "up=y" not in turned.source.name
    with pytest.raises(UserError, match="unknown up of a teacher 'x'"):
        load_teacher(f"{GOLDEN / file}{SIZES}", up="x")


def test_point_mae_agrees_with_the_official_code() -> None:
    golden = np.load(GOLDEN / "point_mae.npz")
    teacher = load_teacher(f"{GOLDEN / 'point_mae.pth'}{SIZES}")
    with torch.inference_mode():
        patches = teacher.tokenize(torch.from_numpy(golden["points"]))
        embedding = teacher.embed(patches)
        tokens = teacher.encode(embedding, levels=True)
    np.testing.assert_array_equal(patches.centers, golden["centers"])
    close(embedding.tokens, golden["tokens"])
    close(tokens.features, golden["output"])
    for ours, theirs in zip(tokens.levels, golden["hidden"], strict=True):
        close(ours, theirs)
    assert not teacher.config.qkv_bias
    assert teacher.tokenizer.first_conv[0].bias.abs().max() > 0


def test_the_published_form_that_the_other_layouts_are_checked_with_is_the_official_one() -> None:
    golden = np.load(GOLDEN / "point_mae.npz")
    saved = torch.load(GOLDEN / "point_mae.pth", weights_only=True)["base_model"]
    root = "module.MAE_encoder."
    config = replace(CONFIG, depth=3, tokenizer_widths=(128, 256, 512))
    model = official.PublishedEncoder(config).eval()
    model.load_state_dict({k.removeprefix(root): v for k, v in saved.items() if k.startswith(root)})
    patches = load_teacher(f"{GOLDEN / 'point_mae.pth'}{SIZES}").tokenize(torch.from_numpy(golden["points"]))
    with torch.no_grad():
        close(model(patches).features, golden["output"])


# The layouts of which there is no reference file: the published form in each of them.


def _below(root: str, state: State) -> State:
    return {root + name: value for name, value in state.items()}


def _averaged(state: State) -> State:
    """Other weights, as a moving average of earlier ones would be."""
    return {name: 0.8 * value if value.is_floating_point() else value for name, value in state.items()}


def _junk(*names: str) -> State:
    return {name: torch.full((2, 2), 7.0) for name in names}


def _lightning(state: State, tokenizer: str, encoder: str, positions: str = "positional_encoding.") -> State:
    places = {"encoder.": tokenizer, "pos_embed.": positions}
    places.update({"blocks.blocks.": f"{encoder}blocks.", "norm.": f"{encoder}norm."})
    renamed = {}
    for name, value in state.items():
        start = next((s for s in places if name.startswith(s)), "")
        flat = value.flatten() if name.startswith("cls_") else value
        renamed[places.get(start, "") + name.removeprefix(start)] = flat
    return renamed


def _twins(state: State, positions: str = "positional_encoding.", tokenizer: str = "") -> dict[str, Any]:
    """A Lightning checkpoint with student, its twin, and a moving average that differs."""
    student = _lightning(state, f"tokenizer.embedding.{tokenizer}", "student.", positions)
    own = {k.removeprefix("student."): v for k, v in student.items() if k.startswith("student.")}
    average = _averaged(own)
    copies = {**_below("teacher.online_model.", own), **_below("teacher.ema_model.", average)}
    rest = _junk("mask_token", "teacher.initted", "teacher.step", "predictor.x", "decoder.x", "regressor.x")
    return {"state_dict": {**student, **copies, **rest}, "epoch": 799, "optimizer_states": [{"state": {}}]}


@dataclass(frozen=True)
class Case:
    """``write`` puts the state of the published form into a layout as its authors save it."""

    layout: str
    write: Callable[[State], dict[str, Any]]
    prefix: int = 0
    reduced: int = 0
    qkv_bias: bool = False
    conv_bias: bool = True

    def model(self, seed: int = 0) -> Any:
        config = replace(CONFIG, prefix=self.prefix, qkv_bias=self.qkv_bias)
        model = official.PublishedEncoder(config, self.reduced, self.conv_bias).eval()
        official.perturb(model, seed)
        return model


JEPA = {"qkv_bias": True, "conv_bias": False}
CASES = {
    "point-jepa": Case("Point-JEPA", lambda s: _twins(s, tokenizer="encoder."), **JEPA),
    "point2vec": Case("point2vec", _twins, **JEPA),
    "point2vec, early": Case("point2vec", lambda s: _twins(s, "pos_embedding."), **JEPA),
    "point2vec, fine-tuned with a CLS": Case(
        "point2vec, fine-tuned",
        lambda s: {
            "state_dict": {**_lightning(s, "tokenizer.embedding.", "encoder."), **_junk("cls_head.0.weight")}
        },
        prefix=1,
        **JEPA,
    ),
    "point-jepa, parts": Case(
        "Point-JEPA, fine-tuned",
        lambda s: {
            "state_dict": {
                **_lightning(s, "tokenizer.embedding.encoder.", "encoder."),
                **_junk("seg_head.0.weight", "label_embedding.0.weight", "upsampling.mlp_convs.0.weight"),
            }
        },
        **JEPA,
    ),
    "point-mae": Case(
        "Point-MAE",
        lambda s: {
            "base_model": _below("MAE_encoder.", s) | _junk("MAE_decoder.norm.weight", "increase_dim.0.bias")
        },
    ),
    "point-mae, several GPUs": Case(
        "Point-MAE",
        lambda s: {"base_model": _below("module.", _below("MAE_encoder.", s) | _junk("mask_token"))},
    ),
    "point-mae, fine-tuned": Case(
        "Point-MAE family, fine-tuned",
        lambda s: {"base_model": _below("module.", s | _junk("cls_head_finetune.0.weight"))},
        prefix=1,
    ),
    "point-mae, parts": Case(
        "Point-MAE family, fine-tuned",
        lambda s: {
            "model_state_dict": s
            | _junk("label_conv.0.weight", "propagation_0.x", "convs1.bias", "bns2.bias")
        },
    ),
    "act": Case(
        "ACT",
        lambda s: {
            "base_model": _below("ACT_encoder.", s | _junk("lm_head.bias", "cls_head.0.bias"))
            | _junk("ACT_decoder.norm.bias", "dvae_tokenizer.codebook", "proj_head.weight", "cls_pos")
        },
        prefix=1,
    ),
    "point-bert": Case(
        "Point-BERT",
        lambda s: {
            "base_model": _below("transformer_q.", s | _junk("mask_token", "lm_head.bias", "cls_head.0.bias"))
            | _below("transformer_k.", _averaged(s))
            | _junk("dvae.codebook", "queue", "queue_ptr")
        },
        prefix=1,
        reduced=20,
    ),
    "point-bert, fine-tuned": Case(
        "Point-MAE family, fine-tuned",
        lambda s: {
            "base_model": _below("base_model.", s) | _below("base_model.", _junk("cls_head_finetune.3.bias"))
        },
        prefix=1,
        reduced=20,
    ),
    "bare weights": Case("Point-MAE", lambda s: _below("MAE_encoder.", s)),
}


def written(folder: Path, case: Case, seed: int = 0) -> tuple[Path, Any]:
    model = case.model(seed)
    path = folder / "checkpoint.pth"
    torch.save(case.write(model.state_dict()), path)
    return path, model


@pytest.fixture
def patches(clouds: PointCloudDataset) -> Patches:
    """Three real clouds, grouped."""
    return PointTransformer(CONFIG).tokenize(torch.from_numpy(clouds.points[:3, :256]))


@pytest.mark.parametrize("name", CASES)
def test_every_public_layout_is_read_whole(name: str, tmp_path: Path, patches: Patches) -> None:
    case = CASES[name]
    path, model = written(tmp_path, case)
    teacher = load_teacher(f"{path}{SIZES}")
    with torch.no_grad():
        ours, theirs = teacher(patches), model(patches)
    close(ours.features, theirs.features)
    assert ours.features.shape == (3, 16, 48)
    assert ours.aux.keys() == ({"prefix"} if case.prefix else set())
    if case.prefix:
        close(ours.aux["prefix"], theirs.aux["prefix"])
    assert teacher.source is not None
    assert teacher.source.layout == case.layout
    assert teacher.config.qkv_bias == case.qkv_bias
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("name", ["point2vec", "point-bert"])
def test_the_moving_average_is_another_encoder(name: str, tmp_path: Path, patches: Patches) -> None:
    """What an EMA twin shares with the student, the tokenizer of point2vec, is the same."""
    path, model = written(tmp_path, CASES[name])
    teacher = load_teacher(f"{path}{SIZES}", branch="ema")
    kept = ("encoder.", "pos_embed.") if name == "point2vec" else ()
    state = model.state_dict()
    model.load_state_dict(state | _averaged({k: v for k, v in state.items() if not k.startswith(kept)}))
    with torch.no_grad():
        close(teacher(patches).features, model(patches).features)


def test_safetensors_of_the_same_names_are_the_same_teacher(tmp_path: Path, patches: Patches) -> None:
    path, model = written(tmp_path, CASES["bare weights"])
    copy = tmp_path / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in torch.load(path, weights_only=True).items()}, copy)
    with torch.no_grad():
        close(load_teacher(f"{copy}{SIZES}")(patches).features, model(patches).features)


def test_left_out_parts_are_noted(tmp_path: Path) -> None:
    path, _ = written(tmp_path, CASES["point-jepa"])
    source = load_teacher(f"{path}{SIZES}").source
    assert source is not None
    notes = " ".join(source.notes)
    for part in ("predictor.", "teacher.online_model.", "teacher.ema_model.blocks.", "mask_token"):
        assert f"left out {part}" in notes
    assert "heads = 4 (asked for)" in notes


HYPER = {
    "encoder_heads": 3,
    "tokenizer_num_groups": 12,
    "tokenizer_group_size": 6,
    "transformation_subsample_points": 512,
}


def with_hyper_parameters(folder: Path, **values: Any) -> Path:
    saved = CASES["point-jepa"].write(CASES["point-jepa"].model().state_dict())
    path = folder / "lightning.ckpt"
    torch.save({**saved, "hyper_parameters": HYPER | values}, path)
    return path


def test_hyper_parameters_in_the_file_are_used_and_may_be_overruled(tmp_path: Path) -> None:
    path = with_hyper_parameters(tmp_path)
    config = load_teacher(path).config
    assert (config.heads, config.groups, config.group_size, config.points) == (3, 12, 6, 512)
    assert load_teacher(path, groups=5).config.groups == 5
    assert load_teacher(f"{path}?heads=6").config.heads == 6


def test_sizes_that_nothing_tells_are_the_published_ones(tmp_path: Path) -> None:
    config = replace(CONFIG, dim=128, heads=2)
    path = official.point_mae_file(official.PublishedEncoder(config), tmp_path / "pretrain.pth")
    teacher = load_teacher(path)
    assert replace(teacher.config, tokenizer_widths=CONFIG.tokenizer_widths) == replace(
        config, groups=64, group_size=32, points=1024
    )
    assert teacher.source is not None
    assert "groups = 64 (published)" in teacher.source.notes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder_add_pos_at_every_layer": False}, "adds positions once"),
        ({"tokenizer_group_radius": 0.15}, "divides groups by a radius"),
    ],
)
def test_encoders_that_differ_by_a_hyper_parameter_are_refused(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        load_teacher(with_hyper_parameters(tmp_path, **values))


# What is wrong with a file is said in one line that names it.


def refused(path: Path | str, *parts: str) -> str:
    with pytest.raises(UserError) as error:
        load_teacher(path)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    return message


def changed(folder: Path, change: Callable[[State], object], case: str = "point-mae") -> str:
    state = {k: v.clone() for k, v in CASES[case].model().state_dict().items()}
    change(state)
    path = folder / "changed.pth"
    torch.save(CASES[case].write(state), path)
    return f"{path}{SIZES}"


def _rename(state: State) -> None:
    state["blocks.blocks.1.norm1.scale"] = state.pop("blocks.blocks.1.norm1.weight")


DAMAGE: dict[str, tuple[Callable[[State], object], tuple[str, ...]]] = {
    "renamed": (
        _rename,
        (
            "unknown MAE_encoder.blocks.blocks.1.norm1.scale",
            "missing MAE_encoder.blocks.blocks.1.norm1.weight",
        ),
    ),
    "missing in a block": (
        lambda s: s.pop("blocks.blocks.0.mlp.fc2.bias"),
        ("missing MAE_encoder.blocks.blocks.0.mlp.fc2.bias",),
    ),
    "missing bias of a convolution that has one": (
        lambda s: s.pop("encoder.first_conv.0.bias"),
        ("missing MAE_encoder.encoder.first_conv.0.bias",),
    ),
    "missing statistics": (
        lambda s: s.pop("encoder.second_conv.1.running_var"),
        ("missing MAE_encoder.encoder.second_conv.1.running_var",),
    ),
    "missing positions": (lambda s: s.pop("pos_embed.2.weight"), ("missing MAE_encoder.pos_embed.2.weight",)),
    "missing norm": (lambda s: s.pop("norm.weight"), ("MAE_encoder.norm.weight is missing",)),
    "missing block": (
        lambda s: [s.pop(k) for k in list(s) if k.startswith("blocks.blocks.0.")],
        ("MAE_encoder.blocks.blocks.0.mlp.fc1.weight is missing",),
    ),
    "wrong shape": (
        lambda s: s.update({"blocks.blocks.1.attn.proj.weight": torch.zeros(48, 47)}),
        ("MAE_encoder.blocks.blocks.1.attn.proj.weight is (48, 47), not (48, 48)",),
    ),
    "one bias of queries": (
        lambda s: s.update({"blocks.blocks.1.attn.qkv.bias": torch.zeros(144)}),
        ("missing MAE_encoder.blocks.blocks.0.attn.qkv.bias",),
    ),
    "a layer nobody knows": (
        lambda s: s.update({"blocks.blocks.1.adapter.weight": torch.zeros(4)}),
        ("unknown MAE_encoder.blocks.blocks.1.adapter.weight",),
    ),
    "a part nobody knows": (
        lambda s: s.update({"prompts": torch.zeros(4)}),
        ("MAE_encoder.prompts is not known",),
    ),
    "half a CLS": (lambda s: s.update({"cls_pos": torch.zeros(1, 1, 48)}), ("unknown MAE_encoder.cls_pos",)),
    "not a number": (
        lambda s: s["encoder.first_conv.1.running_mean"].fill_(float("nan")),
        ("MAE_encoder.encoder.first_conv.1.running_mean has NaN",),
    ),
    "another model": (lambda s: [s.pop(k) for k in list(s)], ("unknown layout", "MAE_decoder.norm.weight")),
    "ReCon": (
        lambda s: s.update({"blocks.blocks.0.norm1_contrast.weight": torch.zeros(48)}),
        ("ReCon", "normalised"),
    ),
    "PCP-MAE": (lambda s: s.update({"mask_pos_token": torch.zeros(1, 1, 48)}), ("PCP-MAE", "sines")),
    "PCP-MAE, fine-tuned": (lambda s: s.update({"pos_embed.0.weight": torch.zeros(48, 48)}), ("PCP-MAE",)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_weights_that_do_not_fit_are_named(damage: str, tmp_path: Path) -> None:
    change, parts = DAMAGE[damage]
    message = refused(changed(tmp_path, change), *parts)
    assert "changed.pth" in message


def test_every_tokenizer_weight_is_needed(tmp_path: Path) -> None:
    """The trap of the official loader: with ``strict=False`` a tokenizer of another name stays random."""
    names = [k for k in CASES["point-mae"].model().state_dict() if k.startswith("encoder.")]
    assert len(names) == 18
    for name in names:
        refused(changed(tmp_path, lambda s, name=name: s.pop(name)), "missing")


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.ckpt"
    whole = (GOLDEN / "point_jepa.ckpt").read_bytes()
    for content, message in (
        (b"", "empty"),
        (whole[:100], "download it again"),
        (whole[: len(whole) // 2], "download it again"),
        (b"<!DOCTYPE html><html>Sign in</html>", "no checkpoint"),
        (os.urandom(2000), "download it again"),
    ):
        path.write_bytes(content)
        refused(path, message, "file.ckpt")
    torch.save([1, 2], path)
    refused(path, "no weights", "list")
    torch.save({"epoch": 3, "metrics": {"acc": 1.0}}, path)
    refused(path, "no weights", "epoch")
    refused(tmp_path / "absent.ckpt", "does not exist")
    copy = tmp_path / "half.safetensors"
    save_file({"x": torch.zeros(9)}, copy)
    copy.write_bytes(copy.read_bytes()[:-8])
    refused(copy, "cannot be read")


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["all of it", "beside the weights", "in the hyper-parameters"])
def test_nothing_in_a_file_is_run(place: str, tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    evil: Any = Evil(f"touch {shlex.quote(str(marker))}")
    saved = CASES["point-jepa"].write(CASES["point-jepa"].model().state_dict())
    contents = {
        "all of it": evil,
        "beside the weights": {**saved, "callbacks": evil},
        "in the hyper-parameters": {**saved, "hyper_parameters": {"encoder_heads": evil}},
    }
    path = tmp_path / "evil.ckpt"
    torch.save(contents[place], path)
    refused(path, "Python objects", "system", "safetensors")
    assert not marker.exists()


def test_foreign_objects_beside_the_weights_are_passed_over(
    tmp_path: Path, patches: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Point-MAE keeps NumPy numbers and point2vec its data modules; neither package is imported for them."""
    module = types.ModuleType("point2vec")
    code = "class ModelNet:\n    def __init__(self):\n        self.root = 'data'"
    exec(code, module.__dict__)  # a class that cannot be imported when the file is read
    module.ModelNet.__module__ = "point2vec"
    monkeypatch.setitem(sys.modules, "point2vec", module)
    case = CASES["point-jepa"]
    model = case.model()
    extra = {"metrics": {"acc": np.float64(0.9)}, "best": np.ones(3)}
    saved = {
        **case.write(model.state_dict()),
        **extra,
        "hyper_parameters": HYPER | {"svm": module.ModelNet()},
    }
    path = tmp_path / "lightning.ckpt"
    torch.save(saved, path)
    monkeypatch.delitem(sys.modules, "point2vec")
    teacher = load_teacher(f"{path}{SIZES}")
    assert "point2vec" not in sys.modules
    with torch.no_grad():
        close(teacher(patches).features, model(patches).features)


WRAPPED: dict[str, Callable[[Any, State], Any]] = {
    "as the authors wrap it": lambda model, s: CASES["point-mae"].write(s),
    **{f"in {key}": lambda model, s, key=key: {key: _below("MAE_encoder.", s)} for key in WRAPPERS},
    "in two": lambda model, s: {"model": {"state_dict": _below("module.MAE_encoder.", s)}},
    "beside a name of the model": lambda model, s: {
        "model": "ViT-S",
        "state_dict": _below("MAE_encoder.", s),
    },
    "with arguments": lambda model, s: {
        "model": _below("MAE_encoder.", s),
        "args": argparse.Namespace(lr=1e-3),
    },
    "bare": lambda model, s: _below("MAE_encoder.", s),
    "a whole model": lambda model, s: torch.nn.ModuleDict({"MAE_encoder": model}),
    "a whole model in a dictionary": lambda model, s: {"model": torch.nn.ModuleDict({"MAE_encoder": model})},
    "below a name of its own": lambda model, s: {"net": _below("MAE_encoder.", s), "cfg": {"lr": [0.1]}},
    "beside the state of an optimiser": lambda model, s: {
        "optimizer": {"state": {i: {"exp_avg": v} for i, v in enumerate(s.values())}},
        "weights": {"student": _below("MAE_encoder.", s)},
    },
    "in a list": lambda model, s: [datetime.date(2022, 3, 1), _below("MAE_encoder.", s)],
}
"""Layouts of files for which the recipe is printed, because they hold an object beside the weights or around them."""


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_the_recipe_in_the_refusal_makes_a_file_that_loads(
    wrapped: str, tmp_path: Path, patches: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "datetime" not in FOREIGN
    monkeypatch.setitem(sys.modules, official.__name__, official)  # whose class a whole model names
    model = CASES["point-mae"].model()
    path, out = tmp_path / "objects.pth", tmp_path / "weights.safetensors"
    saved = WRAPPED[wrapped](model, model.state_dict())
    torch.save({**saved, "saved": datetime.date(2022, 3, 1)} if isinstance(saved, dict) else saved, path)
    message = refused(path, "Python objects", RECIPE)
    command = message[message.index("python -c") :].replace("IN OUT", f"{path} {tmp_path}/weights")
    python, option, code, *files = shlex.split(command)
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", ["-c", *files])
    exec(code, {})
    with torch.no_grad():
        close(load_teacher(f"{out}{SIZES}")(patches).features, model(patches).features)


def test_the_recipe_runs_in_a_shell(tmp_path: Path) -> None:
    path, out = tmp_path / "objects.pth", tmp_path / "weights.safetensors"
    state = _below("MAE_encoder.", CASES["point-mae"].model().state_dict())
    torch.save({"model": state, "args": argparse.Namespace(started=datetime.date(2022, 3, 1))}, path)
    message = refused(path, "datetime.date", RECIPE)
    command = message[message.index("python -c") :].replace("IN OUT", f"{path} {tmp_path}/weights")
    subprocess.run(command.replace("python", shlex.quote(sys.executable), 1), shell=True, check=True)
    assert load_teacher(f"{out}{SIZES}").config.dim == 48


def test_arguments_beside_the_weights_need_no_recipe(tmp_path: Path, patches: Patches) -> None:
    """The usual file of a vision transformer's code."""
    model, path = CASES["point-mae"].model(), tmp_path / "checkpoint-299.pth"
    args = argparse.Namespace(lr=1e-3, output=Path("out"), blocks=[1, 2])
    torch.save({"model": _below("MAE_encoder.", model.state_dict()), "args": args, "epoch": 299}, path)
    with torch.no_grad():
        close(load_teacher(f"{path}{SIZES}")(patches).features, model(patches).features)


@pytest.mark.parametrize(("hidden", "dim"), [(15, 11), (29, 25), (1536, 384), (7, 48)])
def test_the_ratio_of_an_mlp_is_not_rounded_to_one_unit_less(hidden: int, dim: int) -> None:
    assert int(dim * ratio(hidden, dim)) == hidden


# One text names a teacher.


def test_a_name_with_options_is_one_identity(tmp_path: Path) -> None:
    path, _ = written(tmp_path, CASES["point-jepa"])
    plain = teacher_sha256(path)
    assert teacher_sha256(f"{path}?branch=student") == plain
    hashes = {
        teacher_sha256(f"{path}{q}") for q in ("", "?branch=ema", "?groups=8", "?groups=9", "?points=8")
    }
    assert len(hashes) == 5
    assert teacher_sha256(f"{path}?groups=8&branch=ema") == teacher_sha256(f"{path}?branch=ema&groups=8")
    assert teacher_folder(f"{path}?groups=8") == path
    written(tmp_path, CASES["point-jepa"], seed=1)
    assert teacher_sha256(path) != plain


def test_the_source_names_the_same_teacher_again(tmp_path: Path, patches: Patches) -> None:
    path, _ = written(tmp_path, CASES["point-jepa"])
    teacher = load_teacher(f"{path}?heads=4&groups=9", branch="ema", groups=16, group_size=8)
    assert teacher.source is not None
    assert teacher.source.name == f"{path}?branch=ema&heads=4&groups=16&group_size=8"
    assert teacher.source.sha256 == teacher_sha256(teacher.source.name)
    again = load_teacher(teacher.source.name)
    assert again.config == teacher.config
    assert again.source == teacher.source
    with torch.no_grad():
        assert torch.equal(again(patches).features, teacher(patches).features)


def test_a_question_mark_in_a_path_is_no_option(tmp_path: Path) -> None:
    path, _ = written(tmp_path, CASES["point-jepa"])
    odd = path.rename(tmp_path / "is this it?branch=ema")
    assert teacher_folder(odd) == odd
    assert load_teacher(odd, heads=4).source.branch == "student"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("branches=ema", "did you mean 'branch'"),
        ("branch=em", "did you mean 'ema'"),
        ("groups=many", "whole number"),
        ("groups=0", "whole number"),
        ("groups", "whole number"),
        ("groups=8&groups=9", "twice"),
    ],
)
def test_options_nobody_knows_are_refused(query: str, message: str) -> None:
    path = GOLDEN / "point_mae.pth"
    refused(f"{path}?{query}", message)
    with pytest.raises(UserError, match=message):
        teacher_sha256(f"{path}?{query}")


def test_options_that_do_not_fit_the_file_are_refused() -> None:
    path = GOLDEN / "point_mae.pth"
    refused(path, "heads", "FILE?heads=")
    refused(f"{path}?heads=5", "do not divide")
    refused(f"{path}{SIZES}&branch=ema", "Point-MAE has one encoder")
    refused("small?groups=32", "leave groups out")


def test_options_survive_their_own_text() -> None:
    options = Options(branch="ema", groups=128, points=2048)
    assert options.query == "branch=ema&groups=128&points=2048"
    assert Options.parse(options.query) == options
    assert Options.parse("") == Options()


def test_hashing_a_checkpoint_does_not_import_torch() -> None:
    code = (
        "import sys; from foundry_bench.teachers import teacher_sha256; "
        f"teacher_sha256({str(GOLDEN / 'point_mae.pth')!r} + '?branch=ema'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What is made from a checkpoint.


@pytest.mark.parametrize("name", ["point-mae", "point-bert", "act"])
def test_students_of_a_checkpoint_come_back_from_disk(
    name: str, tmp_path: Path, patches: Patches, clouds: PointCloudDataset
) -> None:
    path, _ = written(tmp_path, CASES[name])
    teacher = load_teacher(f"{path}{SIZES}")
    student = make_student("tome[r=2]+fmd", teacher, clouds)
    save_student(student, tmp_path / "student")
    path.unlink()
    again = load_student(tmp_path / "student")
    with torch.no_grad():
        assert torch.equal(student(patches).features, again(patches).features)
    assert again.origin is not None
    assert again.origin.teacher == f"{path}{SIZES}"


@pytest.mark.parametrize("name", ["point-jepa", "point-bert"])
def test_a_checkpoint_can_be_kept_as_a_folder_of_ours(name: str, tmp_path: Path, patches: Patches) -> None:
    path, _ = written(tmp_path, CASES[name])
    teacher = load_teacher(f"{path}{SIZES}")
    save_teacher(teacher, tmp_path / "ours", {})
    again = load_teacher(tmp_path / "ours")
    assert again.config == teacher.config
    with torch.no_grad():
        gap = (again(patches).features - teacher(patches).features).abs().max()
    assert gap < 0.02  # half precision
