"""The point transformer of Point-JEPA and Point-MAE: position is added before *every* block.

Point-BERT, ACT and fine-tuned encoders also run rows that stand for no patch (a CLS token) in front of the patches: the
``prefix``, with positions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from foundry_bench.encoder import Embedding, EncoderConfig, TokenEncoder, Tokens
from foundry_bench.teachers.prefix import Prefix
from foundry_bench.teachers.tokenizer import make_tokenizer

if TYPE_CHECKING:
    from foundry_bench.teachers.checkpoints.names import TeacherSource


def positional_mlp(dim: int) -> nn.Sequential:
    """Centre (…, 3) -> position (…, D): 3-128-GELU-D."""
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim))


def make_blocks(config: EncoderConfig, depth: int | None = None) -> nn.ModuleList:
    """``depth`` (default: the config's) pre-norm transformer blocks from timm."""
    return nn.ModuleList(
        Block(
            config.dim,
            config.heads,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            norm_layer=nn.LayerNorm,
        )
        for _ in range(config.depth if depth is None else depth)
    )


def run_blocks(
    blocks: Iterable[Callable[[Tensor], Tensor]],
    x: Tensor,
    pos: Tensor,
    keep: tuple[int, ...] = (),
    prefix: Prefix | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Tokens (B, T, D) through the blocks with ``pos`` added before each; also the outputs of the blocks in ``keep``, which
    ascends, one for each entry: a transformer of two blocks has the first of them at two of its three levels.

    ``prefix`` rows run in front of them and are not among the outputs.
    """
    kept: list[Tensor] = []
    if prefix is not None:
        x, kept = run_blocks(blocks, *prefix.in_front(x, pos), keep)
        return prefix.split(x)[1], [prefix.split(level)[1] for level in kept]
    for i, block in enumerate(blocks):
        x = block(x + pos)
        kept += [x] * keep.count(i)
    return x, kept


class PointTransformer(TokenEncoder):
    """ViT on point patches; ViT-S/64x32 is the default config, the shipped teacher a smaller one.

    ``prefix`` and ``prefix_pos`` (1, n, D) are parameters where ``config.prefix`` is n > 0, else None. ``source`` says where
    the weights were read. What becomes of the prefix is ``aux["prefix"]`` (B, n, D), after the final norm.
    """

    prefix: nn.Parameter | None
    prefix_pos: nn.Parameter | None
    source: TeacherSource | None = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = make_tokenizer(config.tokenizer_widths, config.dim)
        self.positional_encoding = positional_mlp(config.dim)
        self.blocks = make_blocks(config)
        self.norm = nn.LayerNorm(config.dim)
        self.apply(_init)
        for name in ("prefix", "prefix_pos"):
            rows = nn.Parameter(0.02 * torch.randn(1, config.prefix, config.dim)) if config.prefix else None
            self.register_parameter(name, rows)

    def run(self, x: Tensor, pos: Tensor, keep: tuple[int, ...] = ()) -> tuple[Tensor, list[Tensor]]:
        """The rows of x (B, N, D) after the last block, before the norm, and after each block in ``keep``.

        ``pos`` (B, N, D) is added before every block; the prefix runs in front and is not among the outputs.
        """
        return run_blocks(self.blocks, x, pos, keep, Prefix.of(self, x.shape[0]))

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        keep = self.config.level_blocks if levels else ()
        pos = self.positional_encoding(embedding.centers)
        prefix = Prefix.of(self, embedding.tokens.shape[0])
        if prefix is None:
            x, kept = run_blocks(self.blocks, embedding.tokens, pos, keep)
            return Tokens(self.norm(x), tuple(kept))
        x, kept = run_blocks(self.blocks, *prefix.in_front(embedding.tokens, pos), keep)
        rows, features = prefix.split(self.norm(x))
        return Tokens(features, tuple(prefix.split(level)[1] for level in kept), aux={"prefix": rows.x})

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer}


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02 if module.in_features > 3 else 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
