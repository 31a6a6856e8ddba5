"""Eight-bit integers in an exported graph, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from foundry_bench.exports.graph import quiet
from foundry_bench.exports.needs import require


def quantize(source: Path | str, target: Path | str) -> None:
    """Write the float graph ``source`` with the products of its linear layers in eight bits into ``target``.

    Weights have a scale per output channel, activations one per product that is measured when it runs (ONNX Runtime's dynamic
    quantisation). Weights keep to seven bits, because processors without VNNI add pairs of products in 16 bits and saturate
    silently: the same numbers on every machine are worth more than the eighth bit.
    """
    require("onnx")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            str(source), str(target), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
        )
