"""Experiment trackers as optional sinks of a sweep: MLflow, Weights & Biases, TensorBoard, and those of plugins.

A tracker can fail, hang or be missing; the sweep never does. See :mod:`foundry_bench.trackers.guard`.
"""

from foundry_bench.trackers.base import Session, Sweep, Tracker
from foundry_bench.trackers.guard import Trackers, select
from foundry_bench.trackers.rows import Row

__all__ = ["Row", "Session", "Sweep", "Tracker", "Trackers", "select"]
