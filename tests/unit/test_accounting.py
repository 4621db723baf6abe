"""Each second of a session is in one class, and none is in two."""

import pytest

from stages.session.time_accounting import TimeAccount, TimeClass, productive_s


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_every_second_is_in_the_innermost_class_that_is_entered() -> None:
    clock = Clock()
    account = TimeAccount(clock)
    clock.now_s = 2.0
    with account.doing(TimeClass.STEP):
        clock.now_s = 5.0
        with account.doing(TimeClass.ROLLOUT):
            clock.now_s = 9.0
        clock.now_s = 10.0
    clock.now_s = 11.0
    found = account.seconds()
    assert found == {"other": 3.0, "training_step": 4.0, "rollout": 4.0}
    assert sum(found.values()) == clock.now_s


def test_what_is_told_afterwards_is_moved_out_of_the_class_it_happened_in() -> None:
    clock = Clock()
    account = TimeAccount(clock)
    with account.doing(TimeClass.STEP):
        clock.now_s = 10.0
        account.spent(TimeClass.COMPILE, 7.0)
        clock.now_s = 12.0
    assert account.seconds() == {"compile": 7.0, "training_step": 5.0}


def test_a_compilation_inside_another_counts_once() -> None:
    clock = Clock()
    account = TimeAccount(clock)
    clock.now_s = 4.0
    account.spent(TimeClass.COMPILE, 2.0)  # from 2 to 4
    clock.now_s = 5.0
    account.spent(TimeClass.COMPILE, 1.0)  # from 4 to 5
    clock.now_s = 6.0
    account.spent(TimeClass.COMPILE, 5.0)  # from 1 to 6: both of them lie in it
    assert account.seconds() == {"compile": 5.0, "other": 1.0}


def test_no_class_ever_has_fewer_seconds_than_none() -> None:
    clock = Clock()
    account = TimeAccount(clock)
    clock.now_s = 3.0
    with account.doing(TimeClass.DATA):
        clock.now_s = 4.0
        account.spent(TimeClass.COMPILE, 2.0)  # longer than the class was entered
    assert account.seconds() == {"compile": 1.0, "other": 3.0}


def test_a_class_is_left_when_what_it_surrounds_fails() -> None:
    clock = Clock()
    account = TimeAccount(clock)
    with pytest.raises(ValueError, match="broke"), account.doing(TimeClass.STEP):
        clock.now_s = 1.0
        raise ValueError("it broke")
    clock.now_s = 3.0
    assert account.seconds() == {"other": 2.0, "training_step": 1.0}


def test_the_seconds_of_steps_are_those_of_training_rollouts_and_evaluations() -> None:
    assert productive_s({"training_step": 1.0, "rollout": 2.0, "evaluation": 4.0, "compile": 8.0}) == 7.0
