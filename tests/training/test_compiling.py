"""What JAX says it took to compile is not taken for the step's."""

import threading

import jax
import jax.numpy as jnp
import pytest

from stages.session import compile_timer
from stages.session.async_checkpointer import THREAD
from stages.session.compile_timer import Compilations
from stages.session.time_accounting import TimeAccount, TimeClass


class Steps:
    """A clock on which a second goes by each time somebody looks: JAX's own durations are real, and much shorter."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def compile_something(number: int) -> None:
    """A program that no other test has compiled."""

    def program(x: jax.Array) -> jax.Array:
        return jnp.tanh(x * number) + number

    jax.block_until_ready(jax.jit(program)(jnp.ones(3)))


def test_compilations_have_a_class_of_their_own() -> None:
    account = TimeAccount(Steps())
    with Compilations(account).heard(), account.doing(TimeClass.STEP):
        compile_something(20_261)
        seconds = account.seconds()
    assert seconds["compile"] > 0.0
    assert sum(seconds.values()) == pytest.approx(round(sum(seconds.values())), abs=0.01)


def test_a_program_that_is_there_already_costs_no_compilation() -> None:
    account = TimeAccount(Steps())
    compiled = jax.jit(lambda x: x * 20_262)
    compiled(jnp.ones(3))
    with Compilations(account).heard(), account.doing(TimeClass.STEP):
        jax.block_until_ready(compiled(jnp.ones(3)))
    assert "compile" not in account.seconds()


def test_what_a_save_compiles_beside_the_training_takes_none_of_its_seconds() -> None:
    account = TimeAccount(Steps())
    with Compilations(account).heard(), account.doing(TimeClass.STEP):
        beside = threading.Thread(target=compile_something, args=(20_263,), name=f"{THREAD}_0")
        beside.start()
        beside.join()
    assert "compile" not in account.seconds()


def test_nobody_listens_any_more_once_the_stage_is_over() -> None:
    account = TimeAccount(Steps())
    with Compilations(account).heard():
        pass
    with account.doing(TimeClass.STEP):
        compile_something(20_264)
    assert "compile" not in account.seconds()


def test_what_a_compilation_has_freed_goes_back_to_the_system_before_the_program_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back: list[float] = []
    monkeypatch.setattr(compile_timer, "COMPILED_LONG_S", 0.0)
    monkeypatch.setattr(compile_timer, "give_back", lambda: given_back.append(0.0))
    with Compilations(TimeAccount(Steps())).heard():
        compile_something(20_264)
        assert len(given_back) >= 2, "before the compiler begins, for its own sake, and when it has ended"
    counted = len(given_back)
    compile_something(20_265)
    assert len(given_back) == counted, "its session is over"
