"""TensorBoard: a folder per row with its training curve and scores, and its parameters for the HParams page.

Every event file belongs to one record and is written whole, under a name made of the record. So nothing is ever shown
twice, a resumed sweep adds files only, and no file name holds the host's name, as those of the usual writer do.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from foundry_bench.storage import write_atomic
from foundry_bench.sweep.record import Record
from foundry_bench.trackers.base import Session, Sweep, Tracker, local_folder
from foundry_bench.trackers.rows import Row, curve, ended, failure, metrics, sweep_config

if TYPE_CHECKING:
    import pandas as pd
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

LAST = 9_999_999_999
"""Stands for the time in the names of files about a whole row or sweep: TensorBoard reads files in the order of names."""


@dataclass(frozen=True)
class TensorBoard(Tracker):
    """Log to TensorBoard: one run folder per method, variant, parameters and seed, and the leaderboard as text.

    ``folder`` is where the event files go; empty means RESULTS/trackers/tensorboard. Look at them with
    ``tensorboard --logdir FOLDER``.
    """

    folder: str = ""
    needs: ClassVar[tuple[str, ...]] = ("tensorboard",)
    extra: ClassVar[str] = "tensorboard"

    def open(self, sweep: Sweep, state: dict[str, Any]) -> Session:
        folder = Path(self.folder).expanduser() if self.folder else local_folder(sweep, "tensorboard")
        return TensorBoardSession(sweep, folder)


class TensorBoardSession(Session):
    """Writes event files; keeps nothing open."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self._sweep = sweep
        self._folder = folder
        text = yaml.safe_dump(sweep_config(sweep.config), sort_keys=False)
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        write_events(folder / _file(0, "sweep"), [_event(0.0, 0, text_summary("sweep", indented))])

    def cell(self, row: Row, record: Record) -> None:
        when, about = ended(record), record["identity"]
        events = [_event(when, step, scalar_summary(point)) for step, point in curve(record)]
        events.append(_event(when, 0, scalar_summary(metrics(record))))
        file = self._row_folder(row) / _file(int(when), about["cell_id"][:16])
        for stale in file.parent.glob(f"*.{about['cell_id'][:16]}"):
            stale.unlink()  # of an earlier attempt
        write_events(file, events)

    def row(self, row: Row, records: list[Record]) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        problem = failure(records)
        times = [ended(record) for record in records]
        events = [
            _event(max(times), 0, hparams_pb(row.config, trial_id=row.id, start_time_secs=min(times))),
            _event(max(times), 0, end_summary(max(times), failed=problem is not None)),
        ]
        if problem:
            events.append(_event(max(times), 0, text_summary("failure", problem)))
        write_events(self._row_folder(row) / _file(LAST, "row"), events)

    def close(self, board: pd.DataFrame | None) -> None:
        if board is not None:
            table = text_summary("leaderboard", markdown(board))
            write_events(self._folder / _file(LAST, "leaderboard"), [_event(0.0, 0, table)])

    def _row_folder(self, row: Row) -> Path:
        return self._folder / re.sub(r"[^\w.=+,-]+", "-", row.name.replace("]", ""))


def _file(seconds: int, name: str) -> str:
    return f"events.out.tfevents.{seconds:010d}.{name}"


def _event(when: float, step: int, summary: Summary) -> Event:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=when, step=step, summary=summary)


def write_events(path: Path, events: Iterable[Event]) -> None:
    """Write an event file whole, in TensorBoard's record format."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in (Event(file_version="brain.Event:2"), *events):
        writer.write(event.SerializeToString())
    part = path.with_name(
        path.name.replace("tfevents", "part")
    )  # which a running TensorBoard does not look at
    write_atomic(part, buffer.getvalue())
    part.replace(path)


def scalar_summary(values: dict[str, float]) -> Summary:
    """Scalars under their tags."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def end_summary(when: float, *, failed: bool) -> Summary:
    """What the HParams page shows as the status of a row; TensorBoard's own function for it needs TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = Status.STATUS_FAILURE if failed else Status.STATUS_SUCCESS
    data = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=when))
    about = metadata.create_summary_metadata(data)
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def text_summary(tag: str, text: str) -> Summary:
    """A text in Markdown."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    return Summary(value=[Summary.Value(tag=tag, metadata=plugin, tensor=tensor)])


def markdown(board: pd.DataFrame) -> str:
    """A leaderboard as a table in Markdown, numbers with four digits."""
    columns = list(map(str, board.columns))
    lines = [columns, ["---"] * len(columns)]
    for values in board.astype(object).where(board.notna(), "").values.tolist():
        lines.append([f"{value:.4g}" if isinstance(value, float) else str(value) for value in values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
