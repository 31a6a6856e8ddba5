"""From a student to a folder that runs without PyTorch and without this package: graphs, their verification, runners.

Every export is run in the runtime that it is for, on real clouds, and held to the student's own tokens before it gets its name.
"""

from foundry_bench.exports.eight_bits import QuantizedEncoder, quantized
from foundry_bench.exports.encoder import RuntimeEncoder
from foundry_bench.exports.needs import onnx_missing, require
from foundry_bench.exports.onnx_file import OnnxFile, to_onnx
from foundry_bench.exports.quantize import quantize
from foundry_bench.exports.session import Session

__all__ = [
    "OnnxFile",
    "QuantizedEncoder",
    "RuntimeEncoder",
    "Session",
    "onnx_missing",
    "quantize",
    "quantized",
    "require",
    "to_onnx",
]
