"""What an export needs that not everybody has installed, told before work starts."""

from __future__ import annotations

from importlib.util import find_spec

from foundry_bench.errors import UserError, unknown

FORMATS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "executorch": ("executorch",),
    "torch": (),
}
"""Format -> the packages that write it and run what was written. An extra of this package is called as the format."""


def missing(form: str) -> str | None:
    """Why an export of the format ``form`` cannot be made here, with the fix, or None. Nothing is imported."""
    absent = [name for name in FORMATS[form] if find_spec(name) is None]
    if not absent:
        return None
    return f"{form} needs {', '.join(absent)}: pip install 'foundry-bench[{form}]'"


def onnx_missing() -> str | None:
    """Why ONNX graphs cannot be made and run here, with the fix, or None."""
    return missing("onnx")


def require(form: object) -> None:
    """Raise UserError for a format that is none, or that needs packages which are not installed."""
    if not isinstance(form, str) or form not in FORMATS:
        raise unknown("format", str(form), FORMATS)
    if reason := missing(form):
        raise UserError(f"cannot export: {reason}")
