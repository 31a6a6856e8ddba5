"""Teachers: the point transformer, its self-supervised pre-training, the shipped weights."""

from foundry_bench.teachers.weights import load_teacher, save_teacher, teacher_sha256

__all__ = ["PointTransformer", "load_teacher", "save_teacher", "teacher_sha256"]


def __getattr__(name: str) -> object:
    """Import torch only when the model class is asked for: hashing a teacher must stay cheap."""
    if name == "PointTransformer":
        from foundry_bench.teachers.transformer import PointTransformer

        return PointTransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
