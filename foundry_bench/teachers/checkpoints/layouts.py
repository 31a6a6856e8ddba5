"""The public layouts of point transformers' weights: which names in a file are whose, and which are not the encoder's.

Names were read in the official repositories: Point-JEPA (Ayumu-J-S/Point-JEPA), point2vec (kabouzeid/point2vec), Point-MAE
(Pang-Yatian/Point-MAE), PCP-MAE (aHapBean/PCP-MAE), ACT (RunpeiDong/ACT), Point-BERT (lulutang0608/Point-BERT) and ReCon
(qizekun/ReCon). In all of them ``strict=False`` hides a tokenizer that stayed random; here every name has to be accounted for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from foundry_bench.errors import UserError
from foundry_bench.teachers.cards import shown
from foundry_bench.teachers.checkpoints.names import BRANCHES, EMA, STUDENT

Parts = dict[str, str]
"""Beginning of a name in the file -> beginning of the same name in :class:`PointTransformer`'s state."""
REDUCE = "tokenizer.reduce."


@dataclass(frozen=True)
class Layout:
    """One public layout.

    A file has it if some name begins with each of ``marks``. ``branches``: the parts of each encoder in it. Names that begin
    with one of ``dropped`` are known not to be the encoder's; any other name below one of ``roots`` is an error, and elsewhere
    is left out with a note. ``conv_bias``: whether the tokenizer's layers before a batch norm have a bias.
    """

    name: str
    marks: tuple[str, ...]
    branches: dict[str, Parts]
    dropped: tuple[str, ...]
    roots: tuple[str, ...]
    conv_bias: bool = True


def _lightning(tokenizer: str, encoder: str) -> Parts:
    """Parts of a Lightning checkpoint; early ones of point2vec call the positions ``pos_embedding``."""
    positions = ("positional_encoding.", "pos_embedding.")
    return {
        tokenizer: "tokenizer.",
        **dict.fromkeys(positions, "positional_encoding."),
        f"{encoder}blocks.": "blocks.",
        f"{encoder}norm.": "norm.",
        "cls_pos": "prefix_pos",
        "cls_token": "prefix",
    }


def _mae(root: str) -> Parts:
    """Parts of the Point-BERT family, from which Point-MAE, PCP-MAE and ACT descend."""
    return {
        f"{root}encoder.": "tokenizer.",
        f"{root}reduce_dim.": REDUCE,
        f"{root}pos_embed.": "positional_encoding.",
        f"{root}blocks.blocks.": "blocks.",
        f"{root}norm.": "norm.",
        f"{root}cls_pos": "prefix_pos",
        f"{root}cls_token": "prefix",
    }


def _self_distilled(name: str, tokenizer: str, mark: str) -> tuple[Layout, Layout]:
    """Point-JEPA or point2vec, as pre-trained and as fine-tuned."""
    pretrained = Layout(
        name,
        ("student.", mark),
        {STUDENT: _lightning(tokenizer, "student."), EMA: _lightning(tokenizer, "teacher.ema_model.")},
        (
            "teacher.initted",
            "teacher.step",
            "teacher.online_model.",
            "predictor.",
            "regressor.",
            "decoder.",
            "mask_token",
        ),
        ("tokenizer.", "positional_encoding.", "pos_embedding.", "student.", "teacher."),
        conv_bias=False,
    )
    finetuned = Layout(
        f"{name}, fine-tuned",
        ("encoder.", mark),
        {STUDENT: _lightning(tokenizer, "encoder.")},
        ("cls_head.", "seg_head.", "label_embedding.", "upsampling.", "mask_token"),
        ("tokenizer.", "positional_encoding.", "pos_embedding.", "encoder."),
        conv_bias=False,
    )
    return pretrained, finetuned


LAYOUTS = (
    *_self_distilled("Point-JEPA", "tokenizer.embedding.encoder.", "tokenizer.embedding.encoder."),
    *_self_distilled("point2vec", "tokenizer.embedding.", "tokenizer.embedding.first_conv."),
    Layout(
        "Point-BERT",
        ("transformer_q.",),
        {STUDENT: _mae("transformer_q."), EMA: _mae("transformer_k.")},
        (
            *(f"transformer_{k}.{head}" for k in "qk" for head in ("mask_token", "lm_head.", "cls_head.")),
            "dvae.",
            "queue",
        ),
        ("transformer_q.", "transformer_k."),
    ),
    Layout(
        "ACT",
        ("ACT_encoder.",),
        {STUDENT: _mae("ACT_encoder.")},
        (
            "ACT_encoder.lm_head.",
            "ACT_encoder.cls_head.",
            "ACT_decoder.",
            "decoder_pos_embed.",
            "dvae_tokenizer.",
            "proj_head.",
            "mask_token",
            "cls_pos",
        ),
        ("ACT_encoder.",),
    ),
    Layout(
        "Point-MAE",
        ("MAE_encoder.",),
        {STUDENT: _mae("MAE_encoder.")},
        ("MAE_decoder.", "decoder_pos_embed.", "increase_dim.", "mask_token"),
        ("MAE_encoder.",),
    ),
    Layout(
        "Point-MAE family, fine-tuned",
        ("encoder.first_conv.", "blocks.blocks."),
        {STUDENT: _mae("")},
        (
            "cls_head_finetune.",
            "cls_head.",
            "label_conv.",
            "propagation_0.",
            *(f"{layer}{i}." for layer in ("convs", "bns") for i in (1, 2, 3)),
            "side",
        ),
        ("",),
    ),
)


@dataclass(frozen=True)
class Named:
    """``names``: a name in :class:`PointTransformer`'s state -> its name in the file, by the layout's ``parts``. ``notes`` say
    what was left out."""

    names: dict[str, str]
    parts: Parts
    notes: tuple[str, ...]

    def in_file(self, name: str) -> str:
        """The name in the file of one of ours, also where the file lacks it."""
        start = next((s for s, ours in self.parts.items() if name.startswith(ours)), "")
        return self.names.get(name) or start + name.removeprefix(self.parts.get(start, ""))


def recognise(names: Iterable[str]) -> Layout:
    """The layout of a file with these ``names``. Raises UserError for an unknown one, naming what it saw."""
    names = list(names)
    _reject_known_others(names)
    for layout in LAYOUTS:
        if all(any(name.startswith(mark) for name in names) for mark in layout.marks):
            return layout
    first, known = ", ".join(map(shown, sorted(names)[:5])), ", ".join(dict.fromkeys(x.name for x in LAYOUTS))
    raise UserError(f"unknown layout of {len(names)} weights ({first}, ...); known are {known}")


def _reject_known_others(names: list[str]) -> None:
    if any("_contrast." in name for name in names):
        raise UserError(
            "ReCon's blocks add attention and MLP to their *normalised* input (models/transformer.py of qizekun/ReCon), which "
            "is no encoder that methods here can work on; take a checkpoint of Point-MAE, ACT or Point-BERT"
        )
    if any("mask_pos_token" in name for name in names):
        raise UserError(SINUSOIDAL)


SINUSOIDAL = (
    "PCP-MAE makes positions from sines and cosines of the centres (models/pos.py of aHapBean/PCP-MAE), not from the centres "
    "themselves, which is no encoder here; take a checkpoint of Point-MAE, ACT or Point-BERT"
)


def match(layout: Layout, names: Iterable[str], branch: str) -> Named:
    """Find every weight of one encoder. Raises UserError for a branch that the layout has not, and for a name below the
    encoder's that nobody knows."""
    if branch not in layout.branches:
        raise UserError(f"{layout.name} has one encoder, no branch {branch!r}; leave branch={branch} out")
    parts, names = layout.branches[branch], list(names)
    parts = _with_reduction(parts) if _has_reduction(parts, names) else parts
    others = [start for other in BRANCHES for start in layout.branches.get(other, {}) if start not in parts]
    found: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    for name in names:
        start = next((start for start in parts if name.startswith(start)), None)
        if start is not None:
            ours = parts[start] + name.removeprefix(start)
            if ours in found:
                raise UserError(
                    f"both {shown(found[ours])} and {shown(name)} are {shown(ours)}; remove one of them from the file"
                )
            found[ours] = name
        elif left := next((start for start in (*layout.dropped, *others) if name.startswith(start)), None):
            dropped[left] += 1
        elif any(name.startswith(root) for root in layout.roots):
            raise UserError(
                f"{shown(name)} is not known in the layout of {layout.name}; remove it if it is a head's"
            )
        else:
            dropped[name] += 1
    notes = tuple(f"left out {start} ({count} tensors)" for start, count in sorted(dropped.items()))
    return Named(found, parts, notes)


def _has_reduction(parts: Parts, names: list[str]) -> bool:
    starts = tuple(start for start, ours in parts.items() if ours == REDUCE)
    return bool(starts) and any(name.startswith(starts) for name in names)


def _with_reduction(parts: Parts) -> Parts:
    """Point-BERT's PointNet is narrower than its transformer: a part of the tokenizer, with a linear layer after it."""
    return {start: "tokenizer.pointnet." if ours == "tokenizer." else ours for start, ours in parts.items()}
