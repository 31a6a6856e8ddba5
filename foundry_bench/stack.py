"""Methods on top of each other, such as ``foundry+int8``: the first is trained, the others compress the trained student.

Where one of the others can be trained, as in ``kd+lowrank``, the distilled stack is trained once more, as a whole: each of the
two trainings gets half the steps, so that a stack spends what every other student does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from foundry_bench.encoder import Encoder, Tokens
from foundry_bench.errors import UserError
from foundry_bench.method import Method, student_of
from foundry_bench.variants import FMD, OFF_THE_SHELF, Family

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


class MisplacedError(UserError):
    """A method stands behind another that has nothing to give without training from its start."""


@dataclass(frozen=True)
class Stack(Method):
    """``parts``: two or more methods. Parameters of all but the first carry their method's name: ``int8.bits``.

    Raises MisplacedError for one behind the first that has nothing to give without training, and for one behind another whose
    student cannot be changed.
    """

    parts: tuple[Method, ...]

    def __post_init__(self) -> None:
        for part in self.parts[:-1]:
            if part.last:
                others = [other.name for other in self.parts if other is not part]
                raise MisplacedError(
                    f"{self.name}: nothing can change what {part.name} makes; put it last, as in "
                    f"{'+'.join([*others, part.name])}"
                )
        for part in self.parts[1:]:
            if OFF_THE_SHELF not in part.variants:
                raise MisplacedError(
                    f"{self.name}: {part.name} makes a student that has to be trained from its start; put it first, as in "
                    f"{'+'.join([part.name, *(other.name for other in self.parts if other is not part)])}"
                )

    def tuned(self, variant: str) -> bool:
        """Whether the stack is trained once more after its last method: distilled, and one of the others can be trained."""
        return variant == FMD and any(FMD in part.variants for part in self.parts[1:])

    @property
    def last(self) -> bool:  # type: ignore[override]
        """Whether nothing can stand behind it, because of its last method."""
        return self.parts[-1].last

    @property
    def body(self) -> Method:
        """What of it can be trained: all but a last method whose student cannot be changed."""
        kept = self.parts[:-1] if self.last else self.parts
        return kept[0] if len(kept) == 1 else Stack(kept)

    @property
    def name(self) -> str:  # type: ignore[override]
        """``foundry+int8``."""
        return "+".join(part.name for part in self.parts)

    @property
    def family(self) -> Family | None:  # type: ignore[override]
        """That of the first method."""
        return self.parts[0].family

    @property
    def version(self) -> str:  # type: ignore[override]
        """The versions of all parts."""
        return "+".join(part.version for part in self.parts)

    @property
    def variants(self) -> tuple[str, ...]:  # type: ignore[override]
        """The variants of the first method."""
        return self.parts[0].variants

    @property
    def inference(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inference-time parameters of all methods, under the names that :meth:`params` gives them; none where the last
        method's student cannot be changed."""
        if self.last:
            return ()
        return tuple(name for part in self.parts for name in self._named(part, dict.fromkeys(part.inference)))

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        first = self.parts[0]
        student = student_of(first, first.compress(teacher, data, ctx), teacher)
        self.parts[0].configure(student)
        return self.finish(student, data, ctx)

    def finish(self, student: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        """Apply all methods but the first to the first one's ``student``, trained and configured; some run it to calibrate."""
        for part in self.parts[1:]:
            student = student_of(part, part.compress(student.eval(), data, ctx))
            part.configure(student)
        return student

    def configure(self, student: Encoder) -> None:
        for part in self.parts:
            part.configure(student)

    def loss(self, student: Encoder, inputs: Any, target: Tokens) -> Tensor:
        return self.parts[0].loss(student, inputs, target)

    def skip(self, teacher: Encoder, task: str) -> str | None:
        reasons = [part.skip(teacher, task) for part in self.parts]
        return next((reason for reason in reasons if reason is not None), None)

    def lacks(self) -> str | None:
        return next((reason for part in self.parts if (reason := part.lacks()) is not None), None)

    def params(self) -> dict[str, Any]:
        return {k: v for part in self.parts for k, v in self._named(part, part.params()).items()}

    def trained(self) -> Method:
        return self if self.last else Stack(tuple(part.trained() for part in self.parts))

    def shown(self, values: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for part in self.parts:
            own = {k: values[name] for k, name in self._names(part).items() if name in values}
            shown |= self._named(part, part.shown(own))
        return shown

    def classes(self) -> tuple[type, ...]:
        return tuple(cls for part in self.parts for cls in part.classes())

    def _prefix(self, part: Method) -> str:
        return "" if part is self.parts[0] else f"{part.name}."

    def _names(self, part: Method) -> dict[str, str]:
        return {k: self._prefix(part) + k for k in part.params()}

    def _named(self, part: Method, values: dict[str, Any]) -> dict[str, Any]:
        return {self._prefix(part) + k: v for k, v in values.items()}
