"""Multiply-adds of the parts that students are made of, written from the formulas and not from the code.

Every method's test module has ``closed_form(method, config, trains)``, the MACs of its token schedule, and ``ZERO``, the method
at zero compression (None if it has no such setting); :mod:`test_every_method` checks both for every registered name.
"""

from __future__ import annotations

from foundry_bench.encoder import EncoderConfig


def tokenizer(config: EncoderConfig, groups: int | None = None) -> int:
    """Factored PointNet: 3-w0-w1 on every point, the global half of w1-w2 once a group, the local half and w2-D on points."""
    w0, w1, w2 = config.tokenizer_widths
    per_point = 3 * w0 + w0 * w1 + w1 * w2 + w2 * config.dim
    return (config.groups if groups is None else groups) * (config.group_size * per_point + w1 * w2)


def position(config: EncoderConfig, rows: int | None = None) -> int:
    """3-128-D on every centre."""
    return (config.groups if rows is None else rows) * (3 * 128 + 128 * config.dim)


def attention(config: EncoderConfig, tokens: int) -> int:
    """Query, key, value, output projections, scores and weighted sum."""
    return 4 * tokens * config.dim**2 + 2 * tokens**2 * config.dim


def mlp(config: EncoderConfig, tokens: int) -> int:
    """Two layers of width ``mlp_ratio`` D."""
    return round(2 * config.mlp_ratio * tokens * config.dim**2)


def block(config: EncoderConfig, tokens: int) -> int:
    """A whole transformer block on one number of tokens."""
    return attention(config, tokens) + mlp(config, tokens)


def cau(config: EncoderConfig) -> int:
    """The reconstruction's two D-D layers on all patches."""
    return 2 * config.groups * config.dim**2


def outside_of_blocks(config: EncoderConfig, reconstructs: bool) -> int:
    """Tokenizer and positions of all patches and, where a student ends in it, the reconstruction."""
    return tokenizer(config) + position(config) + (cau(config) if reconstructs else 0)


def teacher(config: EncoderConfig) -> int:
    """The uncompressed encoder."""
    return outside_of_blocks(config, False) + config.depth * block(config, config.groups)
