"""Timing in turns on a machine whose clock only goes on when somebody works."""

from __future__ import annotations

import pytest

from foundry_bench.runtimes import turns
from foundry_bench.runtimes.turns import ATTEMPTS, MIN_TURNS, Turns, in_turns
from tests.runtimes.simulated_machine import Machine

ORDERS = 6
"""Orders of three contenders; after so many turns each has stood at every place equally often."""


def measured(machine: Machine, student: float = 1.0, teacher: float | None = 2.0, **options: object) -> Turns:
    """A student and a teacher that take so many seconds."""
    base = student if teacher is None else teacher
    return in_turns(
        machine.taking(student),
        None if teacher is None else machine.taking(teacher),
        machine.taking(base),
        clock=machine.clock,
        **{"seconds": 120.0, **options},
    )


def test_a_quiet_machine_is_measured_once() -> None:
    found = measured(Machine())
    assert found.ratio is not None
    assert found.teacher is not None
    assert (found.ratio.median, found.ratio.iqr, found.ratio.cpu) == (0.5, 0.0, 0.5)
    assert (found.student.p50, found.teacher.p50, found.student.cpu) == (1000, 2000, 1000)
    assert (found.control.median, found.attempts, found.noisy) == (1.0, 1, False)
    assert found.turns == 24, "five seconds a turn"


def test_percentiles_tell_how_seldom_a_run_is_slow() -> None:
    slow_tenth = iter([1.0] * 6 + ([1.0] * 27 + [9.0] * 3) * 100)
    machine = Machine()
    machine.load = slow_tenth
    found = measured(machine, 1.0, 1.0, seconds=3000.0)
    assert found.student.p50 == 1000
    assert found.student.p99 == 9000


def test_a_disturbed_measurement_is_made_again_and_the_quiet_one_counts() -> None:
    """The control takes five times as long in the first minutes."""
    machine = Machine()

    def control(number: int) -> None:
        machine.work(2.0 if machine.wall > 200 else 10.0)

    found = in_turns(machine.taking(1.0), machine.taking(2.0), control, seconds=60.0, clock=machine.clock)
    assert found.attempts == 2
    assert not found.noisy
    assert found.control.median == 1.0


def test_a_machine_that_never_is_quiet_is_noisy_after_a_bounded_number_of_attempts() -> None:
    machine = Machine()
    found = in_turns(
        machine.taking(1.0), machine.taking(2.0), machine.taking(2.3), seconds=60.0, clock=machine.clock
    )
    assert found.noisy
    assert found.attempts == ATTEMPTS
    assert found.control.median == pytest.approx(1.15)


@pytest.mark.parametrize(("control", "noisy"), [(2.19, False), (2.21, True), (1.81, False), (1.79, True)])
def test_ten_per_cent_is_the_border(control: float, noisy: bool) -> None:
    machine = Machine()
    found = in_turns(
        machine.taking(1.0), machine.taking(2.0), machine.taking(control), seconds=60.0, clock=machine.clock
    )
    assert found.noisy is noisy


def test_a_control_that_is_right_only_by_chance_is_noisy() -> None:
    """Its median is 1, and two turns of three are off by a factor of 20."""
    machine = Machine()
    factors = iter([1.0, 1.0] + [20.0, 1.0, 0.05] * 1000)
    found = in_turns(
        machine.taking(1.0),
        machine.taking(2.0),
        lambda number: machine.work(2.0 * next(factors)),
        seconds=600.0,
        clock=machine.clock,
        attempts=1,
    )
    assert found.control.median == pytest.approx(1.0)
    assert found.noisy


def test_a_student_whose_times_differ_too_much_for_so_few_turns_is_noisy() -> None:
    machine = Machine()
    factors = iter([1.0, 1.0] + [1.0, 9.0] * 1000)

    def measure(seconds: float) -> Turns:
        student = lambda number: machine.work(next(factors))  # noqa: E731
        copies = machine.taking(2.0), machine.taking(2.0)
        return in_turns(student, *copies, seconds=seconds, clock=machine.clock, attempts=1)

    few, many = measure(0.0), measure(9000.0)
    assert few.control.median == many.control.median == 1.0
    assert (few.turns, few.noisy) == (MIN_TURNS, True)
    assert many.turns > 400
    assert not many.noisy


def test_everybody_stands_at_every_place_equally_often() -> None:
    machine, places = Machine(), {"student": [], "teacher": [], "control": []}
    turn: list[str] = []

    def contender(name: str):  # noqa: ANN202
        def run(number: int) -> None:
            machine.work(1.0)
            turn.append(name)
            places[name].append((len(turn) - 1) % 3)

        return run

    in_turns(*map(contender, places), seconds=3.0 * ORDERS * 4, clock=machine.clock)
    for name, found in places.items():
        timed = found[turns.WARM_UP :]
        assert [timed.count(place) for place in range(3)] == [8, 8, 8], name


def test_without_a_teacher_the_student_is_its_own_control() -> None:
    found = measured(Machine(), 3.0, None)
    assert found.teacher is None
    assert found.ratio is None
    assert found.control.median == 1.0
    assert found.student.p50 == 3000


def test_few_turns_are_made_however_long_they_take() -> None:
    assert measured(Machine(), seconds=0.0).turns == MIN_TURNS


def test_cpu_time_is_not_moved_by_what_else_the_machine_does() -> None:
    """Somebody else takes the processor every other time that the student runs."""
    machine = Machine()
    busy = iter([1.0, 1.0] + [1.0, 3.0] * 1000)

    def student(number: int) -> None:
        machine.wall += next(busy)
        machine.cpu += 1.0

    found = in_turns(student, machine.taking(2.0), machine.taking(2.0), seconds=60.0, clock=machine.clock)
    assert found.ratio is not None
    assert found.ratio.cpu == 0.5
    assert found.ratio.median == pytest.approx(1.0)
    assert found.ratio.iqr > 0.5


def test_a_clock_that_sees_no_cpu_time_tells_none() -> None:
    machine = Machine()

    def work(number: int) -> None:
        machine.wall += 1.0

    found = in_turns(work, work, work, seconds=9.0, clock=machine.clock)
    assert found.ratio is not None
    assert found.ratio.cpu is None


def test_the_machine_says_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"scaling_governor": "powersave", "scaling_cur_freq": "2100000"}
    monkeypatch.setattr(turns, "_read", lambda path: files[path.rpartition("/")[2]])
    found = turns.machine()
    assert (found.governor, found.clock_mhz) == ("powersave", 2100.0)
    assert found.affinity
    monkeypatch.setattr(turns, "_read", lambda path: None)
    assert (turns.machine().governor, turns.machine().clock_mhz) == (None, None)
