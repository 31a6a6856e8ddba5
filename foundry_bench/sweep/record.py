"""The record that a cell leaves behind, key by key, and what is kept beside it: the spec before, the short form after.

A record is JSON, so these are dictionaries with known keys and no classes: ten thousand of them are read as they are.
Every key of the second class of a pair (``total=False``) may be absent, and its sentence says when it is there; every
other key always is. A value that does not apply is null, never a sentinel, and so is a number that is not finite.
"""

from __future__ import annotations

from typing import Any, TypedDict, TypeVar, cast

from foundry_bench.variants import CLUSTERS, EPISODES

SCHEMA_VERSION = 1
Value = TypeVar("Value")


class _Divided(TypedDict, total=False):
    split: str


class Content(_Divided):
    """Something outside the harness that numbers depend on: a teacher's weights, a data set.

    ``name``: what it is called on the command line, or its file or folder.
    ``sha256``: hash of its content, which is what determines a cell.
    ``split``: how the clouds of a folder without sides were divided, with the count of each side; in evaluate cells of tasks
    that need sides, absent where the folder gives them and in older records. It follows from the content and determines
    nothing.
    """

    name: str
    sha256: str


class MethodInputs(TypedDict):
    """The method of a cell.

    ``name``: as registered; of a stack, its methods joined with ``+``.
    ``version``: the class's; null where the plugin could not be imported.
    ``code_sha256``: hash of its source files; null where the plugin could not be imported.
    """

    name: str
    version: str | None
    code_sha256: str | None


class _TaskShown(TypedDict, total=False):
    shown: str


class TaskInputs(_TaskShown):
    """The task of a cell.

    ``name``: as registered.
    ``version``: the class's.
    ``code_sha256``: hash of its source files.
    ``shown``: its fields that are not at their defaults, for people; absent in the oldest records.
    """

    name: str
    version: str
    code_sha256: str


class _BudgetFields(TypedDict, total=False):
    steps: int
    batch_size: int
    views: int
    lr: float
    weight_decay: float
    warmup: float
    curve: int
    clouds: int


class BudgetInputs(_BudgetFields):
    """How long a student was trained, the fields of :class:`~foundry_bench.training.budget.Budget`.

    ``name``: as after ``--budget``.
    ``steps``: optimisation steps.
    ``batch_size``: clouds in a step.
    ``views``: augmented views of each cloud.
    ``lr``: the highest learning rate.
    ``weight_decay``: of matrices; biases and norms have none.
    ``warmup``: share of the steps in which the learning rate rises.
    ``curve``: points of the training curve that are kept.
    ``clouds``: no more of the data set were read, 0 for all; absent in records of pipeline 2 and before.

    Readers ask for the name alone; a field that a version does not know is absent.
    """

    name: str


class HarnessProtocol(TypedDict, total=False):
    """What the harness itself writes into a protocol, beside the task's fields, whose names only the task knows.

    ``budget``: name of the budget, null where the task does not train; in evaluate cells and rehearsals.
    ``labels``: the data set with the labels that it was trained on; in students of experts.
    ``views``: on how many views of a cloud the fidelity is measured; in students without training and in profile cells.
    ``device``: as torch names it; in profile cells.
    ``fidelity_on``: the data set that the fidelity is measured on; in profile cells.
    ``runtimes``: what latency is measured in beside PyTorch, sorted; in profile cells, absent where in nothing else.
    """

    budget: str | None
    labels: Content
    views: int
    device: str
    fidelity_on: Content
    runtimes: list[str]


class Place(TypedDict):
    """A task on a data set that a rehearsal tries; the keys are those of :class:`Inputs`."""

    task: TaskInputs
    dataset: Content
    protocol: dict[str, Any]


class _MoreInputs(TypedDict, total=False):
    student: str
    places: list[Place]


class Inputs(_MoreInputs):
    """All that determines a cell, and short forms of it for people.

    ``pipeline``: :data:`~foundry_bench.sweep.plan.PIPELINE_VERSION` of the program that planned it.
    ``teacher``: the frozen model.
    ``method``: what made the student.
    ``variant``: ``off-the-shelf``, ``fmd`` or ``expert``; null where the plugin could not be imported.
    ``params``: the method's parameters by name, of a student those of its training only; null where the plugin could
    not be imported.
    ``shown``: those of ``params`` that tables show, as text; no part of the identity.
    ``seed``: the sweep's seed, from 0; null where the plugin could not be imported.
    ``task``: of an evaluate cell, and of an expert's student; else null.
    ``dataset``: the clouds that are scored, measured or trained on; null where the plugin could not be imported.
    ``protocol``: the task's fields by their own names, where there is a task, with those of :class:`HarnessProtocol`; null
    for students that are distilled, and where the plugin could not be imported.
    ``budget``: of a student that is trained; else null.
    ``student``: id of the cell that made the student; in evaluate and profile cells, and in students of a stack.
    ``places``: what is tried; in rehearsals only.
    """

    pipeline: int
    teacher: Content
    method: MethodInputs
    variant: str | None
    params: dict[str, Any] | None
    shown: str
    seed: int | None
    task: TaskInputs | None
    dataset: Content | None
    protocol: dict[str, Any] | None
    budget: BudgetInputs | None


class Identity(TypedDict):
    """Which cell it was and how it ended.

    ``cell_id``: SHA-256 of ``kind`` and of what determines the cell in ``inputs``.
    ``kind``: ``student``, ``evaluate``, ``profile``, or ``rehearse`` outside the sweep itself.
    ``status``: ``ok``, ``skipped``, ``failed``, ``oom``, ``timeout`` or ``killed``.
    ``attempt``: from 1, counted over all runs of the sweep.
    ``error_type``: class of the error, or the status where the process could not tell; null for ``ok``, and for ``skipped`` but
    where its student was.
    ``message``: of the error, or why it was skipped; null for ``ok``.
    ``traceback_file``: file beside the record with the traceback or the process's output; null where there is none.
    ``stage``: what was being done when it failed; null for ``ok``, and for ``skipped`` but where its student was.
    """

    cell_id: str
    kind: str
    status: str
    attempt: int
    error_type: str | None
    message: str | None
    traceback_file: str | None
    stage: str | None


class Band(TypedDict):
    """Fidelity on some of the teacher's principal components, the fields of :class:`~foundry_bench.encoder.Band`.

    ``first``, ``last``: which components, from 1.
    ``share``: of the variance of the teacher's tokens that they hold.
    ``r2_linear``, ``r2_within``: as in :class:`Fidelity`, on these components; null where not finite.
    """

    first: int
    last: int
    share: float
    r2_linear: float | None
    r2_within: float | None


class _MoreFidelity(TypedDict, total=False):
    seeded: bool
    r2_parent: float | None
    curve: list[dict[str, float]]
    steps: int
    samples: int
    seconds: float
    r2_linear: float | None
    r2_within: float | None
    bands: list[Band]


class Fidelity(_MoreFidelity):
    """How well a student's tokens are its teacher's, the fields of :class:`~foundry_bench.encoder.DistillReport`.

    ``r2``: share of the variance of the teacher's tokens on held-out clouds that it explains; null where not finite.
    ``seeded``: whether another seed makes another student; in student cells, absent in older records.
    ``r2_parent``: share of the variance of the float parent's tokens that an eight-bit graph explains on the clouds it was
    verified on; in student cells of methods that quantise, else absent.
    ``curve``: points with ``step``, ``loss`` and ``r2``; in student cells, empty where nothing was trained.
    ``steps``: optimisation steps; in student cells.
    ``samples``: clouds seen; in student cells.
    ``seconds``: of training; in student cells.
    ``r2_linear``: R2 after a linear map, found on other objects than it is scored on; absent in older records.
    ``r2_within``: R2 of the tokens' differences from the mean of their cloud; absent in older records.
    ``bands``: both by principal components of the teacher's tokens; absent in older records.
    """

    r2: float | None


class _ScoreUnit(TypedDict, total=False):
    unit: str


class ScoreValue(_ScoreUnit):
    """One number of a task, the fields of :class:`~foundry_bench.task.Score`.

    ``metric``: its name.
    ``value``: in [0, 1] for shares; null where not finite.
    ``n``: units that it is the mean of.
    ``stderr``: its standard error; null where unknown.
    ``ci_low``, ``ci_high``: ends of the 95 % interval; null where unknown.
    ``ci_method``: how the interval was found; null without one.
    ``higher_is_better``: false for an error.
    ``primary``: whether it is the task's number in the leaderboard; exactly one is.
    ``unit``: what the standard error and the interval are over, such as ``class-and-series clusters``; absent in older
    records (:func:`unit_of`).
    """

    metric: str
    value: float | None
    n: int
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str | None
    higher_is_better: bool
    primary: bool


class ScoresBlock(TypedDict):
    """What a task found.

    ``values``: in long form; in the short record the primary one only.
    ``outcomes_file``: the ``.npz`` beside the record with the outcome of every item; null where the task keeps none.
    ``outcomes_sha256``: hash of that file; null without one.
    """

    values: list[ScoreValue]
    outcomes_file: str | None
    outcomes_sha256: str | None


class LatencyCost(TypedDict, total=False):
    """Latency in one runtime, the fields of :class:`~foundry_bench.runtimes.figures.LatencyFigures`.

    ``latency_ms``, ``latency_teacher_ms``: median time of one batch, student and teacher in turns, without grouping the clouds.
    ``latency_ratio``, ``latency_ratio_iqr``: student / teacher of the same turn, and the spread of it.
    ``latency_total_ms``, ``latency_total_ratio``, ``latency_total_ratio_iqr``: the same with grouping.

    All others are absent in older records.

    ``latency_p90_ms``, ``latency_p99_ms``, ``latency_teacher_p90_ms``, ``latency_teacher_p99_ms``,
    ``latency_total_p90_ms``, ``latency_total_p99_ms``, ``latency_total_teacher_ms``, ``latency_total_teacher_p90_ms``,
    ``latency_total_teacher_p99_ms``: further percentiles, of both and with grouping.
    ``latency_cpu_ms``, ``latency_teacher_cpu_ms``, ``latency_total_cpu_ms``, ``latency_total_teacher_cpu_ms``: median CPU time.
    ``latency_cpu_ratio``, ``latency_total_cpu_ratio``: student / teacher of it; null where the clock is too coarse.
    ``latency_control_ratio``, ``latency_control_iqr``, ``latency_control_cpu_ratio``, ``latency_total_control_ratio``,
    ``latency_total_control_iqr``, ``latency_total_control_cpu_ratio``: a second copy of the teacher / the teacher.
    ``cpu_s_per_cloud``: CPU seconds of the student for one cloud, with grouping.
    ``noisy``: the control is off by more than 10 %, or a ratio is not known to 10 %.
    ``attempts``: how often it was measured.
    ``pairs``: turns.
    """

    latency_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_cpu_ms: float
    latency_teacher_ms: float
    latency_teacher_p90_ms: float
    latency_teacher_p99_ms: float
    latency_teacher_cpu_ms: float
    latency_ratio: float
    latency_ratio_iqr: float
    latency_cpu_ratio: float | None
    latency_control_ratio: float
    latency_control_iqr: float
    latency_control_cpu_ratio: float | None
    latency_total_ms: float
    latency_total_p90_ms: float
    latency_total_p99_ms: float
    latency_total_cpu_ms: float
    latency_total_teacher_ms: float
    latency_total_teacher_p90_ms: float
    latency_total_teacher_p99_ms: float
    latency_total_teacher_cpu_ms: float
    latency_total_ratio: float
    latency_total_ratio_iqr: float
    latency_total_cpu_ratio: float | None
    latency_total_control_ratio: float
    latency_total_control_iqr: float
    latency_total_control_cpu_ratio: float | None
    cpu_s_per_cloud: float
    noisy: bool
    attempts: int
    pairs: int


class RuntimeCost(LatencyCost, total=False):
    """A :class:`LatencyCost` in another runtime than PyTorch. With a ``reason`` there are no times.

    ``version``: of the runtime.
    ``reason``: why it could not be measured; else null.
    ``r2``, ``difference``: share of the variance of the student's tokens that those of the runtime explain, and the largest
    difference between them; null where not finite.
    """

    version: str
    reason: str | None
    r2: float | None
    difference: float | None


class Cost(LatencyCost, total=False):
    """What a student takes, the fields of :class:`~foundry_bench.cost.report.CostReport`.

    It is a :class:`LatencyCost` in the student's own ``runtime``, beside a teacher in PyTorch. Its own keys are in the
    record of every profile cell where no sentence says otherwise.

    ``gmacs``: multiply-adds of one cloud / 1e9, mean over the clouds.
    ``gmacs_p95``: their 95th percentile over the clouds.
    ``gmacs_tokenizer``, ``gmacs_encoder``, ``gmacs_decoder``: their parts.
    ``gmacs_ratio``: share of the teacher's.
    ``gflops``: 2 x ``gmacs``.
    ``gmacs_flop_counter``: the same from torch's counter, as a check.
    ``params_m``, ``nonzero_m``: parameters / 1e6, and those that are not zero.
    ``disk_mb``: bytes of the weights / 1e6.
    ``peak_mem_mb``: most resident memory that the student, its weights and one cloud take above ``baseline_mem_mb``, that of a
    process with all libraries at work; null where not measured.
    ``batch``, ``dtype``, ``threads``, ``device``, ``clouds``: how it was measured.
    ``affinity``: processors that the process could use; ``governor``, ``clock_mhz``: of the first of them. Null where
    the system does not say, absent in older records.
    ``joules_per_cloud``: energy of the machine's processors while the student ran, for one cloud; null without a counter, and
    then ``joules_reason`` says why. Absent in older records.
    ``runtime``: the one that runs the student itself, ``eager`` or, in eight bits, ``onnxruntime``; absent in older records.
    ``runtimes``: latency in other runtimes by name, each a :class:`RuntimeCost`; absent in older records.
    ``student_bytes``: of the student's weights; in rehearsals.
    ``cache_bytes``: of the teacher's cached tokens of the whole data set; in rehearsals.
    """

    gmacs: float
    gmacs_p95: float
    gmacs_tokenizer: float
    gmacs_encoder: float
    gmacs_decoder: float
    gmacs_ratio: float
    gflops: float
    gmacs_flop_counter: float
    params_m: float
    nonzero_m: float
    disk_mb: float
    peak_mem_mb: float | None
    baseline_mem_mb: float | None
    batch: int
    dtype: str
    threads: int
    device: str
    affinity: list[int] | None
    governor: str | None
    clock_mhz: float | None
    joules_per_cloud: float | None
    joules_reason: str | None
    clouds: int
    runtime: str
    runtimes: dict[str, RuntimeCost]
    student_bytes: int
    cache_bytes: int


class Commit(TypedDict):
    """The checkout that the program ran from: ``sha`` of its commit, ``dirty`` with changes that are not in it."""

    sha: str
    dirty: bool


class Machine(TypedDict):
    """``python``, ``platform``: version, and system and processor family; ``packages``: version by name, null where one is
    not installed; ``cpu``: model."""

    python: str
    platform: str
    packages: dict[str, str | None]
    cpu: str


class _Ran(TypedDict, total=False):
    gpu: str | None
    threads: int
    device: str
    precision: str
    start: str | None
    end: str
    seconds: float | None


class Environment(Machine, _Ran):
    """Where and with what a cell ran: :class:`Machine`, and

    ``git``: null outside a checkout.
    ``command``: the sweep's command line, without folders of the program.
    ``gpu``: model of the device, null on a processor; absent in records of pipeline 2 and before.
    ``threads``: of torch and BLAS; in every record, and not yet in what a sweep describes before its cells run.
    ``device``: as torch names it; in records of cells that ended by themselves, since pipeline 3.
    ``precision``: of training on this device, ``bfloat16`` or ``float32``; beside ``device``, since pipeline 5.
    ``start``: in UTC, ISO 8601, null where the process was lost; in every record.
    ``end``: in UTC, ISO 8601; in every record.
    ``seconds``: wall-clock time, null where the process was lost; in every record.
    """

    git: Commit | None
    command: str


class Measured(TypedDict, total=False):
    """The blocks of a :class:`Record` that the work of a cell fills; what it leaves out stays null."""

    fidelity: Fidelity
    scores: ScoresBlock
    cost: Cost


class _Sealed(TypedDict, total=False):
    digest: str


class Record(_Sealed):
    """The JSON file that a cell leaves behind.

    ``schema_version``: :data:`SCHEMA_VERSION`; another one is not read.
    ``identity``: which cell, and how it ended.
    ``inputs``: all that determined it.
    ``fidelity``: of students that came to be, and of profile cells whose inference-time parameters change it; else null.
    ``scores``: of evaluate cells with status ``ok``; else null.
    ``cost``: of profile cells and rehearsals with status ``ok``; else null.
    ``environment``: where it ran.
    ``digest``: SHA-256 of all the rest; in the file, and not before it is written.
    """

    schema_version: int
    identity: Identity
    inputs: Inputs
    fidelity: Fidelity | None
    scores: ScoresBlock | None
    cost: Cost | None
    environment: Environment


class Spec(TypedDict):
    """The JSON file that ``run_cell`` reads; it is removed once the cell is finished.

    ``schema_version``: as in the record.
    ``cell_id``, ``kind``, ``attempt``: see :class:`Identity`.
    ``title``: the cell's name for people.
    ``tried``: attempts before the sweep was planned; a record of a later one is not made again.
    ``inputs``: see :class:`Record`.
    ``results``, ``cache``: absolute paths of the results folder and of its cache.
    ``threads``: for torch and BLAS.
    ``budget``: name of the sweep's budget.
    ``device``: as torch names it.
    ``data_root``: folder of the official data sets.
    ``engine``: selector of the engine that runs it.
    ``memory``: bytes that the cell may use, null for no limit.
    ``peak_memory``: whether a profile cell measures peak memory.
    ``plugins``: plugin files that are in use.
    ``node``: name of the machine that ``environment`` describes.
    ``environment``: what the sweep knows of it before the cell runs.
    """

    schema_version: int
    cell_id: str
    kind: str
    title: str
    attempt: int
    tried: int
    inputs: Inputs
    results: str
    cache: str
    threads: int
    budget: str
    device: str
    data_root: str
    engine: str
    memory: int | None
    peak_memory: bool
    plugins: list[str]
    node: str
    environment: Environment


class Seconds(TypedDict):
    """All that the short form keeps of the environment: ``seconds``, null where the process was lost."""

    seconds: float | None


class Entry(TypedDict):
    """The short form of a record, as the index keeps it.

    ``identity``, ``cost``: as in the record.
    ``fidelity``: without its curve.
    ``scores``: with the primary value only.
    ``environment``: the seconds.
    ``title``: the cell's name for people.
    ``method``, ``task``: names from the inputs; ``task`` is null where they have none.
    ``variant``: from the inputs.
    """

    identity: Identity
    title: str
    method: str
    variant: str | None
    task: str | None
    fidelity: Fidelity | None
    scores: ScoresBlock | None
    cost: Cost | None
    environment: Seconds


def blank_record(spec: Spec) -> Record:
    """The record of a cell in which nothing has happened yet."""
    return {
        "schema_version": SCHEMA_VERSION,
        "identity": {
            "cell_id": spec["cell_id"],
            "kind": spec["kind"],
            "status": "failed",
            "attempt": spec["attempt"],
            "error_type": None,
            "message": None,
            "traceback_file": None,
            "stage": None,
        },
        "inputs": spec["inputs"],
        "fidelity": None,
        "scores": None,
        "cost": None,
        "environment": spec["environment"].copy(),
    }


def harness_protocol(inputs: Inputs) -> HarnessProtocol:
    """The protocol of a cell, to be asked for what the harness has written into it; empty without one."""
    return cast(HarnessProtocol, inputs["protocol"] or {})


def unit_of(value: ScoreValue) -> str:
    """What the interval of a score is over. A record that does not say it says how the interval was found."""
    if "unit" in value:
        return value["unit"]
    return CLUSTERS if "cluster" in (value["ci_method"] or "") else EPISODES


def given(value: Value | None) -> Value:
    """A value that this kind of cell always has. Raises ValueError where it is null after all."""
    if value is None:
        raise ValueError("a cell without what its kind needs; run the sweep again in a new folder")
    return value
